"""Where the windows of a variant lie when variants share them: tiles of a contig, every ``stride`` bases one.

Tiles have ``window`` bases and start at multiples of ``stride``; one that would pass the end of its contig is moved
left to end with it. A variant belongs to the tile in which POS is most central: POS is ``window // 2 - stride // 2`` to
``window // 2 - stride // 2 + stride - 1`` bases into it, but for the ends of contigs. REF's window is the tile. On each
strand ALT's window begins at the same base as the tile (on the reverse strand: at the tile's last), so that all that
stands before the variant is the tile's own, and an indel takes more or less of what lies beyond the tile's other end.
"""

from dataclasses import dataclass

from genomix_data.variant_windows import NoWindow

TILE_RULE = (
    "REF windows are tiles that start at multiples of the stride (the last ends with the contig); a variant belongs to "
    "the tile in which POS is most central; REF and ALT windows have equal length and, on each strand, begin at the "
    "same base; an indel takes more or less flank at their ends"
)


@dataclass(frozen=True, slots=True)
class TilePlace:
    """The tile of a variant.

    Attributes:
        start: 0-based first base of the tile on the contig.
        length: In bp; the window, or the contig where that is shorter.
        n_forward: Bases from the tile's start that both alleles' haplotypes have; less than ``length`` only where a
            deletion lies near the end of the contig.
        n_reverse: Likewise, bases from the tile's end leftwards; less only near the start of the contig.
    """

    start: int
    length: int
    n_forward: int
    n_reverse: int


def longest_allele(window: int, stride: int) -> int:
    """Return how many bases an allele may have, so that it fits its tile wherever it lies in it."""
    return window // 2 - stride // 2


def place_tile(
    contig_length: int, pos: int, ref_len: int, alt_len: int, window: int, stride: int
) -> TilePlace | NoWindow:
    """Return the tile of a variant, or why it has none.

    Args:
        contig_length: In bp.
        pos: 1-based position of the first base of REF.
        ref_len: Bases of REF.
        alt_len: Bases of ALT.
        window: Length of a tile in bp.
        stride: From one tile's start to the next, in bp; at most ``window // 2``.
    """
    first, end, longer = pos - 1, pos - 1 + ref_len, max(ref_len, alt_len)
    if first < 0 or end > contig_length:
        return "EDGE"
    if longer > longest_allele(window, stride):
        return "TOO_LONG"
    length = min(window, contig_length)
    start = max(0, (first - longest_allele(window, stride)) // stride * stride)
    start = min(start, contig_length - length)
    grown = alt_len - ref_len
    n_forward = min(length, contig_length - start + grown)
    n_reverse = min(length, start + length + grown)
    is_held = first - start + longer <= n_forward and start + length - end + longer <= n_reverse
    if not is_held or min(n_forward, n_reverse) < 2:
        return "EDGE"
    return TilePlace(start, length, n_forward, n_reverse)
