"""``genomix ism``: every change of each base of a region, scored by a language model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from genomix_cli.model_input import DEFAULT_MODEL, ModelOption

if TYPE_CHECKING:
    from genomix.variant_effect.saturation import SaturationSummary


def command(
    fasta: Annotated[Path, typer.Option("-f", "--fasta", "--ref", help="Genome.")],
    model: ModelOption = DEFAULT_MODEL,
    regions: Annotated[
        str | None,
        typer.Option(
            "-r", "--regions", help="chr1:100-200,chr2:5: these bases; 1-based, both ends included."
        ),
    ] = None,
    regions_file: Annotated[
        str | None, typer.Option("-R", "--regions-file", help="The same from a BED file or a table.")
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--output",
            help="Output, may be repeated; .tsv .vcf .vcf.gz .bcf .bedgraph .bw .png .svg .pdf, or - for TSV on "
            "standard output, the default.",
            show_default=False,
        ),
    ] = None,
    deletions: Annotated[
        bool, typer.Option("--deletions", help="Score the deletion of each base as well.")
    ] = False,
    track: Annotated[
        Literal["mean", "min", "max", "deletion"],
        typer.Option(help="What .bedgraph and .bw show of a base's scores."),
    ] = "mean",
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
        typer.Option(help="Score the change and so many bases after it only; default: the whole window."),
    ] = None,
    strand: Annotated[
        Literal["both", "forward"], typer.Option(help="Both averages the window and its reverse complement.")
    ] = "both",
    reduce: Annotated[
        Literal["sum", "mean"], typer.Option(help="Over the scored bases of the window.")
    ] = "sum",
    per_strand: Annotated[
        bool, typer.Option("--per-strand", help="Add GMX_LLR_FWD and GMX_LLR_RC to tables and VCF.")
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(help="Windows in a forward pass; default: by memory.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="Of the matrix products.")
    ] = "float32",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a summary of the run as JSON.")] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress, no summary.")] = False,
) -> None:
    """Saturation mutagenesis: score all three substitutions of every base of a region, as genomix score would.

    Examples:

        [bold]genomix ism -f ref.fa -m MODEL -r chr17:43,124,000-43,124,100 -o brca1.png -o brca1.tsv[/bold]

        [bold]genomix ism -f ref.fa -m MODEL -R exons.bed --deletions -o exons.vcf.gz -o exons.bw[/bold]
    """
    import shlex
    import sys
    import time

    import torch

    from genomix.variant_effect import ScoreOptions
    from genomix.variant_effect.saturation import Saturation, SaturationSummary, n_alleles, regions_on
    from genomix.variant_effect.saturation_files import check_names, open_outputs, output_names, write_all
    from genomix_cli.console import progress
    from genomix_data.atomic import refuse_inputs
    from genomix_data.errors import ConfigError
    from genomix_data.genome import Genome
    from genomix_data.regions import Regions

    if (regions is None) == (regions_file is None):
        raise ConfigError("give the bases to mutate, either as -r chr1:100-200 or as -R regions.bed.")
    paths = output or ["-"]
    check_names(paths)
    for path in paths:
        refuse_inputs(path, fasta, regions_file)
    if threads:
        torch.set_num_threads(threads)
    started = time.monotonic()
    wanted = Regions.parse(regions) if regions is not None else Regions.read(str(regions_file))
    options = ScoreOptions(
        window=window,
        mode=mode,
        stride=stride,
        horizon=horizon,
        strand=strand,
        reduce=reduce,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
    )
    genome = Genome(fasta)
    intervals = regions_on(genome, wanted)
    run = Saturation(genome, model, options, deletions=deletions)
    outputs = open_outputs(
        paths,
        run,
        intervals,
        track=track,
        per_strand=per_strand,
        command=shlex.join(["genomix", *sys.argv[1:]]),
    )
    summary = SaturationSummary(
        regions=len(intervals), window=run.window, model_sha256=run.model.sha256, outputs=output_names(paths)
    )
    with progress("mutating", n_alleles(intervals, deletions=deletions), unit="alleles", quiet=quiet) as bar:
        write_all(outputs, summary.watch(run.run(intervals, bar.advance)))
    summary.windows = run.n_windows
    summary.seconds = time.monotonic() - started
    if report is not None:
        _write_report(report, summary, model, fasta)
    if not quiet:
        _say(summary)


def _write_report(path: Path, summary: "SaturationSummary", model: Path, fasta: Path) -> None:
    import json

    from genomix.provenance import run_record
    from genomix_data.atomic import atomic_file

    record = run_record(model=str(model), fasta=str(fasta), summary=summary.to_dict())
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _say(summary: "SaturationSummary") -> None:
    from genomix_cli.console import say

    rate = summary.scored / max(summary.seconds, 1e-9)
    say(
        f"{summary.bases:,} base{'' if summary.bases == 1 else 's'} in "
        f"{summary.regions:,} region{'' if summary.regions == 1 else 's'}, "
        f"{summary.scored:,} of {summary.alleles:,} changes scored in {summary.seconds:.1f} s ({rate:,.0f}/s, "
        f"{summary.windows:,} windows of {summary.window:,} bp)"
    )
    if summary.skipped_n:
        say(f"skipped: {summary.skipped_n:,} bases that are N or another ambiguity code", style="yellow")
    unscored = [
        f"{status.value} {count:,}" for status, count in sorted(summary.by_status.items()) if status != "OK"
    ]
    if unscored:
        say(f"not scored: {', '.join(unscored)}", style="yellow")
    if summary.outputs:
        say(f"written: {', '.join(summary.outputs)}")
