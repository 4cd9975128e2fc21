"""What a test set shares with training: identity, strands, near copies, coordinates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomix_data import samples
from genomix_data.alphabet import reverse_complement
from genomix_data.errors import InputFileError
from genomix_data.leakage import leakage_report
from genomix_data.leakage.clusters import connected
from genomix_data.leakage.intervals import largest_overlap, overlap_links
from genomix_data.tables import read_table
from genomix_data.tables.located import Locations, locations_from
from tests.data.leakage_helpers import located, random_sequence, table_of


def test_each_kind_of_copy_is_counted_once_where_it_belongs() -> None:
    parent = random_sequence(200, 1)
    other = random_sequence(200, 2)
    train = table_of([parent, other])
    mutated = parent[:100] + ("A" if parent[100] != "A" else "C") + parent[101:]
    test = table_of(
        [
            parent.lower(),  # identical
            reverse_complement(other),  # identical on the other strand
            reverse_complement(mutated),  # near
            parent[:30] + random_sequence(170, 3),  # shares a k-mer
            random_sequence(200, 4),  # nothing
            "ACGTACGT",  # too short for a k-mer
        ],
        [0, 0, 0, 1, 1, 1],
    )
    report = leakage_report(train, test)
    total = report.total
    assert (total.n, total.identical, total.identical_other_strand) == (6, 1, 1)
    assert (total.near, total.near_identical, total.shares_kmer) == (3, 2, 4)
    assert report.has_near_copy.tolist() == [True, True, True, False, False, False]
    assert total.has_near_copy == 3
    assert 0.7 < report.best_containment[2] < 0.9
    assert report.best_containment[[0, 1, 4, 5]].tolist() == [1, 1, 0, 0]
    assert report.n_too_short == 1
    assert (report.by_class["0"].near, report.by_class["1"].near) == (3, 0)
    assert total.overlapping is None
    assert report.to_dict()["total"]["identical"] == 1


def test_a_tiled_sequence_is_covered_though_no_single_one_contains_it() -> None:
    genome = random_sequence(400, 5)
    report = leakage_report(table_of([genome[:160], genome[240:]]), table_of([genome[60:340]]))
    assert report.total.covered == 1
    assert report.total.near == 0


def test_coordinates_count_overlap_by_class() -> None:
    genome = random_sequence(1000, 6)
    train = located([genome[100:200], genome[500:600]], [("chr1", 100, 200), ("chr1", 500, 600)], [0, 1])
    test = located(
        [genome[140:240], genome[590:690], genome[110:190], genome[200:300], genome[100:200]],
        [("chr1", 140, 240), ("chr1", 590, 690), ("chr1", 110, 190), ("chr1", 200, 300), ("chr2", 100, 200)],
        [0, 0, 1, 1, 1],
    )
    report = leakage_report(train, test)
    total = report.total
    assert (total.overlapping, total.overlapping_half, total.inside) == (3, 2, 1)
    assert (total.overlapping_same_class, total.inside_same_class) == (1, 0)
    # The last lies on another contig, yet has the letters of a training sequence.
    assert report.has_near_copy.tolist() == [True, False, True, False, True]


def test_the_published_enhancer_set_leaks_a_hundred() -> None:
    train = read_table(samples.path("ienhancer_2l.layer1.train.csv.gz"))
    test = read_table(samples.path("ienhancer_2l.layer1.test.csv.gz"))
    report = leakage_report(train, test)
    assert (report.total.identical, report.total.identical_other_strand) == (100, 0)
    assert (report.by_class["1"].identical, report.by_class["0"].identical) == (100, 0)
    assert report.total.has_near_copy == 100


def test_tables_that_cannot_be_compared() -> None:
    with pytest.raises(InputFileError, match="must be the same"):
        leakage_report(table_of(["ACGT"]), table_of(["ACGT"], n_classes=3))
    with pytest.raises(InputFileError, match="at least one sequence"):
        leakage_report(table_of([]), table_of(["ACGT"]))


INTERVALS = st.lists(
    st.tuples(st.sampled_from(["a", "b", ""]), st.integers(0, 60), st.integers(1, 25)),
    min_size=1,
    max_size=15,
)


@settings(deadline=None)
@given(INTERVALS, INTERVALS)
def test_overlaps_are_those_of_the_definition(
    test: list[tuple[str, int, int]], train: list[tuple[str, int, int]]
) -> None:
    def places(rows: list[tuple[str, int, int]]) -> Locations:
        return locations_from([c for c, _, _ in rows], [(s, s + n) for _, s, n in rows], [False] * len(rows))

    def common(a: tuple[str, int, int], b: tuple[str, int, int]) -> int:
        if not a[0] or a[0] != b[0]:
            return 0
        return max(0, min(a[1] + a[2], b[1] + b[2]) - max(a[1], b[1]))

    got = largest_overlap(places(test), places(train))
    assert got.tolist() == [max(common(a, b) for b in train) for a in test]
    labels = np.arange(len(test)) % 2, np.arange(len(train)) % 2
    same = largest_overlap(places(test), places(train), same_group=labels)
    assert same.tolist() == [
        max((common(a, b) for j, b in enumerate(train) if j % 2 == i % 2), default=0)
        for i, a in enumerate(test)
    ]
    clusters = connected(len(test), *overlap_links(places(test)))
    for i, a in enumerate(test):
        for j, b in enumerate(test):
            if i != j and common(a, b):
                assert clusters[i] == clusters[j]
    assert sum(1 for c, _, _ in test if not c) <= len(set(clusters.tolist()))
