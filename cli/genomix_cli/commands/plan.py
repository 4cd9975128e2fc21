"""``genomix plan``: what a pretraining run will take, before it runs."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Settings of genomix pretrain; data.fasta may be left out.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Run folder, whose disk is looked at.")
    ] = Path(),
    gpus: Annotated[
        int | None,
        typer.Option(
            "--gpus",
            min=1,
            metavar="N",
            help="Processes of the run, one a GPU; if not given, as few as parallel.* needs.",
            show_default=False,
        ),
    ] = None,
    config_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder with options of your own, e.g. DIR/trainer/long.yaml."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the plan as JSON on stdout, sizes in bytes.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing while it works.")] = False,
) -> None:
    """Say what a pretraining run will take on this machine: memory, tokens a second, hours, disk.

    A few steps are made on random bases at small sizes and thrown away. Where the run does not fit, the plan says what
    to change, and what each change gives. Without data.fasta, data.n_bases=3.1e9 tells how many bases there will be.

    Exit code 1 if the run does not fit.

    Examples:

        [bold]genomix plan data.fasta=genome.fa[/bold]

        [bold]genomix plan recipe=sh2/7m data.batch_size=64 data.n_bases=3.1e9[/bold]

        [bold]genomix plan recipe=evo2/7b_base parallel.shard=8 --gpus 8 --json[/bold]
    """
    from genomix_cli.console import console
    from genomix_cli.training_output import planned_settings

    config, has_genome, n_bases = planned_settings(overrides or [], config_dir)
    progress = False if quiet else console

    # Only now, because Lightning takes seconds to import and a wrong setting should not wait for it.
    from genomix.training.plan import make_plan
    from genomix.training.pretrain import load_genomes
    from genomix.training.screen import Screen
    from genomix_cli.plan_output import show_plan

    corpus = load_genomes(config, Screen(progress)) if has_genome else None
    plan = make_plan(
        config, corpus=corpus, n_bases=n_bases, n_processes=gpus, output=output, progress=progress
    )
    if as_json:
        print(json.dumps(plan.to_dict(), indent=2, allow_nan=False))
    else:
        show_plan(plan)
    if not plan.fits:
        raise typer.Exit(1)
