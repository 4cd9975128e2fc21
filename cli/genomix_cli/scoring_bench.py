"""``genomix bench score``: from options to a measurement, and the table of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from genomix_cli.rows_output import print_rows


def measure_scores(
    *,
    model: str,
    modes: Sequence[str],
    variants: int,
    windows: Sequence[int],
    horizon: int,
    strand: str,
    device: str,
    dtype: str,
    processes: int,
) -> dict[str, Any]:
    """Return what `genomix.bench.scoring.measure_scoring` finds for each window.

    Raises:
        GenomixError: as there.
    """
    from genomix.bench.scoring import ScoringCase, measure_scoring
    from genomix.provenance import run_record
    from genomix_cli.console import say
    from genomix_cli.memory import settle_process, settled_memory

    rows: list[dict[str, Any]] = []
    with settled_memory():
        for window in windows:
            case = ScoringCase(
                model=model,
                modes=tuple(modes),
                variants=variants,
                window=window,
                horizon=horizon,
                strand=strand,
                device=device,
                dtype=dtype,
                processes=processes,
            )
            rows += measure_scoring(case, say=say, prepare=settle_process)
    return {"meta": run_record(), "versions": {}, "rows": rows}


def print_scores(result: Mapping[str, Any]) -> None:
    """Print the rows as a table on stdout."""
    numbers = ("window", "horizon", "processes", "variants", "variants/s", "peak GB")
    rows = [
        (
            row["model"],
            row["mode"],
            f"{row['window']:,}",
            f"{row['horizon']:,}" if row["horizon"] else "-",
            str(row["processes"]),
            f"{row['variants']:,}",
            f"{row['variants_per_s']:,.1f}",
            f"{row['peak_gb']:.1f}" if row["peak_gb"] is not None else "-",
        )
        for row in result["rows"]
    ]
    print_rows(("model", "mode", *numbers), rows, right=numbers, n_head=2)
