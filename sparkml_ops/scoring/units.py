"""A model's inputs in the units that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping

from sparkml_ops.errors import ContractError

__all__ = ["check_units"]


def check_units(model: str, trained: Mapping[str, str], declared: Mapping[str, str]) -> None:
    """Refuse columns whose declaration has another unit by now; a unit that one side does not state is no contradiction.

    Args:
        model: Name and version, for the message.
        trained: Unit of the model's inputs, by column, as they were declared when it was registered.
        declared: The same of the feature tables now.

    Raises:
        ContractError: Naming up to five columns with both units.

    >>> check_units("version 1 of `trips`", {"distance": "mi", "age": "a"}, {"distance": "mi", "speed": "kn"})
    """
    others = [name for name, unit in sorted(trained.items()) if declared.get(name, unit) != unit]
    if others:
        shown = ", ".join(f"`{name}` in {declared[name]} where it was trained on {trained[name]}" for name in others[:5])
        raise ContractError(
            f"for {model}: {shown}", expected="the units of the model's training", mend="convert the feature back, or promote a model trained on it"
        )
