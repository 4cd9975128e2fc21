"""``genomix finetune``: a classifier from labelled sequences."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings; --cfg shows all of them.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Output folder.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in DIR.")] = False,
    cfg: Annotated[bool, typer.Option("--cfg", help="Print the settings as YAML and stop.")] = False,
    config_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder with options of your own, e.g. DIR/optimizer/slow.yaml."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing while it works.")] = False,
) -> None:
    """Fine-tune a classifier of sequences; validation chooses the epoch, the test is scored once at the end.

    [bold]method=full[/bold] trains all weights (the default),

    [bold]method=lora[/bold] low-rank adapters, merged when saved,

    [bold]method=probe[/bold] a logistic regression on frozen embeddings, in seconds.

    Examples:

        [bold]genomix finetune model.init=run/model data.train=train.csv data.test=test.csv -o classifier[/bold]

        [bold]genomix finetune model=hyenadna/tiny-1k data.folder=human_enhancers_cohn -o classifier[/bold]

        [bold]genomix finetune method=probe model.init=run/model data.folder=human_enhancers_cohn -o probe[/bold]
    """
    from genomix_cli.training_output import print_settings, require_output

    if cfg:
        print_settings("finetune", overrides or [], config_dir)
        return
    folder = require_output(output, "classifier")
    from genomix_cli.console import console
    from genomix_cli.training_output import show_finetuning
    from genomix_configs.compose import compose

    config, _ = compose("finetune", overrides or [], config_dir=config_dir)

    # Only now, because Lightning takes seconds to import and a wrong setting should not wait for it.
    from genomix.training.finetune import finetune

    result = finetune(config, folder, overwrite=overwrite, progress=False if quiet else console)
    show_finetuning(result, as_json=as_json, quiet=quiet)
