"""``genomix score``: the effect of each variant of a VCF on the likelihood of its window."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from genomix_cli.model_input import DEFAULT_MODEL, ModelOption
from genomix_cli.processes_input import ProcessesOption, new_processes, refuse_other_ways
from genomix_cli.ray_input import (
    EngineOption,
    RayAddressOption,
    RayGpusOption,
    RayWorkersOption,
    ray_options,
)
from genomix_cli.regions_input import regions_of

if TYPE_CHECKING:
    from genomix.variant_effect.processes import ScoringProcesses

EXIT_UNSCORED = 4
_SCORES, _RECORDS = "What is scored", "Which records, and how they are read"
_SCALE, _RUN = "Many variants", "How it runs"


def command(
    vcf: Annotated[
        str, typer.Argument(metavar="IN.vcf[.gz]", help="VCF, VCF.gz or BCF; - is standard input.")
    ],
    fasta: Annotated[
        Path, typer.Option("-f", "--fasta", "--ref", help="Genome that the variants were called on.")
    ],
    model: ModelOption = DEFAULT_MODEL,
    out: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="Output; .vcf .vcf.gz .bcf .tsv .tsv.gz .parquet, or - for standard output.",
        ),
    ] = "-",
    output_type: Annotated[
        Literal["v", "z", "b", "u", "t", "p"] | None,
        typer.Option(
            "-O",
            "--output-type",
            help="VCF, VCF.gz, BCF, uncompressed BCF, TSV or Parquet; default: by the suffix.",
        ),
    ] = None,
    write_index: Annotated[
        bool, typer.Option("-W", "--write-index", help="Index the output, which must be sorted.")
    ] = False,
    index_format: Annotated[Literal["csi", "tbi"], typer.Option(help="Kind of index.")] = "csi",
    protocol: Annotated[
        Literal["evo2"] | None,
        typer.Option(
            help="A published way of scoring. evo2: windows of 8192, mean, forward strand, no token in front.",
            rich_help_panel=_SCORES,
        ),
    ] = None,
    scores: Annotated[
        str,
        typer.Option(
            help="Any of llr, ref_ll, alt_ll, abs, entropy, cos, l2, z, rank, parted by commas: one INFO key each.",
            rich_help_panel=_SCORES,
        ),
    ] = "llr",
    layer: Annotated[
        str | None,
        typer.Option(
            help="Of cos and l2: name of a module; default: after the last norm.", rich_help_panel=_SCORES
        ),
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option(
            help="Fine-tuned model: add GMX_HEAD, its output for ALT less that for REF.",
            rich_help_panel=_SCORES,
        ),
    ] = None,
    head_class: Annotated[
        str | None,
        typer.Option(
            help="Class, label or target of --head; default: the second of two classes.",
            rich_help_panel=_SCORES,
        ),
    ] = None,
    background: Annotated[
        int,
        typer.Option(
            help="Of z and rank: random variants of each class; scored once, and kept.",
            rich_help_panel=_SCORES,
        ),
    ] = 100,
    window: Annotated[
        int | None,
        typer.Option(
            help="Window in bp, variant in the middle; default: 1024 or the model's context.",
            rich_help_panel=_SCORES,
        ),
    ] = None,
    mode: Annotated[
        Literal["exact", "tiled"],
        typer.Option(
            help="Exact: each variant in the middle of its windows. Tiled: variants share REF windows.",
            rich_help_panel=_SCORES,
        ),
    ] = "exact",
    stride: Annotated[
        int | None,
        typer.Option(
            help="With --mode tiled: bp from one REF window to the next; default: half the window.",
            rich_help_panel=_SCORES,
        ),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(
            help="Score the variant and so many bases after it only; default: the whole window.",
            rich_help_panel=_SCORES,
        ),
    ] = None,
    exact_sample: Annotated[
        int,
        typer.Option(
            help="With --horizon or --mode tiled: alleles whose exact scores the summary compares with; 0: none.",
            rich_help_panel=_SCORES,
        ),
    ] = 64,
    strand: Annotated[
        Literal["both", "forward"] | None,
        typer.Option(
            help="Both (default) averages the window and its reverse complement.", rich_help_panel=_SCORES
        ),
    ] = None,
    reduce: Annotated[
        Literal["sum", "mean"] | None,
        typer.Option(help="Over the scored bases of the window; default: sum.", rich_help_panel=_SCORES),
    ] = None,
    per_strand: Annotated[
        bool, typer.Option("--per-strand", help="Add GMX_LLR_FWD and GMX_LLR_RC.", rich_help_panel=_SCORES)
    ] = False,
    check_ref: Annotated[
        Literal["w", "e", "x"],
        typer.Option(
            help="Where REF is not the FASTA's: w leave unscored, e stop, x drop the record.",
            rich_help_panel=_RECORDS,
        ),
    ] = "w",
    max_ref_mismatch: Annotated[
        float,
        typer.Option(
            help="Stop if a larger part of the first 1,000 records mismatches; 1 never stops.",
            rich_help_panel=_RECORDS,
        ),
    ] = 0.2,
    ignore_contig_lengths: Annotated[
        bool,
        typer.Option(
            "--ignore-contig-lengths",
            help="Do not compare contig lengths of VCF header and FASTA.",
            rich_help_panel=_RECORDS,
        ),
    ] = False,
    normalize: Annotated[
        bool,
        typer.Option(
            "--normalize",
            help="Score each allele trimmed and left-aligned; records stay as they are.",
            rich_help_panel=_RECORDS,
        ),
    ] = False,
    regions: Annotated[
        str | None,
        typer.Option(
            "-r", "--regions", help="chr1:100-200,chr2: only these; needs an index.", rich_help_panel=_RECORDS
        ),
    ] = None,
    regions_file: Annotated[
        str | None,
        typer.Option(
            "-R", "--regions-file", help="The same from a BED file or a table.", rich_help_panel=_RECORDS
        ),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            "-t",
            "--targets",
            help="Only records with POS in these; ^ in front: all others.",
            rich_help_panel=_RECORDS,
        ),
    ] = None,
    targets_file: Annotated[
        str | None,
        typer.Option(
            "-T", "--targets-file", help="The same from a BED file or a table.", rich_help_panel=_RECORDS
        ),
    ] = None,
    sv: Annotated[
        bool,
        typer.Option(
            "--sv",
            help="Score <DEL> <DUP> <INV> <INS> whose length or letters INFO states.",
            rich_help_panel=_RECORDS,
        ),
    ] = False,
    haplotypes: Annotated[
        bool,
        typer.Option(
            "--haplotypes",
            help="Score what a sample carries beside its phased neighbours.",
            rich_help_panel=_RECORDS,
        ),
    ] = False,
    sample: Annotated[
        str | None,
        typer.Option(
            "-s", "--sample", help="Of --haplotypes; default: the only one.", rich_help_panel=_RECORDS
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="Take scores from a table of genomix tile where it has them.", rich_help_panel=_SCALE
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep scores here, and take from here those of the same bases, model and settings.",
            rich_help_panel=_SCALE,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Only part I of N of the records; see genomix merge.", rich_help_panel=_SCALE
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Keep what is done in OUT.resume, and go on from there after a crash or kill.",
            rich_help_panel=_SCALE,
        ),
    ] = False,
    processes: ProcessesOption = 1,
    engine: EngineOption = "local",
    ray_workers: RayWorkersOption = None,
    ray_gpus: RayGpusOption = None,
    ray_address: RayAddressOption = None,
    contig_map: Annotated[
        Path | None,
        typer.Option(
            help="Two columns of contig names that mean the same; chr and M/MT need none.",
            rich_help_panel=_RECORDS,
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Windows in a forward pass; default: by memory.", rich_help_panel=_RUN)
    ] = None,
    share: Annotated[
        Literal["auto", "always", "never"],
        typer.Option(
            help="Whether ALT goes on from REF in exact mode; auto: on a CPU, and with large models.",
            rich_help_panel=_RUN,
        ),
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_RUN)] = "auto",
    dtype: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="Of the matrix products.", rich_help_panel=_RUN)
    ] = "float32",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="CPU threads; default: all cores. With --processes or --engine ray: of each.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 4 if any allele is left unscored.", rich_help_panel=_RUN),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write a summary of the run as JSON.", rich_help_panel=_RUN)
    ] = None,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="No progress, no summary.", rich_help_panel=_RUN)
    ] = False,
) -> None:
    """Score each variant of a VCF: log P(ALT window) - log P(REF window), in nats; negative = ALT less likely.

    Every record comes back, in order, with INFO/GMX_LLR and INFO/GMX_STATUS for each ALT allele. --scores adds more.

    Example: [bold]genomix score in.vcf.gz -f ref.fa -m MODEL -o out.vcf.gz -W[/bold]
    """
    import torch

    from genomix.variant_effect import OutputOptions, ScoreOptions, ScoreSummary, Shard, score_vcf
    from genomix.variant_effect.on_processes import score_on_processes
    from genomix.variant_effect.on_ray import score_on_ray
    from genomix_cli.console import progress
    from genomix_cli.memory import settled_memory
    from genomix_cli.score_summary import say_summary, write_report
    from genomix_data.atomic import refuse_inputs

    if threads:
        torch.set_num_threads(threads)
    wanted = [name.strip() for name in scores.split(",") if name.strip()]
    chosen = {"window": window, "mode": mode, "strand": strand, "reduce": reduce}
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    make = ScoreOptions if protocol is None else partial(ScoreOptions.of_protocol, protocol)
    options = make(
        **given,
        stride=stride,
        horizon=horizon,
        exact_sample=exact_sample,
        check_ref=check_ref,
        max_ref_mismatch=max_ref_mismatch,
        ignore_contig_lengths=ignore_contig_lengths,
        normalize=normalize,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        scores=tuple(dict.fromkeys([*wanted, *(["head"] if head else [])])),
        layer=layer,
        head=None if head is None else str(head),
        head_class=head_class,
        background=background,
        shares={"auto": None, "always": True, "never": False}[share],
        sv=sv,
        haplotypes=haplotypes,
        sample=sample,
    )
    output = OutputOptions(
        output_type=output_type,
        write_index=write_index,
        index_format=index_format,
        per_strand=per_strand,
        command=_command_line(),
    )
    for path in (out, report):
        if path is not None and str(path) != "-":
            refuse_inputs(path, vcf, fasta, table, contig_map, regions_file, targets_file)
    cluster = ray_options(engine, ray_address, ray_workers, ray_gpus, threads, shard, quiet)
    refuse_other_ways(processes, engine, shard)
    with ExitStack() as stack:
        stack.enter_context(settled_memory())
        bar = stack.enter_context(progress("scoring", unit="alleles", quiet=quiet))

        def on_shard(part: ScoreSummary, n_done: int, n_shards: int) -> None:
            bar.advance(part.alleles, shards=f"{n_done}/{n_shards}")

        score: Callable[..., ScoreSummary]
        scorer: Path | ScoringProcesses = model
        if cluster is not None:
            score = partial(score_on_ray, cluster=cluster, on_shard=on_shard)
        elif processes > 1:
            scorer = stack.enter_context(new_processes(model, processes, device, threads))
            score = partial(score_on_processes, progress=bar.advance)
        else:
            part = None if shard is None else Shard.parse(shard)
            score = partial(score_vcf, shard=part, progress=bar.advance)
        summary = score(
            vcf,
            fasta,
            scorer,
            out,
            options,
            output=output,
            contig_map=contig_map,
            regions=regions_of(regions, regions_file, "-r", "-R"),
            targets=regions_of(targets, targets_file, "-t", "-T"),
            table=table,
            cache=cache,
            resume=resume,
        )
    if report is not None:
        write_report(report, summary, model, fasta)
    if not quiet:
        say_summary(summary)
    if strict and summary.unscored:
        raise typer.Exit(EXIT_UNSCORED)


def _command_line() -> str:
    import shlex
    import sys

    return shlex.join(["genomix", *sys.argv[1:]])
