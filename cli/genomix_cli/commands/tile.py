"""``genomix tile``: a table of the scores of all substitutions, to be looked up by ``genomix score --table``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from genomix_cli.model_input import DEFAULT_MODEL, ModelOption


def command(
    fasta: Annotated[Path, typer.Option("-f", "--fasta", "--ref", help="Genome.")],
    out: Annotated[str, typer.Option("-o", "--output", help="NAME.tsv.gz; its index is written beside it.")],
    model: ModelOption = DEFAULT_MODEL,
    regions: Annotated[
        str | None,
        typer.Option("-r", "--regions", help="chr1:100-200,chr2: only these; default: the whole genome."),
    ] = None,
    regions_file: Annotated[
        str | None, typer.Option("-R", "--regions-file", help="The same from a BED file or a table.")
    ] = None,
    scores: Annotated[
        str, typer.Option(help="Any of llr, ref_ll, alt_ll, abs, entropy, cos, l2, z, rank, by commas.")
    ] = "llr",
    layer: Annotated[
        str | None, typer.Option(help="Of cos and l2: name of a module; default: after the last norm.")
    ] = None,
    background: Annotated[
        int, typer.Option(help="Of z and rank: random variants of each class; scored once, and kept.")
    ] = 100,
    window: Annotated[
        int | None,
        typer.Option(help="Window in bp, the base in the middle; default: 1024 or the model's context."),
    ] = None,
    mode: Annotated[
        Literal["exact", "tiled"],
        typer.Option(help="Exact: each base in the middle of its windows. Tiled: bases share REF windows."),
    ] = "exact",
    stride: Annotated[
        int | None,
        typer.Option(help="With --mode tiled: bp from one REF window to the next; default: half the window."),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(help="Score the base and so many bases after it only; default: the whole window."),
    ] = None,
    strand: Annotated[
        Literal["both", "forward"], typer.Option(help="Both averages the window and its reverse complement.")
    ] = "both",
    reduce: Annotated[
        Literal["sum", "mean"], typer.Option(help="Over the scored bases of the window.")
    ] = "sum",
    per_strand: Annotated[bool, typer.Option("--per-strand", help="Add GMX_LLR_FWD and GMX_LLR_RC.")] = False,
    batch_size: Annotated[
        int | None, typer.Option(help="Windows in a forward pass; default: by memory.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only part I of N of the bases; see genomix merge.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Keep what is done in OUT.resume, and go on from there after a crash or kill."
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="Of the matrix products.")
    ] = "float32",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress, no summary.")] = False,
) -> None:
    """Score all substitutions of a genome or of regions once, and look them up ever after.

    genomix score --table NAME.tsv.gz takes scores from it, if it was made with the same model, genome and options.

    Example: [bold]genomix tile -f ref.fa -m MODEL -R exons.bed -o exons.tsv.gz[/bold]
    """
    import shlex
    import sys

    import torch

    from genomix.variant_effect import ScoreOptions, Shard
    from genomix.variant_effect.tile import tile_genome
    from genomix_cli.console import progress, say
    from genomix_cli.memory import settled_memory
    from genomix_data.atomic import refuse_inputs
    from genomix_data.errors import ConfigError
    from genomix_data.regions import Regions

    refuse_inputs(out, fasta, regions_file)
    if regions is not None and regions_file is not None:
        raise ConfigError("-r and -R were both given; use one of the two.")
    if threads:
        torch.set_num_threads(threads)
    options = ScoreOptions(
        window=window,
        mode=mode,
        stride=stride,
        horizon=horizon,
        exact_sample=0,
        strand=strand,
        reduce=reduce,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        scores=tuple(dict.fromkeys(name.strip() for name in scores.split(",") if name.strip())),
        layer=layer,
        background=background,
    )
    wanted = None if regions is None else Regions.parse(regions)
    with settled_memory(), progress("scoring", unit="alleles", quiet=quiet) as bar:
        summary = tile_genome(
            fasta,
            model,
            out,
            options,
            regions=Regions.read(regions_file) if regions_file is not None else wanted,
            per_strand=per_strand,
            command=shlex.join(["genomix", *sys.argv[1:]]),
            shard=None if shard is None else Shard.parse(shard),
            resume=resume,
            progress=bar.advance,
        )
    if not quiet:
        say(
            f"{summary.records:,} bases, {summary.scored:,} substitutions in {summary.seconds:.1f} s "
            f"({summary.alleles_per_second:,.0f}/s) -> {out}"
        )
