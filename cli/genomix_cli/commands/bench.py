"""``genomix bench``: how fast this machine does what genomix needs."""

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table


class Subject(StrEnum):
    """What can be measured."""

    data = "data"
    vcf = "vcf"


def command(
    subject: Annotated[
        Subject,
        typer.Argument(help="data: how fast a token store feeds a training loop; vcf: VCF in and out."),
    ],
    fasta: Annotated[
        Path | None,
        typer.Option(
            "-f", "--fasta", help="Genome to read; default: 64 Mb of random bases.", show_default=False
        ),
    ] = None,
    vcf: Annotated[
        Path | None, typer.Option(help="VCF to read; default: the BRCA1 sample.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read at once.")] = 2,
    seconds: Annotated[float, typer.Option(min=0.05, help="Time for each measurement.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a machine to read.")] = False,
) -> None:
    """Measure how fast this machine does a thing, beside the simplest way to do it.

    Example: [bold]genomix bench data --fasta hg38.fa --json > data.json[/bold]
    """
    from genomix import __version__
    from genomix_cli.console import say

    if subject is Subject.vcf:
        from genomix_data.bench.vcf import measure_vcf

        result = measure_vcf(vcf, seconds=seconds, say=say)
    else:
        from genomix_data.bench.store import measure

        result = measure(fasta, workers=workers, seconds=seconds, say=say)
    result["versions"] = {"genomix": __version__, **result["versions"]}
    result["command"] = shlex.join(["genomix", *sys.argv[1:]])
    if as_json:
        print(json.dumps(result, indent=2))
    elif subject is Subject.vcf:
        _print_vcf(result)
    else:
        _print_data(result)


def _table() -> "Table":
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")


def _print_vcf(result: dict[str, Any]) -> None:
    from rich.console import Console

    table = _table()
    table.add_column("what", no_wrap=True)
    table.add_column("records/s", justify="right")
    for row in result["rows"]:
        table.add_row(row["what"], f"{row['records_per_second']:,}")
    Console(highlight=False).print(table)


def _print_data(result: dict[str, Any]) -> None:
    from rich.console import Console

    table = _table()
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
