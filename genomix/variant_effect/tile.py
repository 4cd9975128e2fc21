"""A table of the scores of all substitutions of a genome or of regions, computed once and looked up ever after."""

import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence

from genomix.checkpoint.native import LoadedModel
from genomix.variant_effect.contract import ScoreOptions, ScoreSummary
from genomix.variant_effect.output import OutputOptions
from genomix.variant_effect.saturation import regions_on
from genomix.variant_effect.score import Progress
from genomix.variant_effect.shards import Shard
from genomix.variant_effect.vcf import score_vcf
from genomix_data.errors import ConfigError
from genomix_data.genome import Genome
from genomix_data.interval import Interval
from genomix_data.regions import Regions
from genomix_data.variant_windows import TO_ACGTN
from genomix_data.vcf import VcfReader
from genomix_data.vcf.sink import IndexFormat
from genomix_data.vcf.streams import PieceStream

_TBI_LONGEST = 1 << 29
_PIECE = 1 << 14
_OTHERS = {base: ",".join(other for other in "ACGT" if other != base) for base in "ACGT"}


def tile_genome(
    fasta: str | os.PathLike[str] | Genome,
    model: LoadedModel | str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: ScoreOptions | None = None,
    *,
    regions: Regions | None = None,
    per_strand: bool = False,
    command: str | None = None,
    contig_map: Mapping[str, str] | str | os.PathLike[str] | None = None,
    shard: Shard | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> ScoreSummary:
    """Score the three substitutions of each base that is A, C, G or T, and write a table with its tabix index.

    Args:
        fasta: The genome, or its path.
        model: A loaded language model, or its folder.
        out: ``NAME.tsv.gz``; a ``.tbi`` (for contigs beyond 512 Mb a ``.csi``) is written beside it.
        options: How variants are scored; `score_vcf` looks up what was scored in the same way.
        regions: Only these; None: the whole genome.
        per_strand: Add the scores of the strands.
        command: For the header.
        contig_map: Other names of contigs.
        shard: Only this part.
        resume: See `score_vcf`.
        progress: Called with the number of alleles done since the last call.

    Raises:
        ConfigError: if ``out`` is not such a name.
        ReferenceMismatchError: if a region is not on the genome.
    """
    if not str(out).lower().endswith((".tsv.gz", ".tsv.bgz")):
        raise ConfigError(
            f"a table is looked up through its index, so {str(out)!r} must be called NAME.tsv.gz."
        )
    genome = fasta if isinstance(fasta, Genome) else Genome(fasta, contig_map=contig_map)
    wanted = (
        [Interval(name, 0, length) for name, length in genome.contigs.items()]
        if regions is None
        else regions_on(genome, regions)
    )
    longest = max((genome.contigs[interval.chrom] for interval in wanted), default=0)
    index_format: IndexFormat = "tbi" if longest <= _TBI_LONGEST else "csi"
    output = OutputOptions(
        output_type="t", write_index=True, index_format=index_format, per_strand=per_strand, command=command
    )
    return score_vcf(
        lambda: substitutions_as_vcf(genome, wanted),
        genome,
        model,
        out,
        options,
        output=output,
        shard=shard,
        resume=resume,
        progress=progress,
    )


def substitutions_as_vcf(genome: Genome, intervals: Sequence[Interval]) -> VcfReader:
    """Return a reader of one record a base, with the three other bases as ALT; bases that are not A, C, G, T have none.

    Args:
        genome: Where they lie.
        intervals: In the order in which they are to come.
    """
    # the name tells these bases from any others, for runs that go on
    digest = hashlib.sha256("".join(map(repr, intervals)).encode()).hexdigest()[:12]
    name = f"{sum(map(len, intervals)):,} bases of {genome.path.name} ({digest})"
    return VcfReader(io.BufferedReader(PieceStream(_lines(genome, intervals)), 1 << 18), name)


def _lines(genome: Genome, intervals: Sequence[Interval]) -> Iterator[bytes]:
    contigs = "".join(f"##contig=<ID={name},length={length}>\n" for name, length in genome.contigs.items())
    yield f"##fileformat=VCFv4.2\n{contigs}#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n".encode()
    for interval in intervals:
        for start in range(interval.start, interval.end, _PIECE):
            letters = genome.fetch(interval.chrom, start, min(start + _PIECE, interval.end)).translate(
                TO_ACGTN
            )
            yield "".join(
                f"{interval.chrom}\t{pos}\t.\t{base}\t{_OTHERS[base]}\t.\t.\t.\n"
                for pos, base in enumerate(letters.decode(), start + 1)
                if base != "N"
            ).encode()
