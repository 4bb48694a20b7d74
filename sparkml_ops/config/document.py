"""Reading of YAML files as plain data: safe, bounded, every key once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sparkml_ops.errors import ConfigurationError

__all__ = ["parse_value", "read_document"]

_LARGEST = 1_000_000


class _Loader(yaml.SafeLoader):
    """Safe loader that refuses a repeated key and any alias (a small file could unfold to gigabytes)."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(None, None, "an alias (*name)", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - the loader's own signature
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_document(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    Raises:
        ConfigurationError: Not readable, too large, no YAML, or no mapping at its top.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigurationError(f"{path.stat().st_size} bytes in {path}", expected=f"at most {_LARGEST}", mend="split the file")
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader, stricter
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"an unreadable file {path} ({error})", mend="restore it or correct --conf") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"no valid YAML in {path}: {' '.join(str(error).split())}", mend="correct the line") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"a {type(content).__name__} at the top of {path}", expected="a mapping of sections", mend="write `section:` lines")
    return content


def parse_value(text: str) -> Any:
    """The value of a `--set key=value`, read as YAML: numbers, lists, null."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader, stricter
    except yaml.YAMLError:
        return text
