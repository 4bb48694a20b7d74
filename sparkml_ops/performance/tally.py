"""What the rows of a contest come to: counts by contestant and slice that merge, in one process and between processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkml_ops.performance.bootstrap import Replicates
from sparkml_ops.performance.measured import Measured, log_losses
from sparkml_ops.performance.scores import ScoreCounts

__all__ = ["ALL", "SCHEMA", "SLICES", "Scored", "Tally"]

SCHEMA = "part string, slice string, data binary, loss double, squared double"
# The slice of all rows; every other one is `column=value`, where the column goes by its number: a name may hold anything.
ALL = ""
# Most slices of one column: a column with more values cuts the rows too small to judge by, and its counts would outgrow the driver.
SLICES = 200

_REPLICATES, _UNSCORED, _CROWDED = "\0replicates", "\0unscored", "\0crowded"
_ARROW = pa.schema({"part": pa.string(), "slice": pa.string(), "data": pa.binary(), "loss": pa.float64(), "squared": pa.float64()})


@dataclass(frozen=True)
class Scored:
    """Rows with the predictions of each contestant.

    Args:
        scores: Contestant to [rows] probabilities of label 1; NaN where it has none.
        labels: [rows] 0 or 1.
        positions: [rows] what identifies a row.
        values: Number of a slices' column to [rows] its values as text, null among them.
    """

    scores: Mapping[str, npt.NDArray[np.float64]]
    labels: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    values: Mapping[str, pa.Array]

    @classmethod
    def joined(cls, parts: Sequence[Scored]) -> Scored:
        """Several blocks as one: each merge of counts costs as much as all counts so far."""
        first = parts[0]
        return cls(
            {name: np.concatenate([part.scores[name] for part in parts]) for name in first.scores},
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.positions for part in parts]),
            {name: pa.concat_arrays([part.values[name] for part in parts]) for name in first.values},
        )

    @property
    def complete(self) -> npt.NDArray[np.bool_]:
        """[rows] whether every contestant has a prediction."""
        return np.asarray(~np.isnan(np.stack(list(self.scores.values()))).any(axis=0), np.bool_)

    def where(self, kept: npt.NDArray[np.bool_]) -> Scored:
        """Some of the rows."""
        values = {name: column.filter(pa.array(kept)) for name, column in self.values.items()}
        return replace(
            self,
            scores={name: scores[kept] for name, scores in self.scores.items()},
            labels=self.labels[kept],
            positions=self.positions[kept],
            values=values,
        )


class Tally:
    """Everything that some rows come to; parts merge.

    Args:
        names: Contestants; of two, the first is compared with the second by the paired bootstrap.
        replicates: Replicates of the bootstrap.
        seed: Of its weights.
    """

    def __init__(self, names: Sequence[str], replicates: int, seed: int) -> None:
        self._names, self._replicates, self._seed = tuple(names), replicates, seed
        self.measured: dict[tuple[str, str], Measured] = {}
        self.drawn: Replicates | None = None
        self.unscored = 0
        self.crowded: set[str] = set()

    def update(self, rows: Scored) -> None:
        """Add rows; one without a prediction of every contestant is counted and left out."""
        complete = rows.complete
        if not complete.all():
            self.unscored += int((~complete).sum())
            rows = rows.where(complete)
        if not len(rows.labels):
            return
        losses = {name: log_losses(rows.scores[name], rows.labels) for name in self._names}
        for name in self._names:
            self._add((name, ALL), Measured.of(rows.scores[name], rows.labels, losses[name]))
        if len(self._names) == 2:
            first, second = self._names
            self.drawn = self.drawn or Replicates(self._replicates, self._seed)
            self.drawn.update((rows.scores[first], rows.scores[second]), rows.labels, losses[second] - losses[first], rows.positions)
        for column, values in rows.values.items():
            self._slice(column, values, rows, losses)

    def merge(self, row: Mapping[str, Any]) -> None:
        """Add what another tally gave in `batches`."""
        part, cut = row["part"], row["slice"]
        if part == _UNSCORED:
            self.unscored += int(row["loss"])
        elif part == _CROWDED:
            self._give_up(cut)
        elif part == _REPLICATES:
            other = Replicates.from_bytes(bytes(row["data"]))
            if self.drawn is None:
                self.drawn = other
            else:
                self.drawn.merge(other)
        else:
            self._add((part, cut), Measured(ScoreCounts.from_bytes(bytes(row["data"])), float(row["loss"]), float(row["squared"])))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The state as rows of `SCHEMA`, one batch each: a state may be large."""
        for (part, cut), state in self.measured.items():
            yield _batch(part, cut, state.counts.to_bytes(), state.loss, state.squared)
        if self.drawn is not None:
            yield _batch(_REPLICATES, ALL, self.drawn.to_bytes())
        if self.unscored:
            yield _batch(_UNSCORED, ALL, b"", float(self.unscored))
        for column in sorted(self.crowded):
            yield _batch(_CROWDED, column, b"")

    def _slice(self, column: str, values: pa.Array, rows: Scored, losses: Mapping[str, npt.NDArray[np.float64]]) -> None:
        encoded = values.dictionary_encode(null_encoding="encode")
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        for code, value in enumerate(encoded.dictionary.to_pylist()):
            if column in self.crowded:
                return
            inside, cut = codes == code, f"{column}={'null' if value is None else value}"
            for name in self._names:
                self._add((name, cut), Measured.of(rows.scores[name][inside], rows.labels[inside], losses[name][inside]))
            if len(self._cuts(column)) > SLICES:
                self._give_up(column)

    def _add(self, key: tuple[str, str], measured: Measured) -> None:
        if key[1].partition("=")[0] not in self.crowded:
            self.measured[key] = self.measured[key].merge(measured) if key in self.measured else measured

    def _cuts(self, column: str) -> set[str]:
        return {cut for _, cut in self.measured if cut.startswith(f"{column}=")}

    def _give_up(self, column: str) -> None:
        """Drop a column that has too many values."""
        self.crowded.add(column)
        self.measured = {key: state for key, state in self.measured.items() if not key[1].startswith(f"{column}=")}


def _batch(part: str, cut: str, data: bytes, loss: float = 0.0, squared: float = 0.0) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"part": part, "slice": cut, "data": data, "loss": loss, "squared": squared}], _ARROW)
