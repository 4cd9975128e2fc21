"""A stretch of a contig: 0-based, half-open, as in BED."""

import re
from dataclasses import dataclass, replace
from typing import Literal, Self

from genomix_data.errors import GenomixError

Strand = Literal["+", "-", "."]

_REGION = re.compile(r"(?P<chrom>.+):(?P<first>[\d,]{1,24})-(?P<last>[\d,]{1,24})(?:\((?P<strand>[+\-.])\))?")


def is_position(text: str) -> bool:
    """Tell whether ``text`` is a whole number of at most 18 digits; longer ones are damage, and Python refuses some.

    >>> is_position("1000"), is_position("-1"), is_position("1_000"), is_position("9" * 19)
    (True, False, False, False)
    """
    return text.isascii() and text.isdecimal() and len(text) <= 18


@dataclass(frozen=True, slots=True)
class Interval:
    """Bases ``start`` up to, not including, ``end`` of ``chrom``.

    Args:
        chrom: Contig name.
        start: 0-based, inclusive; at least 0.
        end: 0-based, exclusive; greater than ``start``.
        strand: ``+``, ``-``, or ``.`` where it is not known. A ``-`` interval is read as its reverse complement.
        name: Free label, kept from column 4 of a BED file.

    Raises:
        GenomixError: if the coordinates are out of order or negative, or the strand is another letter.

    >>> interval = Interval("chr1", 10, 20, "-")
    >>> len(interval), interval.center, str(interval)
    (10, 15, 'chr1:11-20(-)')
    >>> str(interval.resize(4)), str(interval.shift(5))
    ('chr1:14-17(-)', 'chr1:16-25(-)')
    """

    chrom: str
    start: int
    end: int
    strand: Strand = "."
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.chrom:
            raise GenomixError("an interval needs the name of a contig; it is empty.")
        if self.start < 0 or self.end <= self.start:
            raise GenomixError(
                f"interval {self.chrom} start={self.start} end={self.end} is not valid: coordinates are "
                "0-based and half-open, so 0 <= start < end. The first ten bases are start=0, end=10."
            )
        if self.strand not in ("+", "-", "."):
            raise GenomixError(f"strand {self.strand!r} of {self} is not one of '+', '-', '.'.")

    @classmethod
    def parse(cls, region: str) -> Self:
        """Return the interval of a region such as ``chr1:11-20`` (1-based, both ends included).

        >>> Interval.parse("chr1:1,001-2,000")
        Interval(chrom='chr1', start=1000, end=2000, strand='.', name=None)
        """
        match = _REGION.fullmatch(region)
        if match is None:
            raise GenomixError(
                f"region {region!r} is not of the form chrom:first-last, such as chr1:1001-2000."
            )
        first, last = (int(match[key].replace(",", "")) for key in ("first", "last"))
        if first < 1 or last < first:
            raise GenomixError(f"region {region!r} is not valid: positions are 1-based and first <= last.")
        strand = match["strand"]
        return cls(match["chrom"], first - 1, last, "+" if strand == "+" else "-" if strand == "-" else ".")

    @property
    def center(self) -> int:
        """0-based position of the middle base; of an even length, the right one of the two."""
        return (self.start + self.end) // 2

    def resize(self, width: int) -> Self:
        """Return the interval of ``width`` bases around the same centre; ``resize(len(x))`` changes nothing.

        Raises:
            GenomixError: if it would begin before the contig. `Genome.fetch_window` pads there instead.
        """
        start = self.center - width // 2
        return replace(self, start=start, end=start + width)

    def shift(self, n: int) -> Self:
        """Return the interval moved by ``n`` bp towards higher coordinates, whatever the strand."""
        return replace(self, start=self.start + n, end=self.end + n)

    def overlaps(self, other: "Interval") -> bool:
        """Tell whether the two share at least one base; strands do not matter."""
        return self.chrom == other.chrom and self.start < other.end and other.start < self.end

    def contains(self, other: "Interval") -> bool:
        """Tell whether every base of ``other`` lies inside; strands do not matter."""
        return self.chrom == other.chrom and self.start <= other.start and other.end <= self.end

    def __len__(self) -> int:
        return self.end - self.start

    def __str__(self) -> str:
        """``chrom:first-last``, 1-based with both ends included, as genome browsers and samtools read it."""
        strand = "" if self.strand == "." else f"({self.strand})"
        return f"{self.chrom}:{self.start + 1}-{self.end}{strand}"
