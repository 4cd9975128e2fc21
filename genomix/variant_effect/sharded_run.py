"""What a run in shards is, whoever scores them: the look at the input before, the shards, and where they lie."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from genomix import __version__
from genomix.checkpoint.native import LoadedModel
from genomix.variant_effect.assembly import CHECKED_FIRST, Assembly
from genomix.variant_effect.census import Census, Record, census_of, site_of
from genomix.variant_effect.contract import DEFAULT_WINDOW, ScoreOptions, ScoreSummary
from genomix.variant_effect.output import OutputOptions
from genomix.variant_effect.plan import Planner
from genomix.variant_effect.score import Progress
from genomix.variant_effect.shard_summaries import read_summary, sum_of, write_summary
from genomix.variant_effect.shards import Shard, ShardRange, range_in
from genomix.variant_effect.vcf import score_vcf
from genomix_data.errors import InputFileError
from genomix_data.genome import Genome
from genomix_data.journal import Journal
from genomix_data.vcf import VcfReader
from genomix_data.vcf.conformance import ConformanceChecker
from genomix_data.vcf.opening import RegionsLike
from genomix_data.vcf.sink import FileSink, is_stdout

SUFFIXES = {"v": ".vcf.gz", "z": ".vcf.gz", "b": ".bcf", "u": ".bcf", "t": ".tsv.gz", "p": ".parquet"}
"""Of shards, by the type of the output."""
_CHANGES_NO_SCORE = ("batch_size", "device", "shares")

Part = tuple[ShardRange, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardedRun:
    """All that scoring any shard of a run takes but the model; the arguments are those of `score_vcf`.

    Attributes:
        parts: Of each shard its records, and the file that it becomes.
    """

    vcf: str
    genome: Genome
    options: ScoreOptions
    output: OutputOptions
    regions: RegionsLike | None
    targets: RegionsLike | None
    table: str | None
    cache: str | None
    parts: tuple[Part, ...]

    @property
    def paths(self) -> list[str]:
        """The files of the shards."""
        return [path for _, path in self.parts]

    def done_before(self) -> dict[int, ScoreSummary]:
        """Return the summaries of the shards that an earlier run has left whole, by their numbers."""
        there = {number: read_summary(path) for number, path in enumerate(self.paths, 1)}
        return {number: replace(each, resumed=each.records) for number, each in there.items() if each}

    def score(
        self,
        number: int,
        model: LoadedModel,
        *,
        device: str | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> ScoreSummary:
        """Score a shard into its file.

        Args:
            number: From 1.
            model: Of the run.
            device: Where, if not as the options say.
            resume: Go on amid the shard where it was broken off, and say beside it when it is done.
            progress: Called with the number of alleles done since the last call.

        Raises:
            InputFileError: if the input does not have the records that it had; and what `score_vcf` raises.
        """
        part, path = self.parts[number - 1]
        assert part.stop is not None
        # the first records of the whole file have told whether the assembly is right; see `survey`
        options = replace(self.options, max_ref_mismatch=1.0, device=device or self.options.device)
        summary = score_vcf(
            self.vcf,
            self.genome,
            model,
            path,
            options,
            output=self.output,
            regions=self.regions,
            targets=self.targets,
            table=self.table,
            cache=self.cache,
            shard=part,
            resume=resume,
            progress=progress,
        )
        if summary.records != part.stop - part.first:
            raise InputFileError(
                f"a worker found {summary.records:,} records in shard {number} of {self.vcf!r}, expected "
                f"{part.stop - part.first:,}: it was changed, or nodes see different files. Score it again."
            )
        if resume:
            write_summary(path, summary)
        return summary


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen of an input before any of it is scored.

    Attributes:
        census: Its records.
        faults: See `ScoreSummary`.
    """

    census: Census
    faults: dict[str, int]


def survey(reader: VcfReader, genome: Genome, options: ScoreOptions, output: OutputOptions) -> Survey:
    """Return what there is to be scored; raise, in the order of the records, what ends a run whatever their scores.

    Args:
        reader: At its first record.
        genome: The FASTA.
        options: Of the run.
        output: Likewise.

    Raises:
        ReferenceMismatchError: if VCF and FASTA do not belong together.
        InputFileError: at a damaged record, or at one out of order where an index is wanted.
    """
    assembly = Assembly(
        genome,
        reader.contigs,
        check_ref=options.check_ref,
        max_ref_mismatch=options.max_ref_mismatch,
        ignore_contig_lengths=options.ignore_contig_lengths,
    )
    # nothing is scored: of all options those of the assembly alone matter to how REF is judged
    planner = Planner(genome, assembly, DEFAULT_WINDOW, ScoreOptions())
    ahead = Planner(genome, assembly.without_judgement(), DEFAULT_WINDOW, ScoreOptions())
    checker = ConformanceChecker(reader.header, reader.name)
    order = FileSink(None, compress=False, index=output.index_format if output.write_index else None)
    needs_order, drops_some = output.write_index, options.check_ref == "x"

    def seen() -> Iterator[Record]:
        last = None
        for record in checker.watch(reader, CHECKED_FIRST):
            if not assembly.is_judged:
                planner.check_ref(site_of(record))
            elif record.chrom != last:
                last = record.chrom
                assembly.resolve(last)
            if needs_order and not (drops_some and ahead.is_mismatch(site_of(record))):
                order.check_order(record.chrom, record.pos, record.where)
            yield record

    census = census_of(seen())
    assembly.check_at_end()
    return Survey(census, dict(checker.found.faults))


def summary_of(
    done: Mapping[int, ScoreSummary],
    found: Survey,
    options: ScoreOptions,
    out: str | os.PathLike[str] | None,
    seconds: float,
) -> ScoreSummary:
    """Return what was done in all: the sum of the shards, and the faults of the whole file."""
    whole = sum_of([done[number] for number in sorted(done)], options.exact_sample)
    whole.faults = found.faults
    whole.output = None if is_stdout(out) else str(out)
    whole.seconds = seconds
    return whole


def parts_in(folder: Path, suffix: str, of: int, census: Census) -> tuple[Part, ...]:
    """Return the shards of a run, ``of`` in all, and their files in a folder."""
    return tuple(
        (range_in(Shard(number, of), census), str(folder.absolute() / f"part.{number}{suffix}"))
        for number in range(1, of + 1)
    )


def folder_beside(out: str | os.PathLike[str]) -> "tempfile.TemporaryDirectory[str]":
    """Return a folder beside an output, which goes when it is left.

    Raises:
        InputFileError: if it cannot be made.
    """
    final = Path(out).absolute()
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=f".{final.name}.shards.", dir=final.parent)
    except OSError as error:
        raise InputFileError(
            f"the output folder {str(final.parent)!r} cannot be written: {error.strerror}. Choose another output path."
        ) from error


def n_shards(n_blocks: int, wanted: int, journal: Journal | None) -> int:
    """Return how many shards there are, as the run began; none of them is empty but that of an empty file."""
    if journal is not None and journal.state is not None:
        return int(journal.state["of"])
    of = max(1, min(n_blocks, wanted))
    if journal is not None:
        journal.commit({"of": of})
    return of


def told_run(engine: str, options: ScoreOptions, model_sha256: str, genome: Genome) -> str:
    """Return in words what must be the same when a run goes on."""
    same = {key: value for key, value in asdict(options).items() if key not in _CHANGES_NO_SCORE}
    fingerprint = genome.fingerprint()
    del fingerprint["contigs"]
    told = {
        "engine": engine,
        "version": __version__,
        "model": model_sha256,
        "genome": fingerprint,
        "options": same,
    }
    return json.dumps(told, sort_keys=True, default=str)
