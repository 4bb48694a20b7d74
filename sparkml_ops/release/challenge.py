"""A challenger beside the champion on the challenger's evaluation rows: where that can be measured, and one pass that does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_store.delta import Tables
from sparkml_ops.config.release import ChampionGate, ReleaseSection, SlicesGate
from sparkml_ops.errors import ContractError
from sparkml_ops.model.artifact import DESCRIPTION, WEIGHTS
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.performance.contest import Contest, Contestant, hold
from sparkml_ops.performance.tally import SLICES
from sparkml_ops.records import ModelVersion, TrainingSet
from sparkml_ops.release.comparison import CHALLENGER, CHAMPION_NAME, NO_CHAMPION, Comparison, identity, numbers
from sparkml_ops.release.events import history
from sparkml_ops.release.separation import overlap
from sparkml_ops.storage import Storage
from sparkml_ops.tracking import OWN_LOADER, RegisteredModel, Registry

__all__ = ["Challenger", "Lineage", "compare", "evaluation_rows", "seen"]

# The training sets whose rows a model has seen, by the MLflow run that made it: its own, and those of the models that it went on
# from; None where nobody wrote them down.
Lineage = Callable[[str], Sequence[TrainingSet] | None]
_ME, _OTHER = "the challenger", "the champion"


@dataclass(frozen=True)
class Challenger:
    """A registered version that may become the champion.

    Args:
        version: What the registry says of it.
        run_id: MLflow run that made it.
        folder: Storage folder of its artifact.
        spec: Its description.
        label: Column of the label in its training set.
    """

    version: ModelVersion
    run_id: str
    folder: str
    spec: ModelSpec
    label: str


@dataclass(frozen=True)
class _Rival:
    """The champion: a contestant with the types of its inputs, or the reason why it cannot be one."""

    identity: str
    gap: str = ""
    contestant: Contestant | None = None
    types: tuple[tuple[str, str], ...] = ()
    run_id: str = ""


def compare(
    tables: Tables, tracking: Registry, storage: Storage, settings: ReleaseSection, challenger: Challenger, lineage: Lineage
) -> Comparison | None:
    """Measure a challenger beside the champion; None where no gate asks for it.

    Nothing runs on Spark where there is no champion yet and no gate limits the slices of the challenger alone.
    """
    sliced = [gate for gate in settings.gates.values() if isinstance(gate, SlicesGate)]
    if not sliced and not any(isinstance(gate, ChampionGate) for gate in settings.gates.values()):
        return None
    rival = _rival(tables, tracking, storage, settings.model)
    if (task := challenger.spec.target.task) != "binary":
        return Comparison(rival.identity, f"a model of the task {task}: only binary ones are measured beside each other and by slice")
    alone = any(gate.absolute for gate in sliced)
    if (rival.contestant is None or rival.gap) and not alone:
        return Comparison(rival.identity, rival.gap)
    rows = evaluation_rows(tables, challenger)
    if not rival.gap and rival.contestant is not None and (reason := _unfit(rows, rival)):
        rival = replace(rival, gap=reason)
    reasons = _separated(tables, challenger, rival, lineage)
    if _ME in reasons:
        return Comparison(rival.identity, reasons[_ME])
    if not rival.gap and _OTHER in reasons:
        rival = replace(rival, gap=reasons[_OTHER])
    if rival.gap and not alone:
        return Comparison(rival.identity, rival.gap)
    return _measure(storage, settings, challenger, rival, rows, dict.fromkeys(column for gate in sliced for column in gate.columns))


def _rival(tables: Tables, tracking: Registry, storage: Storage, model: str) -> _Rival:
    """The champion by the events, with its verified files where the executors find them."""
    events = history(tables, model)
    number = events[-1].to_version if events else None
    if number is None:
        return _Rival(NO_CHAMPION)
    try:
        registered = tracking.resolve(model, number)
        if registered.loader != OWN_LOADER:
            reason = f"the champion, version {number}, is loaded by {registered.loader}: models of others are not measured beside ours"
            return _Rival(identity(registered.record), reason)
        spec, folder = _published(tracking, storage, registered)
        if spec.target.task != "binary":
            return _Rival(identity(registered.record), f"the champion, version {number}, is of another task, {spec.target.task}")
    except ContractError as error:
        return _Rival(f"{number} unknown", f"the champion, version {number}, cannot be read: {error.found}")
    inputs = tuple(name for name, _ in spec.inputs)
    contestant = Contestant(CHAMPION_NAME, folder, inputs, registered.digest)
    return _Rival(identity(registered.record), "", contestant, spec.inputs, registered.run_id)


def _published(tracking: Registry, storage: Storage, registered: RegisteredModel) -> tuple[ModelSpec, str]:
    """A version's description, and the storage folder with its files: where scoring puts them too."""
    place = f"models/{registered.digest}"
    with TemporaryDirectory() as scratch:
        folder = tracking.fetch(registered, Path(scratch) / "model")
        for file in (WEIGHTS, DESCRIPTION):
            name = f"{place}/{file}"
            if not (storage.exists(name) and storage.read(name) == (folder / file).read_bytes()):
                storage.publish_file(name, folder / file, kind="model")
        return ModelSpec.from_json((folder / DESCRIPTION).read_text(encoding="utf-8")), place


def evaluation_rows(tables: Tables, challenger: Challenger) -> DataFrame:
    """The rows that judge a challenger: the evaluation split of its own training set."""
    snapshot = challenger.version.training_set.snapshot
    return tables.read(snapshot.table, snapshot.version).where(F.col("split") == "evaluation")


def seen(tables: Tables, challenger: Challenger, lineage: Lineage | None) -> str:
    """Why a challenger's evaluation rows are no test of it; empty where they lie after all rows that it was trained on, or are others by key."""
    trained = lineage(challenger.run_id) if lineage is not None else None
    if trained is None:
        return f"no record of what {_ME} was trained on (run {challenger.run_id})"
    return overlap(tables, challenger.version.training_set, {_ME: trained}).get(_ME, "")


def _unfit(rows: DataFrame, rival: _Rival) -> str:
    """Why the champion cannot read the challenger's rows; empty where it can."""
    types = {field.name: field.dataType.simpleString() for field in rows.schema.fields}
    if wrong := [f"`{name}` {kind} (found {types.get(name, 'none')})" for name, kind in rival.types if types.get(name) != kind]:
        return f"the challenger's rows lack inputs of the champion: {', '.join(wrong[:5])}"
    return ""


def _separated(tables: Tables, challenger: Challenger, rival: _Rival, lineage: Lineage) -> dict[str, str]:
    """Which of the two the evaluation rows are no test of, and why."""
    runs = {_ME: challenger.run_id, **({_OTHER: rival.run_id} if rival.contestant is not None and not rival.gap else {})}
    trained = {model: lineage(run_id) for model, run_id in runs.items()}
    unknown = {model: f"no record of what {model} was trained on (run {runs[model]})" for model, sets in trained.items() if sets is None}
    known = {model: sets for model, sets in trained.items() if sets is not None}
    return {**overlap(tables, challenger.version.training_set, known), **unknown} if known else unknown


def _measure(
    storage: Storage, settings: ReleaseSection, challenger: Challenger, rival: _Rival, rows: DataFrame, columns: Iterable[str]
) -> Comparison:
    """One pass over the evaluation rows."""
    mine = Contestant(CHALLENGER, challenger.folder, tuple(name for name, _ in challenger.spec.inputs), challenger.version.digest)
    contestants = (mine,) if rival.gap or rival.contestant is None else (mine, rival.contestant)
    present = tuple(column for column in columns if column in rows.columns)
    if settings.cluster is not None and settings.cluster not in rows.columns:
        return Comparison(rival.identity, f"no column `{settings.cluster}` (release.cluster) in the training set")
    wanted = {gate.interval for gate in settings.gates.values() if isinstance(gate, ChampionGate)}
    contest = Contest(
        storage,
        contestants,
        challenger.label,
        settings.replicates,
        settings.confidence,
        settings.seed,
        present,
        cluster=settings.cluster,
        delong=bool(wanted & {"delong", "both"}),
    )
    standing = hold(rows, contest)
    if standing.unscored:
        return Comparison(
            rival.identity, f"{standing.unscored} evaluation rows without a prediction of {' and '.join(item.name for item in contestants)}"
        )
    metrics, slices = numbers(standing)
    unmeasured: Mapping[str, str] = {
        **{column: "no such column in the training set" for column in columns if column not in present},
        **dict.fromkeys(standing.crowded, f"more than {SLICES} values"),
    }
    return Comparison(rival.identity, rival.gap, metrics, slices, unmeasured)
