"""``genomix predict``: class probabilities of sequences."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder that genomix finetune wrote.")],
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV or TSV with a column of sequences.")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="TSV to write; - is stdout.")
    ] = "-",
    sequence_column: Annotated[str, typer.Option(help="Column of sequences.")] = "sequence",
    too_long: Annotated[
        str | None,
        typer.Option(
            metavar="error|truncate", help="Sequences beyond the context; default as in fine-tuning."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Sequences at once.")] = 64,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr.")] = False,
) -> None:
    """Write the class probabilities of every sequence of a table, in its order, as TSV.

    Example: [bold]genomix predict classifier/model sequences.csv -o predictions.tsv[/bold]
    """
    from genomix.inference.predict import predict, write_predictions, write_predictions_file
    from genomix_cli.console import say
    from genomix_cli.training_output import checked_device, checked_too_long
    from genomix_data.atomic import atomic_file

    predictions = predict(
        model,
        table,
        sequence_column=sequence_column,
        batch_size=batch_size,
        device=checked_device(device),
        too_long=checked_too_long(too_long),
    )
    if output == "-":
        write_predictions(sys.stdout, predictions)
        sys.stdout.flush()
    else:
        with atomic_file(output) as temporary:
            write_predictions_file(temporary, predictions)
    if not quiet:
        place = "" if output == "-" else f" -> {output}"
        say(f"{len(predictions.probabilities):,} sequences{place}")
        if predictions.n_truncated:
            say(f"warning: {predictions.n_truncated:,} were cut to the model's longest input", style="yellow")
