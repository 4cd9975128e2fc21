"""``genomix sweep``: settings of a fine-tuning run, compared on validation."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE[,VALUE...]", help="Settings of genomix finetune.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Output folder.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make all trials anew.")] = False,
    config_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder with options of your own, e.g. DIR/optimizer/slow.yaml."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing while it works.")] = False,
) -> None:
    """Try a grid of settings with one seed each, choose by validation, train the best with all seeds, test it once.

    Settings with several values make the grid; without any it is learning rate x weight decay x dropout, twelve points.
    Trials run side by side on a GPU, and what is finished is kept: the same command goes on where it was stopped.

    Examples:

        [bold]genomix sweep task=gue/mouse/3 data.root=benchmarks seeds=5 -o sweep[/bold]

        [bold]genomix sweep data.train=train.csv data.test=test.csv optimizer.lr=3e-4,1e-3 -o sweep[/bold]
    """
    import json

    from genomix_cli.finetuning_output import show_sweep
    from genomix_cli.training_output import require_output

    folder = require_output(output, "sweep")
    from genomix_cli.console import console
    from genomix_configs.compose import compose
    from genomix_configs.grid import grid_points

    points = [
        (settings, compose("finetune", values, config_dir=config_dir)[0])
        for settings, values in grid_points(overrides or [])
    ]
    from genomix.training.sweep import run_sweep

    result = run_sweep(points, folder, overwrite=overwrite, progress=False if quiet else console)
    if as_json:
        print(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    if not quiet:
        show_sweep(result)
    if result.best.failed:
        raise typer.Exit(3)
