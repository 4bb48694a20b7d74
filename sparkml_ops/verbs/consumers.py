"""What the feature store cannot know: which models were made from its tables, and which tables hold their predictions."""

from __future__ import annotations

from feature_store.consumers import Consumer, Consumers
from sparkml_ops import scoring
from sparkml_ops.records import ModelVersion
from sparkml_ops.verbs.work import Work

__all__ = ["record_model", "record_predictions"]


def record_model(work: Work, version: ModelVersion) -> None:
    """Keep a registered version as a consumer of its training set and of what that was made from."""
    made = version.training_set
    inputs = {made.snapshot.table: made.snapshot.version, **made.inputs}
    Consumers(work.tables).record(Consumer("model", version.name, str(version.version), inputs))


def record_predictions(work: Work, version: ModelVersion) -> None:
    """Keep the table of predictions as a consumer of a version that scores into it, and of the tables behind its scoring sets.

    Once for each version, and where it is promoted rather than where it first scores: no window's scoring gets a further commit.
    The versions of the tables differ from window to window; each row of the predictions carries its own.
    """
    target = work.sections.scoring.target
    scoring_set, tables = scoring.scoring_set_table(target), dict.fromkeys(version.training_set.inputs)
    Consumers(work.tables).record(
        Consumer("scoring set", scoring_set, "", tables),
        Consumer("predictions", target, str(version.version), {scoring_set: None, f"model:{version.name}": version.version, **tables}),
    )
