"""``genomix predict``: what a fine-tuned model says of sequences."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder that genomix finetune wrote.")],
    table: Annotated[
        Path | None,
        typer.Argument(
            metavar="[INPUT]",
            help="CSV, TSV or Parquet with a column of sequences, or a FASTA.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="FILE", help="TSV, or .parquet, to write; - is TSV on stdout."
        ),
    ] = "-",
    bed: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Regions of -f instead of INPUT.", show_default=False),
    ] = None,
    fasta: Annotated[
        Path | None,
        typer.Option("--fasta", "-f", metavar="FASTA", help="Genome of the regions.", show_default=False),
    ] = None,
    sequence_column: Annotated[str, typer.Option(help="Column of sequences.")] = "sequence",
    both_strands: Annotated[
        bool | None,
        typer.Option("--both-strands/--one-strand", help="Average both strands; default as in fine-tuning."),
    ] = None,
    too_long: Annotated[
        str | None,
        typer.Option(
            metavar="error|truncate", help="Sequences beyond the context; default as in fine-tuning."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Sequences at once; default by memory.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr.")] = False,
) -> None:
    """Write what a model says of every sequence, in their order: classes and their probabilities, labels, or numbers.

    Sequences of like length are computed together; the result of one does not depend on the others. A model of variants
    reads tables with the columns ref_sequence and alt_sequence; one of single bases gives a row for each base.

    Examples:

        [bold]genomix predict classifier/model sequences.csv -o predictions.tsv[/bold]

        [bold]genomix predict classifier/model contigs.fa.gz --both-strands -o predictions.parquet[/bold]

        [bold]genomix predict classifier/model --bed peaks.bed -f hg38.fa -o predictions.tsv[/bold]
    """
    from genomix.inference.predict import predict
    from genomix.inference.prediction_files import prediction_columns, write_predictions_file, write_tsv
    from genomix_cli.console import say
    from genomix_cli.training_output import checked_device, checked_too_long
    from genomix_data.atomic import refuse_inputs, require_writable

    refuse_inputs(output, table, bed, fasta)
    if output != "-":
        require_writable(output)
    predictions = predict(
        model,
        table,
        sequence_column=sequence_column,
        bed=bed,
        genome=fasta,
        batch_size=batch_size,
        device=checked_device(device),
        too_long=checked_too_long(too_long),
        both_strands=both_strands,
    )
    columns = prediction_columns(predictions)
    if output == "-":
        write_tsv(sys.stdout, columns)
        sys.stdout.flush()
    else:
        write_predictions_file(output, columns)
    if not quiet:
        place = "" if output == "-" else f" -> {output}"
        say(f"{len(predictions.lengths):,} sequences{place}")
        if predictions.n_truncated:
            say(f"warning: {predictions.n_truncated:,} were cut to the model's longest input", style="yellow")
