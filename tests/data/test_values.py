"""Intervals and variants: coordinates that cannot be wrong silently."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomix_data.errors import GenomixError
from genomix_data.interval import Interval
from genomix_data.variant import Variant

intervals = st.builds(
    lambda chrom, start, length: Interval(chrom, start, start + length),
    st.sampled_from(["chr1", "chr2"]),
    st.integers(0, 60),
    st.integers(1, 40),
)


def test_interval_is_a_value() -> None:
    interval = Interval("chr1", 10, 20, "-", "x")
    assert interval == Interval("chr1", 10, 20, "-", "x")
    assert len({interval, Interval("chr1", 10, 20, "-", "x")}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        interval.start = 3  # type: ignore[misc]


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 5), (7, 5)])
def test_interval_refuses_coordinates_out_of_order(start: int, end: int) -> None:
    with pytest.raises(GenomixError, match=r"0-based and half-open"):
        Interval("chr1", start, end)


def test_interval_refuses_other_strands_and_no_contig() -> None:
    with pytest.raises(GenomixError, match="not one of"):
        Interval("chr1", 0, 1, "x")  # type: ignore[arg-type]
    with pytest.raises(GenomixError, match="name of a contig"):
        Interval("", 0, 1)


@given(intervals, intervals)
def test_overlap_and_containment_agree_with_sets_of_bases(one: Interval, other: Interval) -> None:
    bases = {(one.chrom, i) for i in range(one.start, one.end)}
    others = {(other.chrom, i) for i in range(other.start, other.end)}
    assert len(one) == len(bases)
    assert one.overlaps(other) == bool(bases & others)
    assert one.overlaps(other) == other.overlaps(one)
    assert one.contains(other) == (others <= bases)


@given(intervals, st.integers(1, 50), st.integers(0, 50))
def test_resize_keeps_the_centre_and_shift_the_length(interval: Interval, width: int, n: int) -> None:
    moved = interval.shift(n)
    assert (len(moved), moved.start - interval.start) == (len(interval), n)
    far = interval.shift(100)
    assert far.resize(len(far)) == far
    assert len(far.resize(width)) == width
    assert far.resize(width).center == far.center


def test_resize_before_the_contig_is_an_error() -> None:
    with pytest.raises(GenomixError, match="start=-5"):
        Interval("chr1", 0, 10).resize(20)


@given(intervals)
def test_region_round_trip(interval: Interval) -> None:
    assert Interval.parse(str(interval)) == interval


def test_region_names_may_hold_colons() -> None:
    assert Interval.parse("HLA-A*01:01:11-20(-)") == Interval("HLA-A*01:01", 10, 20, "-")


@pytest.mark.parametrize("region", ["chr1", "chr1:0-5", "chr1:9-5", "chr1:a-b"])
def test_bad_regions(region: str) -> None:
    with pytest.raises(GenomixError, match="region"):
        Interval.parse(region)


@pytest.mark.parametrize(
    ("ref", "alt", "kind", "change"),
    [
        ("A", "G", "snv", 0),
        ("AC", "GC", "snv", 0),
        ("AC", "GT", "mnv", 0),
        ("A", "ATT", "insertion", 2),
        ("CAG", "CAGAG", "insertion", 2),
        ("GA", "GTA", "insertion", 1),
        ("ATT", "A", "deletion", -2),
        ("CAG", "CG", "deletion", -1),
        ("AC", "GTT", "delins", 1),
        ("ACC", "TG", "delins", -1),
        ("A", "A", "snv", 0),
        ("AC", "AC", "mnv", 0),
    ],
)
def test_kind_of_variant(ref: str, alt: str, kind: str, change: int) -> None:
    variant = Variant("chr1", 100, ref, alt)
    assert (variant.kind, variant.length_change) == (kind, change)
    assert (variant.start, variant.end) == (99, 99 + len(ref))
    assert variant.interval == Interval("chr1", 99, 99 + len(ref))


def test_variant_alleles_are_upper_case_and_spelt() -> None:
    variant = Variant("chr1", 100, "a", "gt", id="rs1")
    assert (variant.ref, variant.alt, str(variant)) == ("A", "GT", "chr1:100:A>GT")
    assert Variant.parse("chr1:100:A>GT") == Variant("chr1", 100, "A", "GT") == Variant.parse("chr1:100:a:gt")


@pytest.mark.parametrize("allele", ["", "<DEL>", "*", ".", "A-", "é", "N[chr2:5["])
def test_variant_refuses_what_is_not_letters(allele: str) -> None:
    with pytest.raises(GenomixError, match=r"alt allele .* at chr1:100 is not made of nucleotide letters"):
        Variant("chr1", 100, "A", allele)


def test_variant_positions_begin_at_one() -> None:
    with pytest.raises(GenomixError, match="begin at 1"):
        Variant("chr1", 0, "A", "G")
    with pytest.raises(GenomixError, match="not of the form"):
        Variant.parse("chr1-100-A-G")
