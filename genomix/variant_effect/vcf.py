"""VCF in, VCF out: each record comes back in order with the scores of its ALT alleles."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from typing import cast

from genomix.checkpoint.native import LoadedModel
from genomix.variant_effect.assembly import CHECKED_FIRST, Assembly
from genomix.variant_effect.census import Record, kept_of, site_of
from genomix.variant_effect.columns import columns_of
from genomix.variant_effect.comparison import ScoreSample
from genomix.variant_effect.contract import ScoreOptions, ScoreSummary, Status, VariantScore
from genomix.variant_effect.haplotype_sites import HAPLOTYPE_RULE, SiteHaplotypes, with_neighbours
from genomix.variant_effect.output import OutputOptions, ScoreWriter
from genomix.variant_effect.provenance import run_lines
from genomix.variant_effect.resume import add_counts, open_journal, restore, state_of
from genomix.variant_effect.score import Progress, Scorer, language_model, open_cache, window_of
from genomix.variant_effect.shards import Shard, ShardRange, range_of
from genomix.variant_effect.site import Site
from genomix.variant_effect.table_lookup import ScoreTable
from genomix_data.atomic import refuse_inputs
from genomix_data.errors import ConfigError, preview
from genomix_data.genome import Genome
from genomix_data.vcf import VcfReader, VcfRecord, open_vcf
from genomix_data.vcf.conformance import ConformanceChecker
from genomix_data.vcf.opening import RegionsLike
from genomix_data.vcf.sink import is_stdout


@dataclass(frozen=True, slots=True)
class _Entry:
    """A record, and the records near it where they matter."""

    record: Record
    neighbours: tuple[VcfRecord, ...] = ()


def score_vcf(
    vcf: str | os.PathLike[str] | Callable[[], VcfReader],
    fasta: str | os.PathLike[str] | Genome,
    model: LoadedModel | str | os.PathLike[str],
    out: str | os.PathLike[str] | None,
    options: ScoreOptions | None = None,
    *,
    output: OutputOptions | None = None,
    contig_map: Mapping[str, str] | str | os.PathLike[str] | None = None,
    regions: RegionsLike | None = None,
    targets: RegionsLike | None = None,
    table: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    shard: Shard | ShardRange | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> ScoreSummary:
    """Score every ALT allele of a VCF, write all records, and return what was done.

    Args:
        vcf: VCF, VCF.gz or BCF; ``-`` is standard input. Or what opens a reader of the records, at each call anew.
        fasta: The genome that the variants were called on, or its path.
        model: A loaded language model, or its folder.
        out: Where to; ``-`` or None is standard output. The file appears under its name when it is whole.
        options: How variants are scored.
        output: What is written.
        contig_map: Other names of contigs, for a ``fasta`` given as a path.
        regions: Only records that overlap these, through the index of the VCF; see `genomix_data.vcf.open_vcf`.
        targets: Only records whose POS is inside these.
        table: Scores that `genomix tile` computed, taken where the table has the allele.
        cache: Folder of scores that were computed before, taken where the model, the settings and the bases of the
            windows are the same; what is computed is added.
        shard: Only this part of the records; `genomix.variant_effect.merge` puts the parts together. A range, of a
            caller that has looked through the file, spares counting them and asking whether any contig is known.
        resume: Keep what is done in a folder ``OUT.resume``, and go on from it where it is there.
        progress: Called with the number of alleles done since the last call.

    Raises:
        InputFileError: if a file is missing, damaged or not what it should be.
        ReferenceMismatchError: if VCF and FASTA do not belong together.
        SequenceTooLongError: if the window is longer than the model's context.
        CheckpointError: if the model is a classifier, or no checkpoint.
        ConfigError: if options contradict each other.
    """
    started = time.monotonic()
    how = options or ScoreOptions()
    what = output or OutputOptions()
    columns = columns_of(how, per_strand=what.per_strand)
    kind = what.type_for(out)
    if not is_stdout(out) and out is not None:
        refuse_inputs(out, *paths_among(vcf, fasta, table, contig_map))
    if isinstance(shard, Shard) and not callable(vcf) and str(vcf) == "-":
        raise ConfigError("standard input cannot be read twice, which a shard needs; give a file.")

    def open_reader() -> VcfReader:
        if callable(vcf):
            return vcf()
        keep_bcf = kind in ("b", "u") and not how.haplotypes and not how.sv
        return open_vcf(vcf, keep_bcf=keep_bcf, regions=regions, targets=targets)

    part = range_of(shard, open_reader) if isinstance(shard, Shard) else shard or ShardRange()
    with ExitStack() as stack:
        reader = stack.enter_context(open_reader())
        genome = fasta if isinstance(fasta, Genome) else Genome(fasta, contig_map=contig_map)
        assembly = Assembly(
            genome,
            reader.contigs,
            check_ref=how.check_ref,
            max_ref_mismatch=how.max_ref_mismatch,
            ignore_contig_lengths=how.ignore_contig_lengths,
            is_part=isinstance(shard, ShardRange),
        )
        loaded = language_model(model)
        window = window_of(loaded, how.window)
        more = _lines_of_sample(how, reader)
        if part.line is not None:
            line = part.line
            if how.check_ref == "x":
                with open_reader() as ahead:
                    records = islice(ahead, part.first, part.stop)
                    written, rows = kept_of(records, genome, assembly, how, window)
                line = replace(line, written=written, rows=rows)
            more.append(str(line))
        lines = run_lines(loaded, genome, how, window, what.command, more)
        known = None if table is None else stack.enter_context(ScoreTable(table, lines, columns))
        kept = None if cache is None else stack.enter_context(open_cache(cache, loaded))
        scorer = Scorer(genome, loaded, assembly, how, table=known, cache=kept)
        summary = ScoreSummary(
            window=window,
            mode=how.mode,
            stride=how.stride_for(window),
            horizon=how.horizon,
            model_sha256=loaded.sha256,
            output=None if is_stdout(out) else str(out),
        )
        sample = ScoreSample(how.exact_sample if how.is_approximate else 0)
        journal = None
        first = part.first
        if resume:
            source = None if callable(vcf) else vcf
            selected = (regions, targets, table, contig_map)
            journal = open_journal(source, reader.name, out, kind, lines, columns, selected, how)
            stack.callback(journal.close)
            first = restore(journal, summary, sample, part.first)

        def contig_length(name: str) -> int | None:
            resolved = assembly.resolve(name)
            return None if resolved is None else genome.contigs[resolved]

        checker = ConformanceChecker(reader.header, reader.name)
        entries = _entries(checker.watch(reader, CHECKED_FIRST), how, window)
        site_of_entry = _site_maker(how, genome, assembly, reader, window)
        with ScoreWriter(out, what, reader, contig_length, lines, columns, journal) as sink:
            number = first
            stream = islice(entries, first, part.stop)
            for block in scorer.score_blocks(stream, site_of_entry, progress, first=first):
                number += len(block.records)
                for entry, scores in block.records:
                    if how.is_approximate:
                        sample.add(_plain_site(entry), scores)
                    if _count(summary, scores, how):
                        sink.write(entry.record, scores)
                summary.windows += block.n_windows
                add_counts(summary, block.counts)
                if journal is not None:
                    seconds = time.monotonic() - started
                    journal.commit(state_of(summary, sample, number, seconds))
        summary.faults = dict(checker.found.faults)
        if how.is_approximate and how.exact_sample:
            exactly = replace(
                how,
                mode="exact",
                stride=None,
                horizon=None,
                scores=("llr",),
                head=None,
                head_class=None,
                layer=None,
            )

            def exact_scores(sites: Iterable[Site]) -> Iterator[list[VariantScore]]:
                exact_scorer = Scorer(genome, loaded, assembly, exactly, cache=kept)
                for _, scores in exact_scorer.score(sites, lambda site: site):
                    yield scores

            summary.against_exact = sample.compare(exact_scores)
    summary.seconds += time.monotonic() - started
    return summary


def paths_among(*inputs: object) -> list[str | os.PathLike[str]]:
    """Return those of the inputs that are files by name: neither open ones, nor standard input, nor none."""
    return [each for each in inputs if isinstance(each, str | os.PathLike) and str(each) != "-"]


def _entries(records: Iterable[Record], options: ScoreOptions, window: int) -> Iterator[_Entry]:
    if not options.haplotypes:
        return map(_Entry, records)
    near = with_neighbours(cast(Iterable[VcfRecord], records), _reach(window))
    return (_Entry(record, neighbours) for record, neighbours in near)


def _reach(window: int) -> int:
    """Return how far records may lie from a variant and still be in its windows, in bp: deletions draw bases in."""
    return 2 * window


def _site_maker(
    options: ScoreOptions, genome: Genome, assembly: Assembly, reader: VcfReader, window: int
) -> Callable[[_Entry], Site]:
    """Return what says of a record what scoring needs."""
    if not options.haplotypes and not options.sv:
        return _plain_site
    sample = _sample_of(options, reader) if options.haplotypes else 0

    def site_of_entry(entry: _Entry) -> Site:
        record = entry.record
        site = _plain_site(entry)
        assert isinstance(record, VcfRecord), "opened as text"
        if options.sv and any(alt.startswith("<") for alt in record.alts):
            site = replace(site, info=record.info)
        contig = assembly.resolve(record.chrom)
        if options.haplotypes and contig is not None:
            near = SiteHaplotypes(record, entry.neighbours, genome, contig, sample, _reach(window))
            site = replace(site, haplotypes=near)
        return site

    return site_of_entry


def _sample_of(options: ScoreOptions, reader: VcfReader) -> int:
    """Return the number of the sample whose haplotypes are wanted."""
    names = reader.samples
    name = options.sample or (names[0] if len(names) == 1 else None)
    if name is None or name not in names:
        asked = "no sample was named" if name is None else f"there is no sample {name!r}"
        raise ConfigError(
            f"haplotypes are those of one sample, and {asked}; {reader.name} has {preview(names) or 'no samples'}. "
            "Name one with --sample."
        )
    return names.index(name)


def _lines_of_sample(options: ScoreOptions, reader: VcfReader) -> list[str]:
    """Return the header line on whose haplotypes alleles are scored."""
    if not options.haplotypes:
        return []

    name = reader.samples[_sample_of(options, reader)]
    return [f'##genomixHaplotypes=<ID={name},Description="{HAPLOTYPE_RULE}">']


def _plain_site(entry: _Entry) -> Site:
    return site_of(entry.record)


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
