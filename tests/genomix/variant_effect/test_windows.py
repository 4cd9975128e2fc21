"""Where windows lie, and which alleles have none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomix.variant_effect.contract import Status
from genomix.variant_effect.windows import WindowPlace, allele_status, place_windows, ref_agrees


@pytest.mark.parametrize(
    ("ref", "alt", "status"),
    [
        ("A", "C", None),
        ("a", "g", None),
        ("AC", "GT", None),
        ("A", "ACC", None),
        ("A", "*", Status.STAR),
        ("A", "<DEL>", Status.SYMBOLIC),
        ("A", "<*>", Status.SYMBOLIC),
        ("A", "<NON_REF>", Status.SYMBOLIC),
        ("A", "A[chr1:5[", Status.SYMBOLIC),
        ("A", "]chr1:5]A", Status.SYMBOLIC),
        ("A", "A.", Status.SYMBOLIC),
        ("A", ".", Status.SYMBOLIC),
        ("A", "N", Status.NON_ACGT),
        ("N", "A", Status.NON_ACGT),
        ("A", "R", Status.NON_ACGT),
        ("A", "AN", Status.NON_ACGT),
        ("N", "<DEL>", Status.SYMBOLIC),
    ],
)
def test_allele_status(ref: str, alt: str, status: Status | None) -> None:
    assert allele_status(ref, alt) is status


@pytest.mark.parametrize(
    ("ref", "found", "agrees"),
    [
        ("A", b"A", True), ("a", b"A", True), ("A", b"a", True), ("AC", b"ac", True), ("A", b"C", False),
        ("A", b"R", True), ("G", b"r", True), ("C", b"R", False), ("A", b"N", False), ("T", b"U", True),
        ("AC", b"A", False),
    ],
)  # fmt: skip
def test_ref_agrees(ref: str, found: bytes, agrees: bool) -> None:
    assert ref_agrees(ref, found) is agrees


@pytest.mark.parametrize(
    ("pos", "ref_len", "alt_len", "expected"),
    [
        (501, 1, 1, WindowPlace(450, 100)),  # the variant is base 50 of 0..99
        (501, 1, 4, WindowPlace(450, 100)),
        (501, 9, 1, WindowPlace(450, 100)),
        (1, 1, 1, WindowPlace(0, 100)),  # shifted, full length
        (30, 1, 1, WindowPlace(0, 100)),
        (1000, 1, 1, WindowPlace(900, 100)),
        (960, 5, 1, WindowPlace(896, 100)),  # ALT takes four bases more, so both begin four earlier
        (1000, 1, 2, Status.EDGE),  # no room on the right for the inserted base
        (996, 5, 1, Status.EDGE),  # the deleted bases would lie outside the REF window
        (0, 1, 1, Status.EDGE),  # the telomere
        (1001, 1, 1, Status.EDGE),
        (1000, 2, 1, Status.EDGE),
        (501, 50, 1, WindowPlace(450, 100)),
        (501, 51, 1, Status.TOO_LONG),
        (501, 1, 51, Status.TOO_LONG),
    ],
)
def test_place_windows_on_a_contig_of_1000(
    pos: int, ref_len: int, alt_len: int, expected: WindowPlace | Status
) -> None:
    assert place_windows(1000, pos, ref_len, alt_len, 100) == expected


@pytest.mark.parametrize(
    ("pos", "ref_len", "alt_len", "expected"),
    [
        (30, 1, 1, WindowPlace(0, 60)),
        (30, 4, 1, WindowPlace(0, 57)),  # ALT haplotype has 57 bases
        (30, 1, 4, WindowPlace(0, 60)),
        (60, 1, 1, WindowPlace(0, 60)),
    ],
)
def test_contig_shorter_than_the_window(
    pos: int, ref_len: int, alt_len: int, expected: WindowPlace | Status
) -> None:
    assert place_windows(60, pos, ref_len, alt_len, 100) == expected


@given(
    contig=st.integers(1, 300), pos=st.integers(0, 310), ref_len=st.integers(1, 40), alt_len=st.integers(1, 40),
    window=st.integers(2, 200),
)  # fmt: skip
def test_windows_always_hold_both_alleles_and_lie_on_the_contig(
    contig: int, pos: int, ref_len: int, alt_len: int, window: int
) -> None:
    place = place_windows(contig, pos, ref_len, alt_len, window)
    if isinstance(place, Status):
        assert place in (Status.EDGE, Status.TOO_LONG)
        return
    first = pos - 1
    assert 2 <= place.length <= window
    assert 0 <= place.start <= first
    assert place.start + place.length <= contig
    assert place.start + place.length <= contig - ref_len + alt_len
    assert first + max(ref_len, alt_len) <= place.start + place.length
    if contig >= window + ref_len:
        assert place.length == window
