"""``genomix finetune``: a model of labelled sequences."""

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
    list_tasks: Annotated[
        bool, typer.Option("--list", help="List the recipes of task=... and stop.")
    ] = False,
    config_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder with options of your own, e.g. DIR/optimizer/slow.yaml."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing while it works.")] = False,
) -> None:
    """Fine-tune a model on labelled sequences; validation chooses the epoch, the test is scored once at the end.

    [bold]method=full[/bold] trains all weights (the default),

    [bold]method=lora[/bold] low-rank adapters, merged when saved,

    [bold]method=probe[/bold] a linear model on frozen embeddings, in seconds,

    [bold]method=soft_prompt[/bold] vectors before every sequence, the model frozen.

    [bold]head=multilabel[/bold], [bold]regression[/bold], [bold]tokens[/bold] and [bold]variant[/bold] are for other
    tasks than classes of sequences.

    With [bold]seeds=5[/bold], [bold]protocol=cv5[/bold] or several tasks there are several runs, side by side on a GPU;
    what is finished is kept, and the same command goes on where it was stopped.

    Examples:

        [bold]genomix finetune model.init=run/model data.train=train.csv data.test=test.csv -o classifier[/bold]

        [bold]genomix finetune task=gb/human_nontata_promoters data.root=benchmarks seeds=5 -o promoters[/bold]

        [bold]genomix finetune 'task=gue/tf/*,ienhancer/layer1' data.root=benchmarks seeds=5 -o suite[/bold]

        [bold]genomix finetune method=probe model.init=run/model data.folder=human_enhancers_cohn -o probe[/bold]
    """
    from genomix_cli.finetuning_output import print_tasks, show_suite, show_summary, tasks_in
    from genomix_cli.training_output import print_settings, require_output

    given = overrides or []
    if list_tasks:
        print_tasks()
        return
    if cfg:
        print_settings("finetune", given, config_dir)
        return
    tasks, rest = tasks_in(given)
    folder = require_output(output, "classifier")
    from genomix_cli.commands.report import write_run_report
    from genomix_cli.console import console
    from genomix_cli.training_output import show_finetuning
    from genomix_configs.compose import compose

    progress = False if quiet else console
    if tasks:
        from genomix.training.suite import run_suite

        configs = {
            name: compose("finetune", [f"task={name}", *rest], config_dir=config_dir)[0] for name in tasks
        }
        summaries, failed = run_suite(configs, folder, overwrite=overwrite, progress=progress)
        show_suite(summaries, failed, folder, as_json=as_json, quiet=quiet)
        for summary in summaries:
            write_run_report(folder / str(summary.config.task), quiet=True)
        if failed:
            raise typer.Exit(3)
        return
    config, _ = compose("finetune", given, config_dir=config_dir)
    if config.seeds == 1 and config.protocol in ("holdout", "paper"):
        from genomix.training.finetune import finetune

        result = finetune(config, folder, overwrite=overwrite, progress=progress)
        show_finetuning(result, as_json=as_json, quiet=quiet)
        write_run_report(folder, quiet=quiet)
        return
    from genomix.training.protocol import run_protocol

    summary = run_protocol(config, folder, overwrite=overwrite, progress=progress)
    show_summary(summary, folder, as_json=as_json, quiet=quiet)
    write_run_report(folder, quiet=quiet)
    if summary.failed:
        raise typer.Exit(3)
