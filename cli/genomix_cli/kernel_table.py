"""What ``genomix bench kernels`` prints: a table by operation, then what was left out and what failed."""

from collections import Counter
from typing import Any

Row = dict[str, Any]


def print_kernels(result: dict[str, Any]) -> None:
    """Print the rows of `genomix_kernels.bench.measure_kernels` for a terminal of 100 columns."""
    from rich.console import Console
    from rich.table import Table

    rows: list[Row] = result["rows"]
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for title in ("op", "variant"):
        table.add_column(title, no_wrap=True)
    table.add_column("L", justify="right", no_wrap=True)
    for title in ("mode", "backend"):
        table.add_column(title, no_wrap=True)
    for title in ("ms", "x floor", "rel err", "err/rnd", "peak MB"):
        table.add_column(title, justify="right", no_wrap=True)
    before: tuple[object, ...] = ("", "", "", "")
    for row in rows:
        if row["skipped"]:
            continue
        place = (row["op"], _variant(row), f"{row['L']:,}", row["mode"])
        if before[0] not in ("", place[0]):
            table.add_row()
        # what is as in the line above is left out, from the left
        same = next((i for i, pair in enumerate(zip(place, before, strict=True)) if pair[0] != pair[1]), 4)
        table.add_row(*("" if i < same else text for i, text in enumerate(place)), *_cells(row))
        before = place
    console.print(table)
    meta = result["meta"]
    where = meta["gpu"] or meta["processor"]
    console.print(f"\ncopy {meta['copy_gb_s']:,.0f} GB/s on {where}, torch {meta['torch']}", markup=False)
    _print_notes(rows, meta["absent"])


def _variant(row: Row) -> str:
    taps = f"K={row['K']}" if row["K"] and not row["variant"] else ""
    gated = "gated" if row["gated"] and not row["variant"] else ""
    return " ".join(part for part in (row["variant"], taps, gated) if part) or "-"


def _cells(row: Row) -> tuple[str, ...]:
    name = f"[dim]{row['backend']}[/dim]" if row["is_peer"] else row["backend"]
    if row["error"]:
        return name, "[red]failed[/red]", "", _error(row), "", ""
    peak = "-" if row["peak_mb"] is None else f"{row['peak_mb']:,.0f}"
    return (
        name,
        _short(row["ms"]),
        _short(row["x_floor"]),
        _error(row),
        _short(row["err_over_rounding"]),
        peak,
    )


def _error(row: Row) -> str:
    if row["rel_err"] is None:
        return "-"
    return f"{row['rel_err']:.1e}" + ("" if row["is_within_tolerance"] else "!")


def _short(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def _print_notes(rows: list[Row], absent: dict[str, str]) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if any(row["is_within_tolerance"] is False for row in rows):
        console.print("! outside the tolerance of its dtype (genomix_kernels.testing)")
    for kind in ("error", "skipped"):
        notes = Counter((row["op"], row["backend"], row[kind]) for row in rows if row[kind])
        for (op, backend, reason), n in notes.items():
            times = f" ({n} rows)" if n > 1 else ""
            console.print(f"{'failed' if kind == 'error' else kind}: {op} {backend}: {reason}{times}")
    for name, reason in absent.items():
        console.print(f"not here: {name}: {reason}")
