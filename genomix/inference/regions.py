"""Sequences to run a model on: the records of a FASTA, or regions of a genome."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from genomix.inference.fasta import read_fasta
from genomix_data.bed import read_bed
from genomix_data.errors import ConfigError
from genomix_data.genome import Genome

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sequence is from.

    Attributes:
        name: Record or contig.
        offset: 0-based start on it.
        length: In bp.
        is_reverse: Whether the sequence is the reverse complement of what stands there.
    """

    name: str
    offset: int
    length: int
    is_reverse: bool = False

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Return where positions ``start`` to ``end`` of the sequence are on the contig, 0-based, half-open."""
        if self.is_reverse:
            start, end = self.length - end, self.length - start
        return self.offset + start, self.offset + end


def sequences_of(
    sequences: PathLike | None, bed: PathLike | None, fasta: PathLike | None
) -> Iterator[tuple[Place, str]]:
    """Return the sequences of a FASTA, or of the regions of a BED file on a genome, as they are needed.

    A region on the ``-`` strand gives its reverse complement.

    Raises:
        ConfigError: unless there is either a FASTA, or a BED file and its genome.
    """
    if (sequences is None) == (bed is None):
        raise ConfigError("give either a FASTA of sequences, or --bed regions.bed with -f genome.fa.")
    if bed is not None and fasta is None:
        raise ConfigError("--bed needs the genome of its regions: -f genome.fa.")
    if sequences is not None and fasta is not None:
        raise ConfigError("-f is the genome of --bed regions; leave it out for a FASTA of sequences.")
    if sequences is not None:
        return ((Place(name, 0, len(letters)), letters) for name, letters in read_fasta(sequences))
    assert bed is not None
    assert fasta is not None
    return _regions(bed, fasta)


def _regions(bed: PathLike, fasta: PathLike) -> Iterator[tuple[Place, str]]:
    with Genome(fasta) as genome:
        for record in read_bed(bed, genome):
            interval = record.interval
            place = Place(interval.chrom, interval.start, len(interval), interval.strand == "-")
            yield place, genome.fetch_interval(interval).decode("ascii")
