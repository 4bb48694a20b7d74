"""The flights project's configuration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feature_store.table import FeatureTable
from sparkml_ops.config.load import load
from sparkml_ops.config.root import Sections

CONF = Path(__file__).parents[3] / "conf"


@pytest.fixture(scope="module")
def sections() -> Sections:
    """The project as every verb reads it."""
    return load(CONF, "flights").sections


@pytest.fixture(scope="module")
def declared(sections: Sections) -> dict[str, FeatureTable]:
    """Its feature tables."""
    return {name: item.table(name, sections.sources) for name, item in sections.features.items()}


def _produced(sections: Sections, declared: dict[str, FeatureTable]) -> set[str]:
    """Columns of the training set."""
    assert sections.training_set is not None
    looked_up = {f"{lookup.prefix}{feature.name}" for lookup in sections.training_set.lookups for feature in declared[lookup.table].features}
    return looked_up | set(sections.training_set.columns)


def test_every_feature_says_what_it_means(declared: dict[str, FeatureTable]) -> None:
    """A feature has a meaning, and a number has a unit."""
    features = [feature for table in declared.values() for feature in table.features]

    assert len(features) == 28
    assert [feature.name for feature in features if not feature.meaning] == []
    assert [feature.name for feature in features if feature.unit is None and feature.type != "string"] == []


def test_every_table_and_source_says_what_it_holds(sections: Sections, declared: dict[str, FeatureTable]) -> None:
    """Tables and sources have a meaning too."""
    assert [name for name, table in declared.items() if not table.meaning] == []
    assert [name for name, source in sections.sources.items() if not source.meaning] == []


def test_the_model_takes_every_feature_and_nothing_else(sections: Sections, declared: dict[str, FeatureTable]) -> None:
    """What is joined is used, what is used is joined, and no column of the spine knows the date or the outcome."""
    taken = {*(sections.training.numeric or ()), *(sections.training.categorical or ())}

    assert taken == _produced(sections, declared)
    assert not taken & {"late", "arr_delay", "dep_delay", "cancelled", "diverted", "flight_id", "tailnum", "scheduled_departure", "prediction_time"}


def test_a_value_of_a_grid_lives_for_one_step(declared: dict[str, FeatureTable]) -> None:
    """A lookup takes the grid's last instant or nothing: an older value would be stale."""
    grids = [table for table in declared.values() if table.aggregates]

    assert [(table.name, table.ttl) for table in grids] == [(table.name, table.slide) for table in grids]
    assert len(grids) == 3


def test_trains_on_january_to_june_and_evaluates_july(sections: Sections) -> None:
    """The split follows from the day until which the model trains."""
    assert sections.training_set is not None

    options = sections.training_set.options(datetime(2013, 7, 1, tzinfo=UTC))

    assert options["split"].boundaries == {"train": datetime(2013, 7, 1, tzinfo=UTC), "evaluation": datetime(2013, 8, 1, tzinfo=UTC)}
    assert options["split"].holdout == ("validation", 0.1)
    assert options["maturity"] == timedelta(days=2)


def test_a_champion_must_hold_fixed_limits_and_stand_beside_baselines_and_the_champion_before_it(sections: Sections) -> None:
    """And its lineage be complete, its files small, its loader ours."""
    kinds = {"auc": "absolute", "baselines": "against_baselines", "champion": "against_champion", "origins": "slices"}
    kinds |= {"lineage": "lineage", "size": "artifact_size", "security": "security"}
    assert {name: gate.kind for name, gate in sections.release.gates.items()} == kinds
