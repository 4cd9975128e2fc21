"""``genomix pretrain``: a language model from genomes."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings; --cfg shows all of them.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Run folder.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in DIR.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in DIR.")] = False,
    cfg: Annotated[bool, typer.Option("--cfg", help="Print the settings as YAML and stop.")] = False,
    config_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder with options of your own, e.g. DIR/trainer/long.yaml."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing while it works.")] = False,
) -> None:
    """Pretrain a language model on genomes, and say how many bits it needs for a held-out base.

    The model is a HyenaDNA or a StripedHyena 2 (model=...), begun at random or from init.checkpoint=FOLDER. A recipe
    (recipe=...) sets model, windows, optimizer and length together.

    Examples:

        [bold]genomix pretrain data.fasta=genome.fa -o run[/bold]

        [bold]genomix pretrain recipe=sh2/7m data.fasta=genome.fa -o run[/bold]

        [bold]genomix pretrain init.checkpoint=run/model data.fasta=b.fa -o further[/bold]

        [bold]genomix pretrain model=hyenadna/demo data.fasta='\\[a.fa,b.fa.gz]' trainer.max_steps=500 -o run[/bold]

        [bold]genomix pretrain --resume -o run[/bold]

        [bold]torchrun --nproc-per-node 2 -m genomix_cli.main pretrain parallel.context=2 data.fasta=a.fa -o run[/bold]
    """
    from genomix_cli.training_output import print_settings, require_output

    if cfg:
        print_settings("pretrain", overrides or [], config_dir)
        return
    folder = require_output(output, "run")
    from genomix.parallel.launched import is_first_launched
    from genomix_cli.console import console, say
    from genomix_cli.training_output import pretraining_settings, show_pretraining

    config = pretraining_settings(overrides or [], config_dir, folder if resume else None)

    # Only now, because Lightning takes seconds to import and a wrong setting should not wait for it.
    from genomix.training.pretrain import pretrain
    from genomix.training.results import RunInterruptedError

    quiet = quiet or not is_first_launched()
    as_json = as_json and is_first_launched()
    try:
        result = pretrain(
            config, folder, resume=resume, overwrite=overwrite, progress=False if quiet else console
        )
    except RunInterruptedError as stop:
        if is_first_launched():
            say(
                f"interrupted after step {stop.step:,} of {stop.max_steps:,}, which is saved.", style="yellow"
            )
            say(f"continue with: genomix pretrain --resume -o {folder}")
        raise typer.Exit(128 + stop.signal_number) from stop
    show_pretraining(result, as_json=as_json, quiet=quiet)
