"""``genomix bench``: how fast this machine does what genomix needs."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Subject(StrEnum):
    """What can be measured."""

    data = "data"


def command(
    subject: Annotated[Subject, typer.Argument(help="data: how fast a token store feeds a training loop.")],
    fasta: Annotated[
        Path | None,
        typer.Option(
            "-f", "--fasta", help="Genome to read; default: 64 Mb of random bases.", show_default=False
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read at once.")] = 2,
    seconds: Annotated[float, typer.Option(min=0.05, help="Time for each measurement.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a machine to read.")] = False,
) -> None:
    """Measure how fast this machine does a thing, beside the simplest way to do it.

    Example: [bold]genomix bench data --fasta hg38.fa --json > data.json[/bold]
    """
    from genomix_cli.console import say
    from genomix_data.bench.store import measure

    result = measure(fasta, workers=workers, seconds=seconds, say=say)
    if as_json:
        print(json.dumps(result, indent=2))
        return

    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("what", no_wrap=True)
    for title in ("window", "batch", "workers", "M tokens/s", "of numpy slicing"):
        table.add_column(title, justify="right")
    for row in result["rows"]:
        ratio = row["ratio_to_numpy"]
        table.add_row(
            row["what"],
            f"{row['window']:,}" if row["window"] else "-",
            f"{row['batch']:,}" if row["batch"] else "-",
            str(row["workers"]),
            f"{row['million_tokens_per_second']:,.0f}",
            f"{ratio:.2f} x" if ratio is not None else "-",
        )
    Console(highlight=False).print(table)
