from __future__ import annotations

import json

import pytest

from sparkml_ops.errors import ContractError
from sparkml_ops.model import CategoricalInput, ModelSpec, NumericInput
from sparkml_ops.model.spec import ArrayInput
from sparkml_ops.model.target import Target

X = NumericInput("x", "double", 1 / 3, 0.1, 2.5, indicator=True)
C = CategoricalInput("c", "string", ("a", "b\u00e9"), 4)


def test_a_description_survives_json_exactly() -> None:
    """Numbers and text come back to the last bit."""
    spec = ModelSpec("mlp", (X,), (C,), (32, 16), 0.2)
    listed = ModelSpec("mlp", (X,), (C,), (32, 16), 0.2, arrays=(ArrayInput("e", "array<float>", (0.1, 1 / 3), (1.0, 2.5), True),))

    assert (ModelSpec.from_json(spec.to_json()), ModelSpec.from_json(listed.to_json())) == (spec, listed)
    assert "arrays" not in spec.to_json()  # so that the digest of a model without them stays
    assert listed.numeric_width == 2 + 3


def test_the_signature_lists_inputs_in_order() -> None:
    """Numeric inputs first, each with Spark's type."""
    assert ModelSpec("mlp", (X,), (C,), (4,)).inputs == (("x", "double"), ("c", "string"))


def test_a_newer_format_is_refused() -> None:
    """An older reader does not guess."""
    document = json.loads(ModelSpec("mlp", (X,), (), (4,)).to_json())

    with pytest.raises(ContractError, match=r"format 3.*expected format 1 to 2"):
        ModelSpec.from_json(json.dumps({**document, "format": 3}))


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        (("mlp", (), (), (4,)), "without inputs"),
        (("mlp", (X, X), (), (4,)), "each column once"),
        (("mlp", (X,), (), ()), "hidden="),
        (("linear", (X,), (C,), ()), "wider than 1"),
        (("mlp", (NumericInput("x", "double", 0.0, 0.0, 0.0),), (), (4,)), "scale above 0"),
        (("mlp", (NumericInput("x", "timestamp", 0.0, 0.0, 1.0),), (), (4,)), "`x` of type timestamp"),
        (("tree", (X,), (), (4,)), "kind 'tree'"),
        (("mlp", (X,), (), (4,), 0.0, "p", Target(), None, (ArrayInput("e", "array<double>", (0.0, 1.0), (1.0,)),)), "statistics of array `e`"),
        (("mlp", (X,), (), (4,), 0.0, "p", Target(), None, (ArrayInput("e", "array<int>", (0.0,), (1.0,)),)), "array input `e` of type array<int>"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: tuple[object, ...], found: str) -> None:
    """The error names what was found and what was expected."""
    with pytest.raises(ContractError, match=found):
        ModelSpec(*parts)  # type: ignore[arg-type]
