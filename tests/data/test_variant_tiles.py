"""Which tile a variant belongs to, and how much of it both haplotypes have."""

import pytest

from genomix_data.variant_tiles import TilePlace, longest_allele, place_tile

LENGTH, WINDOW = 1000, 100


@pytest.mark.parametrize("stride", [1, 7, 25, 50])
@pytest.mark.parametrize("pos", [1, 30, 50, 51, 333, 500, 501, 960, 1000])
def test_snv_is_most_central(pos: int, stride: int) -> None:
    place = place_tile(LENGTH, pos, 1, 1, WINDOW, stride)
    assert isinstance(place, TilePlace)
    last = LENGTH - WINDOW
    starts = [*range(0, last, stride), last]
    assert place.start in starts
    middle = pos - 1 - (WINDOW - stride % 2) / 2 + 0.25 * (1 - stride % 2)
    nearest = min(abs(start - middle) for start in starts)
    assert abs(place.start - middle) <= nearest + 1, "one base, for the parity of window and stride"
    assert 0 <= pos - 1 - place.start < WINDOW
    assert place.length == place.n_forward == place.n_reverse == WINDOW


def test_neighbours_share_a_tile() -> None:
    places = [place_tile(LENGTH, pos, 1, 1, WINDOW, 50) for pos in range(1, LENGTH + 1)]
    assert len({place.start for place in places if isinstance(place, TilePlace)}) == 19


def test_deletion_at_the_ends_shortens_both_windows() -> None:
    right = place_tile(LENGTH, 960, 11, 1, WINDOW, 50)
    left = place_tile(LENGTH, 40, 11, 1, WINDOW, 50)
    assert right == TilePlace(900, 100, 90, 100)
    assert left == TilePlace(0, 100, 100, 90)
    assert place_tile(LENGTH, 500, 11, 1, WINDOW, 50) == TilePlace(450, 100, 100, 100)


@pytest.mark.parametrize(
    ("pos", "ref_len", "alt_len", "reason"),
    [
        (0, 1, 1, "EDGE"),
        (1000, 2, 1, "EDGE"),
        (995, 5, 1, "EDGE"),
        (1, 5, 1, "EDGE"),
        (500, 26, 1, "TOO_LONG"),
        (500, 1, 26, "TOO_LONG"),
    ],
)
def test_no_tile(pos: int, ref_len: int, alt_len: int, reason: str) -> None:
    assert longest_allele(WINDOW, 50) == 25
    assert place_tile(LENGTH, pos, ref_len, alt_len, WINDOW, 50) == reason


def test_short_contig() -> None:
    assert place_tile(60, 31, 1, 1, WINDOW, 50) == TilePlace(0, 60, 60, 60)
    assert place_tile(1, 1, 1, 1, WINDOW, 50) == "EDGE"
