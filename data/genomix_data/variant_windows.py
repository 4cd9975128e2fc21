"""Where the two windows of a variant lie: both of the same length, the variant in the middle.

Both windows begin at the same base of the contig, ``length // 2`` bases before POS. The REF window is the contig from
there; in the ALT window the ALT allele stands for the REF allele, and the right flank is as much longer or shorter as
keeps the length. Near the ends of a contig the windows are shifted and keep their length; on a contig that is shorter
than the window they are as long as both haplotypes allow. Equal length matters: a likelihood falls with every base.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from genomix_data.alphabet import ACGT

NoWindow = Literal["EDGE", "TOO_LONG"]
"""Why a variant has no windows: too close to the end of its contig, or an allele longer than half the window."""

TO_ACGTN = bytes(
    letter if letter in ACGT else ord("T") if letter == ord("U") else ord("N")
    for letter in (bytes([byte]).upper()[0] for byte in range(256))
)
"""Table for `bytes.translate`: upper case, U as T, every ambiguity code as N."""

_CODES = {
    "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC", "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WindowPlace:
    """Both windows of a variant.

    Attributes:
        start: 0-based first base of both windows on the contig.
        length: Length of each, in bp.
    """

    start: int
    length: int


def ref_agrees(ref: str, found: bytes) -> bool:
    """Return whether REF is what the FASTA has, case aside.

    VCF has no ambiguity codes in REF but N: where the FASTA has R, say, REF is one of A and G.
    """
    if len(ref) != len(found):
        return False
    letters = found.decode("ascii").upper().replace("U", "T")
    return all(a == b or a in _CODES.get(b, "") for a, b in zip(ref.upper(), letters, strict=True))


def place_windows(
    contig_length: int, pos: int, ref_len: int, alt_len: int, window: int
) -> WindowPlace | NoWindow:
    """Return where the windows lie, or why there are none.

    Args:
        contig_length: In bp.
        pos: 1-based position of the first base of REF.
        ref_len: Bases of REF.
        alt_len: Bases of ALT.
        window: Wanted length in bp.
    """
    first = pos - 1
    if first < 0 or first + ref_len > contig_length:
        return "EDGE"
    if max(ref_len, alt_len) > window // 2:
        return "TOO_LONG"
    shrink = ref_len - alt_len
    length = min(window, contig_length, contig_length - shrink)
    last_start = contig_length - length - max(shrink, 0)
    start = max(0, min(first - length // 2, last_start))
    if length < 2 or first + max(ref_len, alt_len) > start + length:
        return "EDGE"
    return WindowPlace(start, length)


def allele_windows(
    bases: Callable[[int, int], bytes], contig_length: int, pos: int, ref: str, alt: str, place: WindowPlace
) -> tuple[bytes, bytes]:
    """Return the letters of the REF and the ALT window: A, C, G, T, N in upper case.

    REF is as the variant spells it: the genome may have an ambiguity code there.

    Args:
        bases: Gives the letters of the contig from a start to an end, 0-based and half-open.
        contig_length: In bp.
        pos: 1-based position of the first base of REF.
        ref: REF allele in upper case.
        alt: ALT allele in upper case.
        place: From `place_windows` for these alleles.
    """
    first = pos - 1
    left = bases(place.start, first).translate(TO_ACGTN)
    right_end = min(place.start + place.length + max(len(ref) - len(alt), 0), contig_length)
    right = bases(first + len(ref), right_end).translate(TO_ACGTN)
    return (left + ref.encode() + right)[: place.length], (left + alt.encode() + right)[: place.length]
