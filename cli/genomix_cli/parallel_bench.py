"""``genomix bench parallel``: from options to a measurement on all processes, and the table of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from genomix_cli.rows_output import print_rows


def measure_processes(*, lengths: Sequence[int], device: str | None, **settings: Any) -> dict[str, Any]:
    """Return what `genomix.bench.parallel.measure_parallel` finds; on every process the same rows.

    Args:
        lengths: Tokens of a window.
        device: ``cpu`` or ``cuda``; None: cuda if there is one.
        **settings: Of `genomix.bench.parallel.ParallelCase`.

    Raises:
        GenomixError: as there.
    """
    import torch

    from genomix.bench.parallel import ParallelCase, measure_parallel
    from genomix.parallel.launched import n_launched
    from genomix.provenance import run_record
    from genomix_cli.console import say

    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    case = ParallelCase(lengths=tuple(lengths), device=place, **settings)
    rows = measure_parallel(case, n_launched(), say=say)
    name = torch.cuda.get_device_name() if place.startswith("cuda") else "cpu"
    return {"meta": run_record(), "device": name, "versions": {}, "rows": rows}


def print_processes(result: Mapping[str, Any]) -> None:
    """Print the rows as a table on stdout."""
    numbers = ("processes", "L", "B", "ms", "tokens/s", "x one", "peak GB", "loss differs")
    rows = []
    for row in result["rows"]:
        about = (row["model"], row["axis"], str(row["processes"]), f"{row['L']:,}", str(row["B"]))
        if "error" in row:
            rows.append((*about, str(row["error"]), "", "", "", ""))
            continue
        times, difference = row.get("times_as_fast"), row.get("loss_differs_by")
        rows.append(
            (
                *about,
                f"{row['ms']:,.1f}",
                f"{row['tokens_per_s']:,.0f}",
                "" if times is None else f"{times:.2f}",
                f"{row['peak_gb']:.2f}",
                "" if difference is None else f"{difference:.1e}",
            )
        )
    print_rows(("model", "axis", *numbers), rows, right=numbers, n_head=2)
    told = {row["processes"]: row for row in result["rows"] if "longest" in row}
    for n, row in sorted(told.items()):
        times = f", {row['times_as_long']:.2f} times those of one" if "times_as_long" in row else ""
        print(
            f"{n} process{'es' if n > 1 else ''}: windows of up to {row['longest']:,} tokens, by peak memory{times}"
        )
