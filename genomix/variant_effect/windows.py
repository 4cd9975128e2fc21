"""Where the two windows of a variant lie: both of the same length, the variant in the middle.

Both windows begin at the same base of the contig, ``length // 2`` bases before POS. The REF window is the contig from
there; in the ALT window the ALT allele stands for the REF allele, and the right flank is as much longer or shorter as
keeps the length. Near the ends of a contig the windows are shifted and keep their length; on a contig that is shorter
than the window they are as long as both haplotypes allow. Equal length matters: a likelihood falls with every base.
"""

from dataclasses import dataclass

from genomix.variant_effect.contract import Status
from genomix_data.alphabet import ACGT

WINDOW_RULE = (
    "REF and ALT windows have equal length and begin at the same base, window//2 before POS; an indel takes more or "
    "less right flank; windows are shifted at contig ends"
)

_ACGT_ONLY = frozenset(ACGT.decode() + ACGT.decode().lower())
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


def allele_status(ref: str, alt: str) -> Status | None:
    """Return why this pair of alleles cannot be scored on any genome, or None where it can."""
    if alt == "*":
        return Status.STAR
    if any(letter in alt for letter in "<>[].") or not alt:
        return Status.SYMBOLIC
    if not ref or not _ACGT_ONLY.issuperset(ref) or not _ACGT_ONLY.issuperset(alt):
        return Status.NON_ACGT
    return None


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
) -> WindowPlace | Status:
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
        return Status.EDGE
    if max(ref_len, alt_len) > window // 2:
        return Status.TOO_LONG
    shrink = ref_len - alt_len
    length = min(window, contig_length, contig_length - shrink)
    last_start = contig_length - length - max(shrink, 0)
    start = max(0, min(first - length // 2, last_start))
    if length < 2 or first + max(ref_len, alt_len) > start + length:
        return Status.EDGE
    return WindowPlace(start, length)
