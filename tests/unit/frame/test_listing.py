"""Tables for people: nothing is cut, whatever the width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sparkml_ops.cli.listing import print_listing

TITLES = ("run", "verb", "window", "seconds")
ROWS = [("1a2b3c4d", "register", "0bbf728b0bbf728b0bbf728b0bbf728b", "12.3"), ("5e6f7a8b", "score", "2013-07", "")]


def printed(width: int, *, terminal: bool) -> list[str]:
    out = io.StringIO()
    print_listing(TITLES, ROWS, lead=3, console=Console(file=out, width=width, force_terminal=terminal, color_system=None, highlight=False))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [20, 58, 200])
@pytest.mark.parametrize("terminal", [True, False])
def test_every_identifier_stands_whole_on_one_line(width: int, *, terminal: bool) -> None:
    """A terminal may wrap a line, the program never breaks or shortens one."""
    lines = printed(width, terminal=terminal)

    assert any("0bbf728b0bbf728b0bbf728b0bbf728b" in line and "1a2b3c4d" in line for line in lines)
    assert not any("…" in line for line in lines)


def test_a_row_is_a_line_where_it_fits_or_goes_to_a_file() -> None:
    """With its titles above."""
    for lines in (printed(200, terminal=True), printed(20, terminal=False)):
        assert [line.split() for line in lines] == [list(TITLES), list(ROWS[0]), list(ROWS[1][:3])]


def test_a_narrow_terminal_gets_two_lines_a_row() -> None:
    """What needs its title has it; an empty cell needs none."""
    assert printed(30, terminal=True) == ["1a2b3c4d register 0bbf728b0bbf728b0bbf728b0bbf728b", "  seconds 12.3", "5e6f7a8b score 2013-07"]
