"""The REF and the ALT window of an allele as each strand reads them, and which of their bases are scored.

Scored are all bases but the first, or with a horizon the variant and so many bases after it, in the direction of
reading; never an N. Both windows have equally many scored bases: where one has more, for an N in the other, the surplus
is left out at the end, or in whole centred windows at the right flank.
"""

from collections.abc import Callable
from dataclasses import dataclass

from genomix.variant_effect.windows import TO_ACGTN, WindowPlace, allele_windows
from genomix_data.alphabet import reverse_complement
from genomix_data.variant_tiles import TilePlace

Bases = Callable[[int, int], bytes]
Span = tuple[int, int]
_N = ord("N")


@dataclass(frozen=True, slots=True)
class StrandWindows:
    """The two windows on one strand, 5' to 3'.

    Attributes:
        ref: Letters of the REF window.
        alt: Letters of the ALT window.
        ref_span: Positions of REF, half-open, among which all but N are scored.
        alt_span: Positions of ALT, likewise.
        n_scored: Scored bases of each.
        n_shared: Letters at their beginning that are the same by construction; there may be more.
        offset: Where REF begins in its window, in the direction of reading.
    """

    ref: bytes
    alt: bytes
    ref_span: Span
    alt_span: Span
    n_scored: int
    n_shared: int
    offset: int


def centred(
    bases: Bases,
    contig_length: int,
    pos: int,
    ref: str,
    alt: str,
    place: WindowPlace,
    horizon: int | None,
    strands: tuple[bool, ...],
) -> list[StrandWindows]:
    """Return the windows of ``exact`` mode: those of the forward strand, and their reverse complements.

    Args:
        bases: Gives the letters of the contig from a start to an end, 0-based and half-open.
        contig_length: In bp.
        pos: 1-based position of the first base of REF.
        ref: REF allele in upper case.
        alt: ALT allele in upper case.
        place: From `place_windows`.
        horizon: Bases after the variant that are scored; None: all of the window.
        strands: Whether to read the reverse complement, for each strand wanted.
    """
    ref_window, alt_window = allele_windows(bases, contig_length, pos, ref, alt, place)
    offset = pos - 1 - place.start
    found = []
    for is_rc in strands:
        ref_offset = alt_offset = offset
        windows = ref_window, alt_window
        if is_rc:
            ref_offset, alt_offset = (place.length - offset - len(allele) for allele in (ref, alt))
            windows = reverse_complement(ref_window), reverse_complement(alt_window)
        spans = _spans((ref_offset, alt_offset), max(len(ref), len(alt)), place.length, horizon)
        n_shared = offset if not is_rc else ref_offset if len(ref) == len(alt) else 0
        found.append(_strand(*windows, *spans, n_shared, ref_offset, drops_first=is_rc and horizon is None))
    return found


def tiled(
    bases: Bases,
    pos: int,
    ref: str,
    alt: str,
    place: TilePlace,
    horizon: int | None,
    strands: tuple[bool, ...],
) -> list[StrandWindows]:
    """Return the windows of ``tiled`` mode; arguments as of `centred`, ``place`` from `genomix_data.variant_tiles`."""
    first, end = pos - 1, pos - 1 + len(ref)
    tile_end = place.start + place.length
    grown = len(alt) - len(ref)
    left = bases(place.start, first).translate(TO_ACGTN)
    right = bases(end, tile_end).translate(TO_ACGTN)
    tile = left + ref.encode() + right
    found = []
    for is_rc in strands:
        if is_rc:
            more = bases(place.start - max(0, place.n_reverse - place.length - grown), place.start)
            alt_window = reverse_complement(more.translate(TO_ACGTN) + left + alt.encode() + right)
            ref_window, length, offset = reverse_complement(tile), place.n_reverse, len(right)
        else:
            more = bases(tile_end, tile_end + max(0, place.n_forward - place.length - grown))
            alt_window = left + alt.encode() + right + more.translate(TO_ACGTN)
            ref_window, length, offset = tile, place.n_forward, len(left)
        spans = _spans((offset, offset), max(len(ref), len(alt)), length, horizon)
        found.append(_strand(ref_window, alt_window[:length], *spans, offset, offset, drops_first=False))
    return found


def _spans(offsets: Span, n_allele: int, length: int, horizon: int | None) -> tuple[Span, Span]:
    """Return the positions of REF and ALT that are scored, N aside: equally many, unless one begins with the window.

    Args:
        offsets: Where the variant begins in REF and in ALT.
        n_allele: Bases of the longer allele.
        length: Of both windows.
        horizon: Bases after the variant; None: the whole window.
    """
    if horizon is None:
        return (1, length), (1, length)
    n_bases = min(n_allele + horizon, length - max(offsets))
    ref_span, alt_span = ((max(1, offset), max(1, offset + n_bases)) for offset in offsets)
    return ref_span, alt_span


def _strand(
    ref: bytes,
    alt: bytes,
    ref_span: Span,
    alt_span: Span,
    n_shared: int,
    offset: int,
    *,
    drops_first: bool,
) -> StrandWindows:
    n_ref, n_alt = _n_scored(ref, ref_span), _n_scored(alt, alt_span)
    if n_ref > n_alt:
        ref_span = _without(ref, ref_span, n_ref - n_alt, drops_first)
    elif n_alt > n_ref:
        alt_span = _without(alt, alt_span, n_alt - n_ref, drops_first)
    return StrandWindows(ref, alt, ref_span, alt_span, min(n_ref, n_alt), n_shared, offset)


def _n_scored(letters: bytes, span: Span) -> int:
    begin, end = span
    return end - begin - letters.count(b"N", begin, end)


def _without(letters: bytes, span: Span, surplus: int, drops_first: bool) -> Span:
    """Return a span with so many scored positions less, at its beginning or its end."""
    begin, end = span
    while surplus:
        if drops_first:
            surplus -= letters[begin] != _N
            begin += 1
        else:
            end -= 1
            surplus -= letters[end] != _N
    return begin, end
