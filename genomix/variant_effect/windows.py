"""Which alleles have windows, and where: the rule of `genomix_data.variant_windows` with a status for what has none."""

from genomix.variant_effect.contract import Status
from genomix_data import variant_windows
from genomix_data.alphabet import ACGT
from genomix_data.variant_windows import TO_ACGTN, WindowPlace, allele_windows, ref_agrees

__all__ = [
    "TO_ACGTN",
    "WINDOW_RULE",
    "WindowPlace",
    "allele_status",
    "allele_windows",
    "place_windows",
    "ref_agrees",
]

WINDOW_RULE = (
    "REF and ALT windows have equal length and begin at the same base, window//2 before POS; an indel takes more or "
    "less right flank; windows are shifted at contig ends"
)

_ACGT_ONLY = frozenset(ACGT.decode() + ACGT.decode().lower())


def allele_status(ref: str, alt: str) -> Status | None:
    """Return why this pair of alleles cannot be scored on any genome, or None where it can."""
    if alt == "*":
        return Status.STAR
    if any(letter in alt for letter in "<>[].") or not alt:
        return Status.SYMBOLIC
    if not ref or not _ACGT_ONLY.issuperset(ref) or not _ACGT_ONLY.issuperset(alt):
        return Status.NON_ACGT
    return None


def place_windows(
    contig_length: int, pos: int, ref_len: int, alt_len: int, window: int
) -> WindowPlace | Status:
    """Return where the windows lie, or why there are none; see `genomix_data.variant_windows.place_windows`."""
    place = variant_windows.place_windows(contig_length, pos, ref_len, alt_len, window)
    return place if isinstance(place, WindowPlace) else Status(place)
