"""Change detectors of river over an ordered series: rows' errors, or one figure a window."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, Literal, Self, get_args

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql.types import DoubleType, LongType, StringType, StructField, StructType

from feature_store.names import quote
from sparkml_ops.errors import ConfigurationError, ContractError
from sparkml_ops.monitoring.detector_state import filled, held

__all__ = ["BINARY", "Detector", "Watch", "changes", "changes_by_group", "settings_for_windows"]

Detector = Literal["adwin", "kswin", "page-hinkley", "ddm", "eddm", "hddm-a", "hddm-w"]
BINARY: frozenset[Detector] = frozenset({"ddm", "eddm", "hddm-a", "hddm-w"})  # of errors: 1 for a wrong prediction, 0 for a right one
# A series of windows is short: river's defaults are for rows, of which ADWIN looks at each 32nd.
_WINDOWS: dict[Detector, Mapping[str, Any]] = {
    "adwin": {"clock": 1, "grace_period": 6, "min_window_length": 3},
    "kswin": {"window_size": 30, "stat_size": 10, "seed": 0},
    "page-hinkley": {"min_instances": 6, "delta": 0.5, "threshold": 5.0, "alpha": 1.0},
}


def changes(values: Sequence[float] | np.ndarray[Any, Any], detector: Detector, **settings: Any) -> tuple[int, ...]:
    """Positions at which a detector says that the series has changed, from 0.

    Args:
        values: In their order, shape (n,); for the detectors of `BINARY` errors, 0 or 1. NaN is left out, and positions count it.
        settings: Of river's class, as `delta=0.01`; without them river's own.

    Raises:
        ContractError: No such detector, a setting that it does not have, or values that it does not take.
        ConfigurationError: `river` is not installed.

    Source: Bifet and Gavalda (2007) ADWIN; Gama et al. (2004) DDM; Baena-Garcia et al. (2006) EDDM; Frias-Blanco et al. (2015) HDDM;
    Raab et al. (2020) KSWIN; Page (1954).
    """
    return Watch(detector, **settings).take(values)


class Watch:
    """A detector that has seen some values of a series, and can be stored between two of them.

    Args:
        detector: As `changes`.
        settings: As `changes`.

    Attributes:
        seen: Values so far, NaN among them.

    Raises:
        ContractError: As `changes`.
        ConfigurationError: `river` is not installed.

    >>> errors = [0.0] * 200 + [1.0] * 100
    >>> unbroken, first = changes(errors, "ddm"), Watch("ddm")
    >>> early = first.take(errors[:230])
    >>> early + Watch.loads(first.dumps()).take(errors[230:]) == unbroken
    True
    """

    def __init__(self, detector: Detector, **settings: Any) -> None:
        self.detector, self.settings, self.seen = detector, settings, 0
        self._machine = _make(detector, settings)

    def take(self, values: Sequence[float] | np.ndarray[Any, Any]) -> tuple[int, ...]:
        """The next values; positions in the whole series at which it has changed, from 0."""
        found, positions = np.asarray(values, dtype=np.float64), []
        if self.detector in BINARY and not np.isin(found[~np.isnan(found)], (0.0, 1.0)).all():
            bad = found[~np.isnan(found) & ~np.isin(found, (0.0, 1.0))][0]
            raise ContractError(
                f"the value {bad:g} for {self.detector}",
                expected="errors: 1 for a wrong prediction, 0 for a right one",
                mend="take adwin, kswin or page-hinkley for figures",
            )
        for position, value in enumerate(found, self.seen):
            if np.isnan(value):
                continue
            self._machine.update(bool(value) if self.detector in BINARY else float(value))
            if self._machine.drift_detected:
                positions.append(position)
        self.seen += len(found)
        return tuple(positions)

    def dumps(self) -> str:
        """All that it knows, as JSON; no pickle."""
        document = {"detector": self.detector, "settings": self.settings, "river": _river(), "seen": self.seen, "state": held(self._machine)}
        return json.dumps(document, sort_keys=True, allow_nan=False)

    @classmethod
    def loads(cls, text: str) -> Self:
        """One that goes on where the stored one stopped.

        Raises:
            ContractError: It is of another version of river, whose numbers may mean something else.
        """
        found = json.loads(text)
        if found["river"] != _river():
            raise ContractError(
                f"a detector of river {found['river']}",
                expected=f"one of the installed river {_river()}",
                mend=f"install river {found['river']}, or begin the series anew under another name",
            )
        watch = cls(found["detector"], **found["settings"])
        watch.seen = int(found["seen"])
        filled(watch._machine, found["state"])
        return watch


def settings_for_windows(detector: Detector) -> Mapping[str, Any]:
    """Settings for one figure a window instead of one value a row; Page-Hinkley's are in standard deviations of the figure's noise."""
    return _WINDOWS.get(detector, {})


def changes_by_group(frame: DataFrame, value: str, *, order: Sequence[str], by: Sequence[str], detector: Detector, **settings: Any) -> DataFrame:
    """Changes of each group's series, computed on the executors; nothing runs until the result is read.

    Each group's rows are sorted in one task, so that a group must fit there; river must be installed where the tasks run.

    Args:
        frame: A row each.
        value: Column of the series.
        order: Columns that put a group's rows in their order; together they tell all rows of a group apart, or the order of equals is chance.
        by: Columns of the group, as the model and a segment; text, numbers or dates.
        detector: As `changes`.
        settings: As `changes`.

    Returns:
        Columns `by`, `position` (from 0 in the group's order), `value`, `detector`: a row for each change.
    """
    _make(detector, settings)
    keys = [frame.schema[name] for name in by]
    told = (StructField("position", LongType()), StructField("value", DoubleType()), StructField("detector", StringType()))

    def detect(rows: pd.DataFrame) -> pd.DataFrame:
        ordered = rows.sort_values(list(order), kind="stable")
        positions = list(changes(ordered[value].to_numpy(dtype=np.float64), detector, **settings))
        found = ordered.iloc[positions][[*by, value]].rename(columns={value: "value"})
        return found.assign(position=positions, detector=detector)[[*by, "position", "value", "detector"]]

    columns = [quote(name) for name in dict.fromkeys((*by, *order, value))]
    return frame.select(*columns).groupBy(*(quote(name) for name in by)).applyInPandas(detect, StructType([*keys, *told]))


def _river() -> str:
    return metadata.version("river")


def _make(detector: Detector, settings: Mapping[str, Any]) -> Any:
    try:
        from river import drift
        from river.drift import binary
    except ImportError:
        raise ConfigurationError("no package river", expected="the extra `monitoring`", mend="install `sparkml-ops[monitoring]`") from None
    kinds: dict[str, Any] = {
        "adwin": drift.ADWIN,
        "kswin": drift.KSWIN,
        "page-hinkley": drift.PageHinkley,
        "ddm": binary.DDM,
        "eddm": binary.EDDM,
        "hddm-a": binary.HDDMA,
        "hddm-w": binary.HDDMW,
    }
    if detector not in kinds:
        raise ContractError(f"the detector {detector!r}", expected=f"one of {', '.join(get_args(Detector))}", mend="name one of them")
    try:
        return kinds[detector](**settings)
    except TypeError as error:
        raise ContractError(f"settings {dict(settings)} of {detector} ({error})", expected="those of river's class", mend="correct them") from None
