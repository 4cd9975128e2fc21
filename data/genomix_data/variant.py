"""A change of one allele, as a VCF line has it."""

import re
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from genomix_data.alphabet import find_non_iupac
from genomix_data.errors import GenomixError
from genomix_data.interval import Interval

VariantKind = Literal["snv", "mnv", "insertion", "deletion", "delins"]

_SPELLING = re.compile(r"(?P<chrom>.+):(?P<pos>[\d,]{1,24}):(?P<ref>[^:>]+)[:>](?P<alt>[^:>]+)")


@dataclass(frozen=True, slots=True)
class Variant:
    """``ref`` at ``pos`` of ``chrom`` becomes ``alt``.

    Args:
        chrom: Contig name.
        pos: 1-based position of the first base of ``ref`` (the VCF convention).
        ref: Reference allele, IUPAC letters; kept in upper case.
        alt: Alternative allele, IUPAC letters; kept in upper case. Symbolic alleles, ``*`` and ``.``
            are not made of letters and raise.
        id: Identifier, such as an rsID.

    Raises:
        GenomixError: if ``pos < 1``, or an allele is empty or holds another letter.

    >>> variant = Variant("chr1", 100, "a", "g")
    >>> str(variant), variant.kind, variant.start, variant.end
    ('chr1:100:A>G', 'snv', 99, 100)
    """

    chrom: str
    pos: int
    ref: str
    alt: str
    id: str | None = None

    def __post_init__(self) -> None:
        if not self.chrom:
            raise GenomixError("a variant needs the name of a contig; it is empty.")
        if self.pos < 1:
            raise GenomixError(f"position {self.pos} on {self.chrom} is not valid: VCF positions begin at 1.")
        for field in ("ref", "alt"):
            allele: str = getattr(self, field)
            if not allele or not allele.isascii() or find_non_iupac(allele.encode()) is not None:
                raise GenomixError(
                    f"{field} allele {allele!r} at {self.chrom}:{self.pos} is not made of nucleotide letters."
                )
            object.__setattr__(self, field, allele.upper())

    @classmethod
    def parse(cls, spelling: str) -> Self:
        """Return the variant spelt ``chrom:pos:ref>alt`` or ``chrom:pos:ref:alt``; ``pos`` is 1-based.

        >>> Variant.parse("17:41,197,722:T>A")
        Variant(chrom='17', pos=41197722, ref='T', alt='A', id=None)
        """
        match = _SPELLING.fullmatch(spelling)
        if match is None:
            raise GenomixError(
                f"variant {spelling!r} is not of the form chrom:pos:ref>alt, such as chr1:100:A>G."
            )
        return cls(match["chrom"], int(match["pos"].replace(",", "")), match["ref"], match["alt"])

    @property
    def start(self) -> int:
        """0-based position of the first base of ``ref``."""
        return self.pos - 1

    @property
    def end(self) -> int:
        """0-based position after the last base of ``ref``."""
        return self.pos - 1 + len(self.ref)

    @property
    def interval(self) -> Interval:
        """The bases that ``ref`` covers."""
        return Interval(self.chrom, self.start, self.end, name=self.id)

    @property
    def length_change(self) -> int:
        """Bases gained, in bp; negative for a loss."""
        return len(self.alt) - len(self.ref)

    @property
    def change(self) -> tuple[int, int, str]:
        """Start and end (0-based, half-open) of the bases that change, and what they become.

        Letters that both alleles share, first at the left and then at the right, are set aside.

        >>> Variant("chr1", 100, "CAG", "CG").change, Variant("chr1", 100, "C", "CT").change
        ((100, 101, ''), (100, 100, 'T'))
        """
        left = _n_shared(self.ref, self.alt)
        ref, alt = _changed_part(self.ref, self.alt)
        return self.start + left, self.start + left + len(ref), alt

    @property
    def kind(self) -> VariantKind:
        """What changes, once the letters that both alleles share at their ends are set aside.

        ``delins`` replaces some bases by another number of bases. Equal alleles count by their length.

        >>> pairs = (("AC", "GC"), ("CAG", "CG"), ("C", "CAT"), ("AC", "GTT"))
        >>> [Variant("1", 5, ref, alt).kind for ref, alt in pairs]
        ['snv', 'deletion', 'insertion', 'delins']
        """
        ref, alt = _changed_part(self.ref, self.alt)
        if len(ref) == len(alt):
            return "snv" if len(ref or self.ref) == 1 else "mnv"
        if not ref:
            return "insertion"
        return "delins" if alt else "deletion"

    def __str__(self) -> str:
        """``chrom:pos:ref>alt``, 1-based."""
        return f"{self.chrom}:{self.pos}:{self.ref}>{self.alt}"


def _changed_part(ref: str, alt: str) -> tuple[str, str]:
    left = _n_shared(ref, alt)
    ref, alt = ref[left:], alt[left:]
    right = _n_shared(ref[::-1], alt[::-1])
    return ref[: len(ref) - right], alt[: len(alt) - right]


def _n_shared(one: str, other: str) -> int:
    """Return how many letters the two begin with alike."""
    n = min(len(one), len(other))
    differs = np.frombuffer(one.encode(), np.uint8)[:n] != np.frombuffer(other.encode(), np.uint8)[:n]
    return int(np.argmax(differs)) if differs.any() else n
