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
    models = "models"


def command(
    subject: Annotated[
        Subject,
        typer.Argument(
            help="data: how fast a token store feeds a training loop; vcf: VCF in and out; models: whole models."
        ),
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
    model: Annotated[
        str, typer.Option(help="models: a registered name; weights are random.")
    ] = "hyenadna/demo",
    what: Annotated[str, typer.Option(help="models: of forward,decode,train,chunked.")] = "forward,decode",
    lengths: Annotated[str, typer.Option(help="models: tokens of a sequence.")] = "1024",
    batches: Annotated[str, typer.Option(help="models: sequences of a batch.")] = "1",
    device: Annotated[str, typer.Option(help="models: cpu or cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="models: bf16 or fp32.")] = "fp32",
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
    elif subject is Subject.models:
        from genomix.bench.models import measure_models
        from genomix.provenance import run_record

        result = {
            "meta": run_record(),
            "versions": {},
            "rows": measure_models(
                model,
                what=_listed(what),
                lengths=[int(length) for length in _listed(lengths)],
                batches=[int(batch) for batch in _listed(batches)],
                device=device,
                dtype=dtype,
                say=say,
            ),
        }
    else:
        from genomix_data.bench.store import measure

        result = measure(fasta, workers=workers, seconds=seconds, say=say)
    result["versions"] = {"genomix": __version__, **result["versions"]}
    result["command"] = shlex.join(["genomix", *sys.argv[1:]])
    if as_json:
        print(json.dumps(result, indent=2))
    elif subject is Subject.vcf:
        _print_vcf(result)
    elif subject is Subject.models:
        _print_models(result)
    else:
        _print_data(result)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _print_models(result: dict[str, Any]) -> None:
    from rich.console import Console

    table = _table()
    for title in ("model", "what"):
        table.add_column(title, no_wrap=True)
    for title in ("L", "B", "ms", "tokens/s", "peak GB"):
        table.add_column(title, justify="right")
    for row in result["rows"]:
        table.add_row(
            row["model"],
            row["mode"] or row["what"],
            f"{row['L']:,}",
            str(row["B"]),
            f"{row['ms']:,.2f}",
            f"{row['tokens_per_s']:,.0f}",
            f"{row['peak_gb']:.1f}",
        )
    Console(highlight=False).print(table)


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
