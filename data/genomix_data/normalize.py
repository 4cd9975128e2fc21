"""One spelling for each change: alleles trimmed and moved as far left as the genome allows.

In ``GCAAAT`` the records ``CA>C`` and ``AA>A`` are the same deletion. The normal form has no letter that all alleles
share, but for the one that VCF wants before an insertion or deletion, and no equivalent spelling begins further left.

Source: Tan, Abecasis and Kang 2015, Unified representation of genetic variants, Bioinformatics 31:2202, algorithm 1.
"""

from collections import deque
from collections.abc import Callable, Sequence

from genomix_data.errors import ReferenceMismatchError
from genomix_data.genome import Genome
from genomix_data.variant import Variant

Fetch = Callable[[int, int], bytes]

_STEP = 64


def normalize_alleles(
    fetch: Fetch, contig_length: int, pos: int, ref: str, alts: Sequence[str]
) -> tuple[int, str, tuple[str, ...]]:
    """Return position, REF and ALTs of the normal form, in upper case.

    Alleles that are all alike come back as they are. Where an insertion or deletion reaches the first base of the
    contig there is no base before it, so the one after it is kept instead, as the VCF specification wants.

    Args:
        fetch: Gives the bases ``start`` up to ``end`` of the contig, 0-based, half-open, in either case.
        contig_length: In bp.
        pos: 1-based position of the first base of ``ref``.
        ref: What the contig has there; this is not checked.
        alts: One ALT allele, or several that are to keep one position; letters only.

    >>> contig = b"GGGCACACACAGGG"
    >>> normalize_alleles(lambda start, end: contig[start:end], len(contig), 8, "CAC", ["C"])
    (3, 'GCA', ('G',))
    """
    alleles = [deque(allele.upper()) for allele in (ref, *alts)]
    if all(allele == alleles[0] for allele in alleles):
        return pos, ref.upper(), tuple(alt.upper() for alt in alts)
    left = _Leftwards(fetch, pos - 1)
    start = pos - 1
    while len({allele[-1] for allele in alleles}) == 1:
        if start == 0 and any(len(allele) == 1 for allele in alleles):
            break
        for allele in alleles:
            allele.pop()
        if not all(alleles):
            start -= 1
            base = left.next()
            for allele in alleles:
                allele.appendleft(base)
    while all(len(allele) > 1 for allele in alleles) and len({allele[0] for allele in alleles}) == 1:
        start += 1
        for allele in alleles:
            allele.popleft()
    found = ["".join(allele) for allele in alleles]
    return start + 1, found[0], tuple(found[1:])


def normalize_variant(variant: Variant, genome: Genome) -> Variant:
    """Return the normal form of a variant on the same contig, with its identifier.

    Raises:
        ReferenceMismatchError: if ``ref`` is not what the genome has, or the contig is not in it.
    """
    contig = genome.resolve(variant.chrom)
    length = genome.contigs[contig]
    found = genome.fetch_window(contig, variant.start, variant.end).decode().upper()
    if found != variant.ref or variant.end > length:
        raise ReferenceMismatchError(
            f"{variant}: REF is not what {genome.path.name} has there, {found[:20]!r}. "
            "Check that variants and FASTA are of the same assembly."
        )
    pos, ref, alts = normalize_alleles(
        lambda start, end: genome.fetch(contig, start, end), length, variant.pos, variant.ref, [variant.alt]
    )
    return Variant(variant.chrom, pos, ref, alts[0], variant.id)


class _Leftwards:
    """The bases before a place, one after the other, read in pieces that double."""

    def __init__(self, fetch: Fetch, end: int) -> None:
        self._fetch = fetch
        self._end = end
        self._step = _STEP
        self._letters = ""

    def next(self) -> str:
        """Return the next base to the left, in upper case."""
        if not self._letters:
            start = max(0, self._end - self._step)
            self._letters = self._fetch(start, self._end).decode().upper()
            self._end = start
            self._step *= 2
        base, self._letters = self._letters[-1], self._letters[:-1]
        return base
