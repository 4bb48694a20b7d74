"""The table of a year: each month's row, and no letter lost on a narrow terminal."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from months_maker import Maker
from rich.console import Console

from sparkml_ops.monitoring.year import Month, Year
from sparkml_ops.monitoring.year_table import year_table


def printed(year: Year, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, color_system=None).print(year_table(year))
    return out.getvalue().splitlines()


def test_each_month_has_a_row_with_its_numbers(made_up: Year) -> None:
    """Rows, quarantined, drifted columns, both AUC, decision with reason, champion."""
    for month in made_up.months:
        line = next(text for text in printed(made_up, 400) if text.startswith(month.window))
        estimated, realised = month.figure("auc", "estimated"), month.figure("auc")
        assert estimated is not None
        assert realised is not None
        assert f"{month.rows:,}" in line
        assert f"{len(month.with_verdict('drift'))} of 10" in line
        assert f"{estimated.value:.3f}" in line
        assert f"{realised.value:.3f}" in line
        assert f": {month.decision.reason}" in line  # type: ignore[union-attr]
        assert f"v{month.model_version}" in line


def test_a_missing_month_is_not_zero(made_up: Year) -> None:
    """It has a row that says so, without a number."""
    lines = printed(made_up, 400)
    place = next(place for place, line in enumerate(lines) if line.startswith("2013-10"))

    assert lines[place].split() == ["2013-10", "not", "–", "–", "–", "–", "–", "–"]
    assert lines[place + 1].split() == ["scored"]


def test_what_became_of_a_challenger_and_of_a_fault(made_up: Year) -> None:
    """A promoted version takes over, a refused one does not; a fault is counted beside drift."""
    text = "\n".join(printed(made_up, 400))

    assert "→ v2" in text
    assert "v3 no" in text
    assert "1 fault" in text


def test_a_figure_without_all_of_the_truth_has_a_star(made_up: Year) -> None:
    """And the caption says what the star means; no star, no caption."""
    value = made_up.months[-1].figure("auc").value  # type: ignore[union-attr]
    text = "\n".join(printed(made_up, 400))

    assert f"{value:.3f}*" in text
    assert text.count("*") == 2
    assert "*" not in "\n".join(printed(replace(made_up, months=made_up.months[:-1]), 400))


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_nothing_is_cut_on_a_narrow_terminal(made_up: Year, width: int) -> None:
    """Lines fit, and every letter of every reason is there."""
    lines = printed(made_up, width)
    letters = sorted("".join(lines).replace(" ", ""))

    assert max(len(line) for line in lines) <= width
    assert not {"…"} & set(letters)
    assert letters == sorted("".join(printed(made_up, 400)).replace(" ", ""))


def test_names_are_no_markup(maker: Maker, only: Callable[[Month], Year]) -> None:
    """Brackets in a project's name or a reason are printed as they are."""
    month = maker.month("2013-07", 1)
    month = replace(month, decision=replace(month.decision, reason="[bold]x[/nonsense]"))  # type: ignore[type-var, arg-type]
    text = "\n".join(printed(replace(only(month), project="[red]flights"), 200))

    assert "[red]flights" in text
    assert "no: [bold]x[/nonsense]" in text


def test_a_month_that_was_scored_alone(only: Callable[[Month], Year]) -> None:
    """Neither drift nor truth nor decision: dashes."""
    assert printed(only(Month("2013-07", "", 10, 0, 1)), 100)[-1].split() == ["2013-07", "10", "0", "–", "–", "–", "–", "v1"]
