"""A team's functions come from installed entry points, never from import strings."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_store.builders import find_builder, known_builders
from feature_store.errors import ContractError


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution on the path, as an installed wheel leaves it."""
    (tmp_path / "team_builders.py").write_text("def flights(spark):\n    return ('flights', spark)\n\nnumber = 3\n")
    info = tmp_path / "team-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: team\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[feature_store.builders]\nteam.flights = team_builders:flights\nteam.number = team_builders:number\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("wheel")
def test_a_builder_is_found_by_its_name() -> None:
    """The function itself is returned."""
    assert "team.flights" in known_builders()
    assert find_builder("team.flights")("session") == ("flights", "session")


@pytest.mark.usefixtures("wheel")
def test_an_unknown_name_lists_the_known_ones() -> None:
    """With the nearest one."""
    with pytest.raises(ContractError, match=r"`team.flight` .did you mean `team.flights`.*`team.number`"):
        find_builder("team.flight")


@pytest.mark.usefixtures("wheel")
def test_an_import_string_is_only_an_unknown_name() -> None:
    """Nothing that a configuration says is imported."""
    with pytest.raises(ContractError, match="the builder `os:system`"):
        find_builder("os:system")


@pytest.mark.usefixtures("wheel")
def test_a_builder_must_be_a_function() -> None:
    """An entry point may name anything."""
    with pytest.raises(ContractError, match=r"`team.number`, a int"):
        find_builder("team.number")


def test_two_builders_of_one_name_are_refused(wheel: Path) -> None:
    """Chance must not choose between two wheels."""
    info = wheel / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[feature_store.builders]\nteam.flights = other_builders:flights\n")

    with pytest.raises(ContractError, match=r"other: other_builders:flights.*team: team_builders:flights"):
        find_builder("team.flights")
