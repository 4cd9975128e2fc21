"""``genomix embed``: what a model makes of sequences, for other programs to learn from."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from genomix_cli.model_input import (
    DEFAULT_MODEL,
    DeviceOption,
    DtypeOption,
    ModelOption,
    PrecisionLossOption,
    QuietOption,
)


def command(
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write: .npz or .parquet.")],
    model: ModelOption = DEFAULT_MODEL,
    sequences: Annotated[
        str | None, typer.Argument(metavar="[IN.fa]", help="FASTA, gzip ok; - is standard input.")
    ] = None,
    bed: Annotated[Path | None, typer.Option(help="Regions instead, with -f.")] = None,
    fasta: Annotated[
        Path | None, typer.Option("-f", "--fasta", "--ref", help="Genome of the regions.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Name of a layer; default: the states after the last norm.")
    ] = None,
    pool: Annotated[str, typer.Option(help="mean, last, none (every token) or window:N.")] = "mean",
    strand: Annotated[
        Literal["forward", "both"], typer.Option(help="Both appends the reverse complement's features.")
    ] = "forward",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Sequences at once; default: by memory.")
    ] = None,
    chunk: Annotated[int, typer.Option(min=1, help="Tokens at a time of long sequences.")] = 8192,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "stored",
    allow_precision_loss: PrecisionLossOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the hidden states of sequences, pooled: one row a sequence, or a window, or a token.

    Whole contigs go through in pieces with bounded memory. Rows carry name, start and end (0-based, half-open).

    Example: [bold]genomix embed genes.fa -m MODEL --pool mean -o genes.npz[/bold]
    """
    from collections.abc import Iterator

    from genomix.inference.embed import Pool, check_layer, embed
    from genomix.inference.embedding_files import EmbeddingRow, write_embeddings
    from genomix.inference.limits import check_length
    from genomix.inference.regions import Place, sequences_of
    from genomix_cli.console import progress, say
    from genomix_cli.model_input import load
    from genomix_data.atomic import refuse_inputs

    Pool.parse(pool)
    refuse_inputs(output, sequences, bed, fasta)
    inputs = sequences_of(sequences, bed, fasta)
    loaded, where = load(model, device, dtype, allow_precision_loss)
    check_layer(loaded.language_model, layer)

    def checked() -> Iterator[tuple[Place, str]]:
        for place, letters in inputs:
            check_length(
                loaded.config, len(letters), f"{place.name} of {len(letters):,} bp", "Cut it into pieces."
            )
            yield place, letters

    n_rows = 0
    with progress("embedding", unit="bp", quiet=quiet) as bar:

        def rows() -> Iterator[EmbeddingRow]:
            nonlocal n_rows
            for found in embed(
                loaded.language_model,
                loaded.tokenizer,
                checked(),
                layer=layer,
                pool=pool,
                strand=strand,
                batch_size=batch_size,
                device=where,
                chunk=chunk,
            ):
                for values, (start, end) in zip(found.rows, found.bounds, strict=True):
                    n_rows += 1
                    yield EmbeddingRow(found.key.name, *found.key.place(start, end), values)
                bar.advance(found.bounds[-1][1])

        about = {"model_sha256": loaded.sha256, "layer": layer or "final", "pool": pool, "strand": strand}
        write_embeddings(output, rows(), about)
    if not quiet:
        say(f"{n_rows:,} rows -> {output}")
