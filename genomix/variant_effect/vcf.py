"""VCF in, VCF out: each record comes back in order with the scores of its ALT alleles."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from genomix.checkpoint.native import LoadedModel
from genomix.variant_effect.assembly import CHECKED_FIRST, Assembly
from genomix.variant_effect.comparison import ScoreSample
from genomix.variant_effect.contract import ScoreOptions, ScoreSummary, Status, VariantScore
from genomix.variant_effect.output import OutputOptions, ScoreWriter
from genomix.variant_effect.provenance import info_lines, run_lines
from genomix.variant_effect.score import Progress, Scorer, language_model
from genomix.variant_effect.site import Site
from genomix_data.errors import ConfigError
from genomix_data.genome import Genome
from genomix_data.vcf import VcfRecord, open_vcf
from genomix_data.vcf.bcf import BcfRecord
from genomix_data.vcf.conformance import ConformanceChecker
from genomix_data.vcf.opening import RegionsLike
from genomix_data.vcf.sink import is_stdout


def score_vcf(
    vcf: str | os.PathLike[str],
    fasta: str | os.PathLike[str] | Genome,
    model: LoadedModel | str | os.PathLike[str],
    out: str | os.PathLike[str] | None,
    options: ScoreOptions | None = None,
    *,
    output: OutputOptions | None = None,
    contig_map: Mapping[str, str] | str | os.PathLike[str] | None = None,
    regions: RegionsLike | None = None,
    targets: RegionsLike | None = None,
    progress: Progress | None = None,
) -> ScoreSummary:
    """Score every ALT allele of a VCF, write all records, and return what was done.

    Args:
        vcf: VCF, VCF.gz or BCF; ``-`` is standard input.
        fasta: The genome that the variants were called on, or its path.
        model: A loaded language model, or its folder.
        out: Where to; ``-`` or None is standard output. The file appears under its name when it is whole.
        options: How variants are scored.
        output: What is written.
        contig_map: Other names of contigs, for a ``fasta`` given as a path.
        regions: Only records that overlap these, through the index of the VCF; see `genomix_data.vcf.open_vcf`.
        targets: Only records whose POS is inside these.
        progress: Called with the number of alleles done since the last call.

    Raises:
        InputFileError: if a file is missing, damaged or not what it should be.
        ReferenceMismatchError: if VCF and FASTA do not belong together.
        SequenceTooLongError: if the window is longer than the model's context.
        CheckpointError: if the model is a classifier, or no checkpoint.
    """
    started = time.monotonic()
    how = options or ScoreOptions()
    what = output or OutputOptions()
    if what.per_strand and how.strand != "both":
        raise ConfigError("per-strand scores need both strands; leave out --strand forward, or --per-strand.")
    kind = what.type_for(out)
    if str(vcf) != "-" and not is_stdout(out) and out is not None and Path(out).exists():
        _refuse_same_file(Path(vcf), Path(out))
    with open_vcf(vcf, keep_bcf=kind in ("b", "u"), regions=regions, targets=targets) as reader:
        genome = fasta if isinstance(fasta, Genome) else Genome(fasta, contig_map=contig_map)
        assembly = Assembly(
            genome,
            reader.contigs,
            check_ref=how.check_ref,
            max_ref_mismatch=how.max_ref_mismatch,
            ignore_contig_lengths=how.ignore_contig_lengths,
        )
        loaded = language_model(model)
        scorer = Scorer(genome, loaded, assembly, how)
        summary = ScoreSummary(
            window=scorer.window,
            mode=how.mode,
            stride=how.stride_for(scorer.window),
            horizon=how.horizon,
            model_sha256=loaded.sha256,
            output=None if is_stdout(out) else str(out),
        )
        writer = ScoreWriter(
            out,
            what,
            reader,
            assembly,
            genome,
            run_lines(loaded, genome, how, scorer.window, what.command),
            info_lines(how, what.per_strand),
        )
        sample = ScoreSample(how.exact_sample if how.is_approximate else 0)
        with writer as sink:
            checker = ConformanceChecker(reader.header, reader.name)
            records = checker.watch(reader, CHECKED_FIRST)
            for record, scores in scorer.score(records, _site_of_record, progress):
                sample.add(_site_of_record(record), scores)
                if _count(summary, scores, how):
                    sink.write(record, scores)
        summary.windows = scorer.n_windows
        summary.normalized = scorer.n_normalized
        summary.faults = dict(checker.found.faults)
        if how.is_approximate and how.exact_sample:
            exactly = replace(how, mode="exact", stride=None, horizon=None)

            def exact_scores(sites: Iterable[Site]) -> Iterator[list[VariantScore]]:
                for _, scores in Scorer(genome, loaded, assembly, exactly).score(sites, lambda site: site):
                    yield scores

            summary.against_exact = sample.compare(exact_scores)
    summary.seconds = time.monotonic() - started
    return summary


def _refuse_same_file(vcf: Path, out: Path) -> None:
    if vcf.exists() and vcf.samefile(out):
        raise ConfigError(f"the output {str(out)!r} is the input itself; choose another name.")


def _site_of_record(record: VcfRecord | BcfRecord) -> Site:
    return Site(record.chrom, record.pos, record.ref, record.alts, record.where, record.n_bytes)


def _count(summary: ScoreSummary, scores: list[VariantScore], options: ScoreOptions) -> bool:
    """Add a record to the summary; return whether it is to be written."""
    summary.records += 1
    summary.no_alt += not scores
    for score in scores:
        summary.by_status[score.status] = summary.by_status.get(score.status, 0) + 1
    if options.check_ref == "x" and any(score.status is Status.REF_MISMATCH for score in scores):
        summary.dropped += 1
        return False
    return True
