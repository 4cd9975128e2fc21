"""Rows on standard output: a table where it fits, a few lines a row where the terminal is too narrow for one.

Nothing is ever cut short: names are there to be copied, and a number without its end is another number.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text


def print_rows(
    columns: Sequence[str],
    rows: "Sequence[Sequence[str | Text]]",
    *,
    right: Sequence[str] = (),
    n_head: int = 1,
    gap: int = 2,
    header_style: str = "bold",
) -> None:
    """Print ``rows`` under ``columns``.

    Args:
        columns: Titles; may be empty for a column that explains itself.
        rows: A cell for each column.
        right: Titles of the columns that are aligned at the right.
        n_head: How many columns say what a row is about; on a narrow terminal they stand on a line of their own.
        gap: Blanks between columns.
        header_style: Of the titles.
    """
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    out = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style=header_style)
    for title in columns:
        table.add_column(title, no_wrap=True, justify="right" if title in right else "left")
    texts = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    for row in texts:
        table.add_row(*row)
    natural = table.__rich_measure__(out, out.options.update(width=10_000)).maximum
    if not out.is_terminal:
        out.width = max(natural, out.width)  # a file or a pipe has no width to fit into
    if natural <= out.width:
        out.print(table)
        return
    for row in texts:
        out.print(Text("  ").join(cell for cell in row[:n_head] if cell.plain), style="bold", overflow="fold")
        named = [
            Text.assemble((f"{title} ", "dim") if title else "", cell)
            for title, cell in zip(columns[n_head:], row[n_head:], strict=True)
            if cell.plain
        ]
        out.print(Padding(Text("; ").join(named), (0, 0, 0, 2)), overflow="fold")
