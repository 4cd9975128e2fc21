"""``genomix score``: the effect of each variant of a VCF on the likelihood of its window."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from genomix.variant_effect import ScoreSummary
    from genomix.variant_effect.comparison import ExactComparison
    from genomix_data.regions import Regions

EXIT_UNSCORED = 4


def command(
    vcf: Annotated[
        str, typer.Argument(metavar="IN.vcf[.gz]", help="VCF, VCF.gz or BCF; - is standard input.")
    ],
    fasta: Annotated[
        Path, typer.Option("-f", "--fasta", "--ref", help="Genome that the variants were called on.")
    ],
    model: Annotated[Path, typer.Option("-m", "--model", help="Folder of a pretrained language model.")],
    out: Annotated[
        str,
        typer.Option(
            "-o", "--output", help="Output; .vcf .vcf.gz .bcf .tsv .tsv.gz, or - for standard output."
        ),
    ] = "-",
    output_type: Annotated[
        Literal["v", "z", "b", "u", "t"] | None,
        typer.Option(
            "-O", "--output-type", help="VCF, VCF.gz, BCF, uncompressed BCF or TSV; default: by the suffix."
        ),
    ] = None,
    write_index: Annotated[
        bool, typer.Option("-W", "--write-index", help="Index the output, which must be sorted.")
    ] = False,
    index_format: Annotated[Literal["csi", "tbi"], typer.Option(help="Kind of index.")] = "csi",
    window: Annotated[
        int | None,
        typer.Option(help="Window in bp, variant in the middle; default: 1024 or the model's context."),
    ] = None,
    mode: Annotated[
        Literal["exact", "tiled"],
        typer.Option(
            help="Exact: each variant in the middle of its windows. Tiled: variants share REF windows."
        ),
    ] = "exact",
    stride: Annotated[
        int | None,
        typer.Option(help="With --mode tiled: bp from one REF window to the next; default: half the window."),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(help="Score the variant and so many bases after it only; default: the whole window."),
    ] = None,
    exact_sample: Annotated[
        int,
        typer.Option(
            help="With --horizon or --mode tiled: alleles whose exact scores the summary compares with; 0: none."
        ),
    ] = 64,
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
    check_ref: Annotated[
        Literal["w", "e", "x"],
        typer.Option(help="Where REF is not the FASTA's: w leave unscored, e stop, x drop the record."),
    ] = "w",
    max_ref_mismatch: Annotated[
        float,
        typer.Option(help="Stop if a larger part of the first 1,000 records mismatches; 1 never stops."),
    ] = 0.2,
    ignore_contig_lengths: Annotated[
        bool,
        typer.Option(
            "--ignore-contig-lengths", help="Do not compare contig lengths of VCF header and FASTA."
        ),
    ] = False,
    normalize: Annotated[
        bool,
        typer.Option(
            "--normalize", help="Score each allele trimmed and left-aligned; records stay as they are."
        ),
    ] = False,
    regions: Annotated[
        str | None, typer.Option("-r", "--regions", help="chr1:100-200,chr2: only these; needs an index.")
    ] = None,
    regions_file: Annotated[
        str | None, typer.Option("-R", "--regions-file", help="The same from a BED file or a table.")
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option("-t", "--targets", help="Only records with POS in these; ^ in front: all others."),
    ] = None,
    targets_file: Annotated[
        str | None, typer.Option("-T", "--targets-file", help="The same from a BED file or a table.")
    ] = None,
    contig_map: Annotated[
        Path | None,
        typer.Option(help="Two columns of contig names that mean the same; chr and M/MT need none."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="Of the matrix products.")
    ] = "float32",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 4 if any allele is left unscored.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Write a summary of the run as JSON.")] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress, no summary.")] = False,
) -> None:
    """Score each variant of a VCF: log P(ALT window) - log P(REF window), in nats; negative = ALT less likely.

    Every record comes back, in order, with INFO/GMX_LLR and INFO/GMX_STATUS for each ALT allele.

    Example: [bold]genomix score in.vcf.gz -f ref.fa -m MODEL -o out.vcf.gz -W[/bold]
    """
    import torch

    from genomix.variant_effect import OutputOptions, ScoreOptions, score_vcf
    from genomix_cli.console import progress

    if threads:
        torch.set_num_threads(threads)
    options = ScoreOptions(
        window=window,
        mode=mode,
        stride=stride,
        horizon=horizon,
        exact_sample=exact_sample,
        strand=strand,
        reduce=reduce,
        check_ref=check_ref,
        max_ref_mismatch=max_ref_mismatch,
        ignore_contig_lengths=ignore_contig_lengths,
        normalize=normalize,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
    )
    output = OutputOptions(
        output_type=output_type,
        write_index=write_index,
        index_format=index_format,
        per_strand=per_strand,
        command=_command_line(),
    )
    with progress("scoring", unit="alleles", quiet=quiet) as bar:
        summary = score_vcf(
            vcf,
            fasta,
            model,
            out,
            options,
            output=output,
            contig_map=contig_map,
            regions=_regions(regions, regions_file, "-r", "-R"),
            targets=_regions(targets, targets_file, "-t", "-T"),
            progress=bar.advance,
        )
    if report is not None:
        _write_report(report, summary, model, fasta)
    if not quiet:
        _say_summary(summary)
    if strict and summary.unscored:
        raise typer.Exit(EXIT_UNSCORED)


def _told(faults: dict[str, int], limit: int = 3) -> str:
    shown = [f"{fault} ({count:,})" for fault, count in list(faults.items())[:limit]]
    return "; ".join(shown) + (
        f"; and {len(faults) - limit} more, see --report" if len(faults) > limit else ""
    )


def _told_comparison(found: "ExactComparison") -> str:
    if found.pearson is None or found.spearman is None or found.largest_difference is None:
        return f"{found.alleles:,} alleles were scored in exact mode too: too few, or too much alike, to correlate"
    return (
        f"beside exact mode, {found.alleles:,} of these alleles: Pearson {found.pearson:.4f}, Spearman "
        f"{found.spearman:.4f}, largest difference of GMX_LLR {found.largest_difference:.3g}"
    )


def _regions(text: str | None, path: str | None, *options: str) -> "Regions | None":
    from genomix_data.errors import ConfigError
    from genomix_data.regions import Regions

    if text is not None and path is not None:
        raise ConfigError(f"{options[0]} and {options[1]} were both given; use one of the two.")
    if text is not None:
        return Regions.parse(text)
    return None if path is None else Regions.read(path)


def _command_line() -> str:
    import shlex
    import sys

    return shlex.join(["genomix", *sys.argv[1:]])


def _write_report(path: Path, summary: "ScoreSummary", model: Path, fasta: Path) -> None:
    import json

    from genomix.provenance import run_record
    from genomix_data.atomic import atomic_file

    record = run_record(model=str(model), fasta=str(fasta), summary=summary.to_dict())
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _say_summary(summary: "ScoreSummary") -> None:
    from genomix_cli.console import say

    say(
        f"{summary.records:,} records, {summary.scored:,} of {summary.alleles:,} alleles scored in "
        f"{summary.seconds:.1f} s ({summary.alleles_per_second:,.0f} alleles/s, {summary.windows:,} windows of "
        f"{summary.window:,} bp)"
    )
    if summary.against_exact is not None:
        say(_told_comparison(summary.against_exact))
    unscored = [
        f"{status.value} {count:,}"
        for status, count in sorted(summary.by_status.items())
        if status.value != "OK"
    ]
    if summary.no_alt:
        unscored.append(f"no ALT {summary.no_alt:,}")
    if unscored:
        say(f"not scored: {', '.join(unscored)}", style="yellow")
    if summary.normalized:
        say(f"scored in another spelling (--normalize): {summary.normalized:,} alleles")
    if summary.faults:
        say(f"the VCF breaks its specification (carried as it came): {_told(summary.faults)}", style="yellow")
    if summary.dropped:
        say(f"dropped for a REF mismatch: {summary.dropped:,} records", style="yellow")
    if summary.output:
        say(f"written: {summary.output}")
