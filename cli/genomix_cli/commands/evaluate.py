"""``genomix evaluate``: metrics of a fine-tuned model."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder that genomix finetune wrote.")],
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV or TSV with sequences and labels.")],
    sequence_column: Annotated[str, typer.Option(help="Column of sequences.")] = "sequence",
    label_column: Annotated[str, typer.Option(help="Column of labels.")] = "label",
    too_long: Annotated[
        str | None,
        typer.Option(
            metavar="error|truncate", help="Sequences beyond the context; default as in fine-tuning."
        ),
    ] = None,
    both_strands: Annotated[
        bool | None,
        typer.Option("--both-strands/--one-strand", help="Average both strands; default as in fine-tuning."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Sequences at once; default by memory.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a machine to read.")] = False,
) -> None:
    """Print the metrics of a model on a labelled table, over the whole table at once, whatever its head.

    Example: [bold]genomix evaluate classifier/model test.csv.gz[/bold]
    """
    from genomix.training.evaluate import evaluate
    from genomix_cli.training_output import checked_device, checked_too_long, metrics_table

    evaluation = evaluate(
        model,
        table,
        sequence_column=sequence_column,
        label_column=label_column,
        batch_size=batch_size,
        device=checked_device(device),
        too_long=checked_too_long(too_long),
        both_strands=both_strands,
    )
    if as_json:
        print(json.dumps(evaluation.to_dict(), indent=2, allow_nan=False))
        return
    from rich.console import Console

    out = Console(highlight=False, soft_wrap=True)
    things = "bases" if evaluation.predictions.kind == "token_classifier" else "sequences"
    for part in metrics_table(evaluation.metrics, things):
        out.print(part)
