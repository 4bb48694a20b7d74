"""What a model's predictions hang on, by a few evaluation rows: permutation importance, SHAP, and LIME for one row.

Rows are seen as positions of values: each input's distinct values are numbered, so that numbers, texts, dates, arrays and gaps are exchanged
between rows alike, and what is explained is the model with its preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkml_ops.errors import ContractError

if TYPE_CHECKING:
    from sparkml_ops.model.retriever import Applied

__all__ = ["Explained", "Explanation", "OneRow", "explain", "explain_row"]

Values: TypeAlias = "npt.NDArray[np.float64]"
# Rows whose values stand for an input that is taken away, rows that SHAP explains, and rows that are shown one by one.
_BACKGROUND, _EXPLAINED, _SHOWN = 32, 64, 3
_REPEATS, _LIME_SAMPLES, _LIME_KERNEL = 5, 1000, 0.75
_LONGEST = 60


@dataclass(frozen=True)
class Explained:
    """One row.

    Args:
        prediction: Of the explained output.
        values: Input to its value, as text.
        shap: Input to how far it moves the prediction from the mean of the background.
        lime: Input to the weight of a linear model around this row, of its value against those of others; empty where it was not asked for.
    """

    prediction: float
    values: Mapping[str, str]
    shap: Mapping[str, float]
    lime: Mapping[str, float]


@dataclass(frozen=True)
class Explanation:
    """What was found on a few rows.

    Args:
        output: Column of predictions that is explained.
        rows: Their number.
        base: Mean prediction of the background.
        importance: Input to the mean rise of the log loss (nats a row) where its values change rows; without binary labels, of the mean
            absolute change of the prediction.
        deviation: Input to the standard deviation of that over repeats.
        shap: Input to the mean absolute contribution.
        single: The rows with the lowest, the middle and the highest prediction.
        withheld: Inputs with personal data: no row of theirs was read, and the model was asked as if their values were missing.
        measured: What `importance` is, in words.
    """

    output: str
    rows: int
    base: float
    importance: Mapping[str, float]
    deviation: Mapping[str, float]
    shap: Mapping[str, float]
    single: tuple[Explained, ...]
    withheld: tuple[str, ...]
    measured: str


@dataclass(frozen=True)
class OneRow:
    """What one prediction hangs on.

    Args:
        output: Column of predictions that is explained.
        base: Mean prediction of the background.
        prediction: Of the row; base and contributions add up to it.
        contributions: Input to how far it moves the prediction from the base, the greatest first.
        withheld: Inputs with personal data: the model was asked as if their values were missing.
    """

    output: str
    base: float
    prediction: float
    contributions: Mapping[str, float]
    withheld: tuple[str, ...]


def explain_row(predictor: Applied, background: pa.Table, row: pa.Table, *, withheld: Sequence[str] = (), seed: int = 7) -> OneRow:
    """SHAP values of one row against a background.

    Args:
        predictor: Of rows, not of items.
        background: [rows] the model's inputs of rows that stand for all; 32 are drawn.
        row: [1] the same of the row.
        withheld: Inputs that hold personal data, null in all rows.
        seed: Of what is drawn.

    Raises:
        ContractError: A model of items, or shap is not installed.
    """
    inputs = _explainable(predictor, withheld)
    coded = _Coded(predictor, pa.concat_tables([background, row.cast(background.schema)]), inputs)
    others, mine = coded.codes[:-1], coded.codes[-1:]
    others = others[np.isfinite(coded.predict(others))]
    drawn = np.random.default_rng(seed).choice(len(others), min(_BACKGROUND, len(others)), replace=False)
    found, base = _shap(coded, others[drawn], mine, seed)
    order = sorted(zip(inputs, found[0].tolist(), strict=True), key=lambda item: -abs(item[1]))
    return OneRow(coded.output, base, float(coded.predict(mine)[0]), dict(order), tuple(withheld))


def _explainable(predictor: Applied, withheld: Sequence[str]) -> list[str]:
    """The inputs that are looked at.

    Raises:
        ContractError: A model of items, or shap is not installed.
    """
    if find_spec("shap") is None:
        raise ContractError("no package shap", expected="it to explain predictions", mend="install sparkml-ops[explain]")
    if predictor.spec.kind == "two_tower":
        raise ContractError("a model of two towers", expected="predictions of rows", mend="look at its recommendations instead")
    return [name for name, _ in predictor.spec.inputs if name not in withheld]


def explain(predictor: Applied, rows: pa.Table, label: npt.ArrayLike | None = None, *, withheld: Sequence[str] = (), seed: int = 7) -> Explanation:
    """Explain a model on rows.

    Args:
        predictor: Of rows, not of items.
        rows: [rows] the model's inputs; 20 at least.
        label: [rows] 0 or 1 of a binary model; NaN where it is not known.
        withheld: Inputs that hold personal data, null in all rows.
        seed: Of what is drawn.

    Raises:
        ContractError: Too few rows, a model of items, or shap is not installed.
    """
    inputs = _explainable(predictor, withheld)
    coded = _Coded(predictor, rows, inputs)
    finite = np.isfinite(coded.predict(coded.codes))
    codes = coded.codes[finite]
    if len(codes) < 20:
        raise ContractError(f"{len(codes)} rows with a prediction", expected="20 to explain by", mend="widen the evaluation split")
    draw = np.random.default_rng(seed)
    background = codes[draw.choice(len(codes), min(_BACKGROUND, len(codes)), replace=False)]
    truth = None if label is None or predictor.spec.target.task != "binary" else np.asarray(label, np.float64)[finite]
    mean, deviation, measured = _importance(coded, codes, truth, seed)
    explained = codes[:_EXPLAINED]
    contributions, base = _shap(coded, background, explained, seed)
    return Explanation(
        coded.output,
        len(codes),
        base,
        dict(zip(inputs, mean, strict=True)),
        dict(zip(inputs, deviation, strict=True)),
        dict(zip(inputs, np.abs(contributions).mean(axis=0).tolist(), strict=True)),
        tuple(_single(coded, explained, contributions, background, draw)),
        tuple(withheld),
        measured,
    )


class _Coded:
    """A model as a function of [rows, inputs] numbers of values."""

    def __init__(self, predictor: Applied, rows: pa.Table, inputs: Sequence[str]) -> None:
        self._predictor, self.inputs = predictor, list(inputs)
        self._columns = {name: rows.column(name).combine_chunks() for name, _ in predictor.spec.inputs}
        # Arrays cannot be numbered by Arrow: a row's own number stands for its array.
        self.codes = np.stack([_numbered(self._columns[name]) for name in inputs], axis=1).astype(np.float64)
        self._values = {name: _distinct(self._columns[name]) for name in inputs}
        self._index = 0
        predicted = self._all(self.codes)
        width = predicted.shape[1]
        if width > 1:
            self._index = width // 2 if predictor.spec.target.task == "quantile" else int(np.nanmean(predicted, axis=0).argmax())
        outputs = [name for name, kind in predictor.spec.outputs if kind == "double"]
        self.output = outputs[self._index + len(outputs) - width]

    def predict(self, codes: Values) -> Values:
        """[rows] of the explained output."""
        return self._all(codes)[:, self._index]

    def text(self, row: Values) -> dict[str, str]:
        """Values of a row, for people."""
        found = {name: self._values[name][int(code)].as_py() for name, code in zip(self.inputs, row, strict=True)}
        return {name: "missing" if value is None else _short(value) for name, value in found.items()}

    def _all(self, codes: Values) -> Values:
        table = {name: self._values[name].take(pa.array(codes[:, place].astype(np.int64))) for place, name in enumerate(self.inputs)}
        # What is withheld is null in every row.
        gone = {name: pa.nulls(len(codes), column.type) for name, column in self._columns.items() if name not in table}
        predicted: Any = self._predictor.predict(pa.table({**table, **gone}))
        return np.asarray(predicted, np.float64).reshape(len(codes), -1)


def _distinct(column: pa.Array) -> pa.Array:
    return column if pa.types.is_nested(column.type) else column.unique()


def _numbered(column: pa.Array) -> npt.NDArray[np.int64]:
    if pa.types.is_nested(column.type):
        return np.arange(len(column), dtype=np.int64)
    encoded = column.dictionary_encode(null_encoding="encode")
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _importance(coded: _Coded, codes: Values, label: Values | None, seed: int) -> tuple[list[float], list[float], str]:
    """Breiman 2001, by scikit-learn: each input's values are dealt to other rows, some times."""
    from sklearn.inspection import permutation_importance

    from sparkml_ops.performance.measured import log_losses

    known = codes if label is None else codes[np.isfinite(label)]
    judged = label is not None and len(known) >= 20
    rows = known if judged else codes
    truth = label[np.isfinite(label)].astype(np.int64) if label is not None and judged else None
    before = coded.predict(rows)

    def score(_: Any, shuffled: Values, __: Any) -> float:
        predicted = coded.predict(shuffled)
        return -float(np.abs(predicted - before).mean() if truth is None else log_losses(predicted, truth).mean())

    found = permutation_importance(_Fitted(), rows, before, scoring=score, n_repeats=_REPEATS, random_state=seed)
    measured = "mean rise of the log loss, nats a row" if judged else "mean absolute change of the prediction"
    return found.importances_mean.tolist(), found.importances_std.tolist(), measured


class _Fitted:
    """What scikit-learn asks of an estimator whose scores come from elsewhere."""

    def fit(self, rows: Any, truth: Any) -> _Fitted:  # noqa: ARG002 - never called
        """Nothing to learn."""
        return self


def _shap(coded: _Coded, background: Values, rows: Values, seed: int) -> tuple[Values, float]:
    """Lundberg & Lee 2017, by the permutations of shap, there and back: contributions of a row add up to its distance from the base."""
    import shap

    masker = shap.maskers.Independent(background, max_samples=len(background))
    explainer = shap.PermutationExplainer(coded.predict, masker, seed=seed)
    found = explainer(rows, max_evals=2 * rows.shape[1] + 1, silent=True)
    return np.asarray(found.values, np.float64), float(np.mean(found.base_values))


def _single(coded: _Coded, rows: Values, contributions: Values, background: Values, draw: np.random.Generator) -> list[Explained]:
    predicted = coded.predict(rows)
    order = np.argsort(predicted, kind="stable")
    chosen = [int(order[place]) for place in np.linspace(0, len(order) - 1, _SHOWN).astype(int)]
    return [
        Explained(
            float(predicted[row]),
            coded.text(rows[row]),
            dict(zip(coded.inputs, contributions[row].tolist(), strict=True)),
            # One row is enough to compare the two: the highest prediction.
            _lime(coded.predict, coded.inputs, rows[row], background, draw) if row == chosen[-1] else {},
        )
        for row in chosen
    ]


def _lime(predict: Callable[[Values], Values], inputs: Sequence[str], row: Values, background: Values, draw: np.random.Generator) -> dict[str, float]:
    """Ribeiro et al. 2016, "Why should I trust you?": a ridge regression on which inputs keep the row's value, near rows counting more."""
    from sklearn.linear_model import Ridge

    kept = draw.integers(0, 2, (_LIME_SAMPLES, len(inputs))).astype(np.float64)
    kept[0] = 1.0
    others = background[draw.integers(0, len(background), _LIME_SAMPLES)]
    # The cosine of a vector of zeros and ones with that of ones alone.
    distance = 1 - np.sqrt(kept.mean(axis=1))
    weight = np.exp(-(distance**2) / _LIME_KERNEL**2)
    line = Ridge(alpha=1.0).fit(kept, predict(np.where(kept == 1.0, row, others)), sample_weight=weight)
    return dict(zip(inputs, np.asarray(line.coef_, np.float64).tolist(), strict=True))
