"""The drift of one window against a pinned reference: profiles and metrics, stored once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from feature_store.delta import Tables, Transaction
from feature_store.names import quote
from feature_store.records import Snapshot
from sparkml_ops.config.drift import DriftSection
from sparkml_ops.drift.anchors import chosen_types, fix_edges
from sparkml_ops.drift.comparison import compare_rows
from sparkml_ops.drift.distinct import distinct_rows, sketches, state_rows
from sparkml_ops.drift.profile import Profile, check_types, profiles
from sparkml_ops.drift.report import DriftReport
from sparkml_ops.drift.source import Source, source_of
from sparkml_ops.drift.states import StateKey, StoredProfile, kept_edges, read_stored, state_label, write_profiles
from sparkml_ops.drift.together import together_rows
from sparkml_ops.errors import ContractError
from sparkml_ops.summaries import ColumnEdges, Edges, kind_of

__all__ = ["METRICS_TABLE", "measure", "state_label"]

METRICS_TABLE = "drift_metrics"
_METRICS = pa.schema(
    [
        ("project", pa.string()),
        ("window", pa.string()),
        ("slot", pa.string()),
        ("generation", pa.int64()),
        ("run_id", pa.string()),
        ("as_of", pa.timestamp("us", "UTC")),
        ("reference", pa.string()),
        ("current", pa.string()),
        ("edges", pa.string()),
        ("segment", pa.string()),
        ("column", pa.string()),
        ("statistic", pa.string()),
        ("value", pa.float64()),
        ("lower", pa.float64()),
        ("upper", pa.float64()),
        ("n", pa.int64()),
        ("m", pa.int64()),
        ("p", pa.float64()),
        ("q", pa.float64()),
        ("threshold", pa.float64()),
        ("method", pa.string()),
        ("verdict", pa.string()),
    ]
)


@dataclass(frozen=True)
class _Run:
    project: str
    window: str
    slot: str
    generation: int
    run_id: str
    as_of: datetime
    segments: tuple[str, ...]
    settings: DriftSection

    @property
    def label(self) -> str:
        """Window and slot in one word."""
        return state_label(self.window, self.slot)


def measure(
    spark: SparkSession,
    tables: Tables,
    *,
    reference: Snapshot | DataFrame,
    current: Snapshot | DataFrame,
    project: str,
    window: str,
    run_id: str,
    as_of: datetime,
    slot: str = "champion",
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    segments: Sequence[str] | None = None,
    settings: DriftSection | None = None,
    reference_where: Mapping[str, str] | None = None,
    current_where: Mapping[str, str] | None = None,
    reference_window: str | None = None,
    generation: int = 0,
    renew: bool = False,
    skew: Mapping[str, float] | None = None,
) -> DriftReport:
    """Compare a window with its reference and store profiles and metrics.

    The reference is profiled once for each snapshot and definition; its profile in `profile_state`
    serves the next windows. Edges stay those of the project's first reference, also under a new
    one, until they are renewed; a column that has none yet gets them from the present reference. Each window is one
    replacement in `profile_state`, a new reference with it, and one in `drift_metrics`; a repeat of (project, window, slot,
    generation) adds nothing.

    Args:
        spark: The session.
        tables: Where the tables lie.
        reference: A pinned table, read from its files where they allow it, or rows (never reused).
        current: The window's rows.
        project: Labels the edges, the states and the metrics.
        window: Label of the window.
        run_id: Of the verb's run.
        as_of: The run's clock, UTC.
        slot: Role of the model whose window it is.
        columns: By default `settings.columns`, else the columns that both sides have, but for `exclude`.
        exclude: What identifies a row or places it in time: it differs in every window.
        segments: By default `settings.segments`.
        settings: What is compared and when it counts.
        reference_where: Only reference rows with these values (`{"split": "train"}`).
        current_where: Only current rows with these values.
        reference_window: Label of the window that the reference is; where that was measured on the same rows and edges, its profile is the reference's.
        generation: Counts deliberate repeats.
        renew: Fix all edges anew from this reference and profile it again; windows from now on are profiled on them.
        skew: Share of the current rows by column that a replay gives other values, to be judged by `settings.replay` and stored beside the rest.

    Raises:
        ContractError: A column is missing or has another type, a segment column has too many values.
    """
    settings = settings or DriftSection()
    run = _Run(project, window, slot, generation, run_id, as_of, tuple(segments) if segments is not None else settings.segments, settings)
    sides = source_of(spark, tables, reference, reference_where or {}), source_of(spark, tables, current, current_where or {})
    types = _types(*sides, tuple(columns) if columns is not None else settings.columns, (*exclude, settings.blocks), settings.views)
    names = _name(reference, reference_where), _name(current, current_where)
    key = StateKey(project, _label(reference, reference_where or {}, types, run), "reference")
    kept = {} if renew else kept_edges(tables, project, types)
    stored = None
    if isinstance(reference, Snapshot) and not renew:
        stored = _known(read_stored(tables, key), types, kept)
        if stored is None and reference_window is not None:
            stored = _known(read_stored(tables, StateKey(project, state_label(reference_window, slot))), types, kept, names[0])
    new: list[StoredProfile] = []
    if stored is not None:
        both = stored, profiles({"current": sides[1]}, stored.edges, run.segments, settings.blocks, settings)["current"]
    else:
        both = _profile_both(sides, types, kept, run)
        new.append(StoredProfile(key, both[0], names[0]))
    look = _look(tables, run) if settings.sequential else 1
    report = replace(compare_rows(sides, both, run.segments, settings, look=look), reference=names[0], current=names[1])
    report = report.with_skew(skew, settings.replay) if skew is not None and settings.replay is not None else report

    def frames() -> tuple[DataFrame, DataFrame]:
        return _frame(tables, reference, reference_where or {}), _frame(tables, current, current_where or {})

    beside = together_rows(sides, frames, types, both[0].edges, settings)
    new.append(StoredProfile(StateKey(project, run.label), both[1], names[1]))
    counted = sketches(frames()[1], settings.distinct) if settings.distinct else {}
    beside += distinct_rows(counted)
    drawn = state_rows(counted, run.label, names[1])
    write_profiles(tables, new, beside=drawn, run_id=run_id, as_of=as_of, transaction=Transaction(f"profile/{project}/{run.label}", generation + 1))
    return replace(report, snapshot=_write_metrics(tables, report, beside, run))


def _profile_both(sides: tuple[Source, Source], types: Mapping[str, str], kept: Mapping[str, ColumnEdges], run: _Run) -> tuple[Profile, Profile]:
    fixed = fix_edges(sides[0], {name: kind for name, kind in types.items() if name not in kept}, run.settings)
    edges = Edges({name: kept[name] if name in kept else fixed[name] for name in types}, types)
    both = profiles({"reference": sides[0], "current": sides[1]}, edges, run.segments, run.settings.blocks, run.settings)
    return both["reference"], both["current"]


def _types(base: Source, source: Source, columns: tuple[str, ...] | None, exclude: Collection[str | None], views: tuple[str, ...]) -> dict[str, str]:
    if columns is None:
        columns = tuple(name for name, kind in base.types.items() if kind_of(kind) and name in source.types and name not in exclude)
    if not columns:
        raise ContractError(
            f"no column of a type with statistics that both sides have: {sorted(base.types)[:10]} and {sorted(source.types)[:10]}",
            expected="columns of the same name on both sides",
            mend="compare what belongs together, or name drift.columns",
        )
    types = chosen_types(base.types, columns, views=views)
    check_types(types, source.types)
    return types


def _known(found: StoredProfile | None, types: Mapping[str, str], kept: Mapping[str, ColumnEdges], source: str | None = None) -> Profile | None:
    """A stored profile where it serves: it is of these rows, its columns are these, and its edges were not renewed since."""
    if found is None or (source is not None and found.source != source) or dict(found.profile.edges.types) != dict(types):
        return None
    return found.profile if all(name in kept and kept[name].id == found.profile.edges[name].id for name in types) else None


def _look(tables: Tables, run: _Run) -> int:
    """The number of this window among those of the project and slot that have been looked at."""
    if not tables.exists(METRICS_TABLE):
        return 1
    rows = tables.rows(METRICS_TABLE, {"project": run.project, "slot": run.slot, "statistic": "missing"})
    return 1 + len({row["window"] for row in rows} - {run.window})


def _label(reference: Snapshot | DataFrame, where: Mapping[str, str], types: Mapping[str, str], run: _Run) -> str:
    """Names the reference's profile: what was profiled, and how."""
    rows = [reference.table, reference.version] if isinstance(reference, Snapshot) else ["rows", run.label]
    settings = run.settings
    definition = [rows, dict(where), dict(types), run.segments, settings.blocks, settings.cells, settings.categories, settings.top_categories]
    return f"reference-{hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:16]}"


def _name(rows: Snapshot | DataFrame, where: Mapping[str, str] | None) -> str:
    name = f"{rows.table}@{rows.version}" if isinstance(rows, Snapshot) else "rows"
    return " ".join([name, *(f"{column}={value}" for column, value in sorted((where or {}).items()))])


def _frame(tables: Tables, rows: Snapshot | DataFrame, where: Mapping[str, str]) -> DataFrame:
    """The rows of a side; nothing runs until they are asked for."""
    frame = rows if isinstance(rows, DataFrame) else tables.read(rows.table, rows.version)
    for name, value in where.items():
        frame = frame.where(F.col(quote(name)) == value)
    return frame


def _write_metrics(tables: Tables, report: DriftReport, beside: Sequence[Mapping[str, Any]], run: _Run) -> Snapshot:
    common = {
        "project": run.project,
        "window": run.window,
        "slot": run.slot,
        "generation": run.generation,
        "run_id": run.run_id,
        "as_of": run.as_of,
        "reference": report.reference,
        "current": report.current,
        "edges": report.edges,
    }
    rows = [{**common, **row} for row in (*report.rows(), *beside)]
    where = {"project": run.project, "window": run.window, "slot": run.slot}
    transaction = Transaction(f"drift/{run.project}/{run.label}", run.generation + 1)
    return tables.put(METRICS_TABLE, from_arrow_schema(_METRICS), rows, where, transaction=transaction, details={"verdict": report.verdict}).snapshot
