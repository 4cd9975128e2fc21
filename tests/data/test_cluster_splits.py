"""Splits that share nothing: by cluster of near copies, by chromosome; pure functions of the seed."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomix_data.errors import ConfigError, InputFileError
from genomix_data.leakage import (
    chromosome_split,
    cluster_split,
    leakage_report,
    pooled,
    sequence_clusters,
    split_by_group,
)
from genomix_data.leakage.clusters import connected
from genomix_data.leakage.pairs import MOST_PARTNERS
from genomix_data.tables.located import LocatedTable
from tests.data.leakage_helpers import families, located, random_sequence, table_of

THREE = {"train": 0.7, "valid": 0.1, "test": 0.2}


@settings(deadline=None)
@given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40))
def test_components_are_those_of_a_walk(n: int, links: list[tuple[int, int]]) -> None:
    links = [(a % n, b % n) for a, b in links]
    expected = list(range(n))
    for _ in range(n):
        for a, b in links:
            expected[a] = expected[b] = min(expected[a], expected[b])
    left, right = (np.array([link[i] for link in links], dtype=np.int64) for i in (0, 1))
    got = connected(n, left, right)
    assert len(set(zip(got.tolist(), expected, strict=True))) == len(set(expected)) == len(set(got.tolist()))
    assert list(dict.fromkeys(got.tolist())) == sorted(set(got.tolist())), "numbered by first appearance"


def test_families_of_near_copies_are_clusters() -> None:
    sequences, owners = families(40, 5, seed=7)
    found = sequence_clusters(table_of(sequences))
    assert len(set(zip(found.tolist(), owners, strict=True))) == 40 == len(set(found.tolist()))


def test_a_very_large_family_stays_one_cluster() -> None:
    # More members than a minimizer is paired with: they are linked through their neighbours.
    parent = random_sequence(150, 8)
    sequences = [parent[: 100 + i % 50] for i in range(300)] + [
        random_sequence(150, 100 + i) for i in range(5)
    ]
    assert MOST_PARTNERS < 300
    found = sequence_clusters(table_of(sequences))
    assert Counter(found.tolist()).most_common(1)[0][1] == 300
    assert len(set(found.tolist())) == 6


def test_intervals_that_overlap_are_one_cluster() -> None:
    sequences = [random_sequence(60, i) for i in range(4)]
    places = [("chr1", 0, 60), ("chr1", 55, 115), ("chr1", 115, 175), ("chr2", 0, 60)]
    assert sequence_clusters(located(sequences, places)).tolist() == [0, 0, 1, 2]
    assert sequence_clusters(table_of(sequences)).tolist() == [0, 1, 2, 3]


def test_no_cluster_is_in_two_parts_and_classes_are_kept_in_proportion() -> None:
    sequences, owners = families(120, 4, seed=9)
    labels = [owner % 3 for owner in owners]
    table = table_of(sequences, labels, n_classes=3)
    parts = cluster_split(table, THREE, seed=1)
    assert sum(len(part) for part in parts.values()) == len(table)
    where = {name: {owners[sequences.index(s)] for s in part.sequences} for name, part in parts.items()}
    assert not where["train"] & where["test"]
    assert not where["train"] & where["valid"]
    assert not where["valid"] & where["test"]
    for name, share in THREE.items():
        for count in parts[name].n_per_class.values():
            assert count == pytest.approx(160 * share, abs=4)
    report = leakage_report(pooled([parts["train"], parts["valid"]]), parts["test"])
    assert report.total.has_near_copy == 0


def test_a_split_is_a_pure_function_of_the_seed() -> None:
    sequences, owners = families(60, 3, seed=10)
    table = table_of(sequences, [owner % 2 for owner in owners])
    one, again, other = (cluster_split(table, THREE, seed=seed) for seed in (5, 5, 6))
    assert [one[p].sequences for p in THREE] == [again[p].sequences for p in THREE]
    assert one["test"].sequences != other["test"].sequences
    rows = [owners[sequences.index(s)] for s in one["train"].sequences]
    assert rows == sorted(rows), "rows keep their order"


def test_no_chromosome_is_in_two_parts() -> None:
    rng = np.random.default_rng(11)
    names = [f"chr{i}" for i in range(1, 13)]
    sizes = rng.integers(5, 60, 12)
    places = [(name, 1000 * j, 1000 * j + 50) for name, n in zip(names, sizes, strict=True) for j in range(n)]
    sequences = [random_sequence(50, i) for i in range(len(places))]
    table = located(sequences, places, rng.integers(0, 2, len(places)).tolist())
    parts = chromosome_split(table, THREE, seed=3)
    seen: set[str] = set()
    for name, part in parts.items():
        assert isinstance(part, LocatedTable)
        here = {part.locations.chrom_names[i] for i in part.locations.chrom.tolist()}
        assert here
        assert not here & seen
        seen |= here
        assert len(part) / len(table) == pytest.approx(THREE[name], abs=0.06)
    assert chromosome_split(table, THREE, seed=3)["test"].sequences == parts["test"].sequences


def test_what_cannot_be_split() -> None:
    plain = table_of([random_sequence(50, i) for i in range(6)], [0, 1] * 3)
    with pytest.raises(InputFileError, match="no coordinates, so it cannot be split by chromosome"):
        chromosome_split(plain, THREE, 0)
    half = located(plain.sequences, [("chr1", 0, 50)] * 3 + [("", 0, 0)] * 3, [0, 1] * 3)
    with pytest.raises(InputFileError, match="3 of 6 sequences have no coordinates"):
        chromosome_split(half, THREE, 0)
    few = located(plain.sequences, [("chr1", 0, 50), ("chr2", 0, 50)] * 3, [0, 1] * 3)
    with pytest.raises(InputFileError, match="has 2 chromosomes, too few for 3 parts"):
        chromosome_split(few, THREE, 0)
    copies = table_of(
        [random_sequence(80, 1)] * 3 + [random_sequence(80, i) for i in range(2, 12)], [0] * 3 + [1] * 10
    )
    with pytest.raises(InputFileError, match="a sequence of class '0'"):
        cluster_split(copies, THREE, 0)
    with pytest.raises(ConfigError, match="add up to 1"):
        split_by_group(plain, np.arange(6), {"train": 0.5, "test": 0.2}, 0, what="groups")


def test_pooling_keeps_places_only_where_all_have_them() -> None:
    a = located(["ACGT"], [("chr2", 3, 7)])
    b = located(["GGGG", "TT"], [("chr1", 0, 4), ("", 0, 0)])
    both = pooled([a, b])
    assert isinstance(both, LocatedTable)
    assert both.locations.chrom_names == ("chr1", "chr2")
    assert both.locations.chrom.tolist() == [1, 0, -1]
    assert both.locations.start.tolist() == [3, 0, 0]
    assert not isinstance(pooled([a, table_of(["A"])]), LocatedTable)
