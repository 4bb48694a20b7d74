"""A table that loses no letter on a narrow terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

__all__ = ["print_listing"]

_WIDEST = 10_000


def print_listing(
    titles: Sequence[str], rows: Sequence[Sequence[str]], *, lead: int = 1, styles: Sequence[str] = (), console: Console | None = None
) -> None:
    """Print a table where it fits, and otherwise two lines for each row, which the terminal may wrap; nothing is cut.

    What goes to a file or a pipe is never folded: a row is a line.

    Args:
        titles: Of the columns.
        rows: Cells as text; an empty cell is left out of the lines.
        lead: Number of columns that speak for themselves and make the first line.
        styles: Rich's style of each row.
        console: Where to print; by default standard output.
    """
    console = console or Console(highlight=False)
    table = Table(*titles, box=None, pad_edge=False, header_style="bold")
    for number, row in enumerate(rows):
        table.add_row(*(Text(cell) for cell in row), style=styles[number] if styles else None)
    needed = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    if not console.is_terminal:
        console.width = max(console.width, needed)
    if needed <= console.width:
        console.print(table)
        return
    for number, row in enumerate(rows):
        head = " ".join(cell for cell in row[:lead] if cell)
        rest = ", ".join(f"{title} {cell}".strip() for title, cell in zip(titles[lead:], row[lead:], strict=True) if cell)
        console.print(Text(head, style=styles[number] if styles else "bold"), soft_wrap=True)
        if rest:
            console.print(Text(f"  {rest}"), soft_wrap=True)
