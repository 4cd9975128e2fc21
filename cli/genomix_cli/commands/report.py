"""``genomix report``: one page on a fine-tuning run."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Folder that genomix finetune wrote, of one run or of several."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Page to write; default: report.html in RUN.", show_default=False
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing on stderr.")] = False,
) -> None:
    """Write a report of a fine-tuning run: one HTML page that needs nothing beside it, and its numbers as JSON.

    Curves, confusion, ROC and PR with intervals, calibration, where the errors are, what the test shares with training.

    Example: [bold]genomix report classifier -o report.html[/bold]
    """
    from genomix_data.errors import ConfigError

    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"-o {str(output)!r}: the report is a page; give it a name that ends in .html.")
    write_run_report(run, output, quiet=quiet)


def write_run_report(run: Path, output: Path | None = None, *, quiet: bool = False) -> None:
    """Write the report of a run, into its folder unless told otherwise, and say where it is."""
    from genomix.report.finetune_report import write_finetune_report
    from genomix_cli.console import say

    page, numbers = write_finetune_report(run, output)
    if not quiet:
        say(f"report  {page}, {numbers}", style="dim")
