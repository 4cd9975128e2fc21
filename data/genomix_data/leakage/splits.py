"""Splits that do not leak: no cluster of near copies, or no chromosome, is in two parts."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from genomix_data.errors import ConfigError, InputFileError, preview
from genomix_data.leakage.clusters import LINK, WINDOW, K, sequence_clusters
from genomix_data.tables.identity import either_strand
from genomix_data.tables.located import LocatedTable, Locations, locations_from
from genomix_data.tables.table import SequenceTable

_TRIES = 200
"""Orders in which chromosomes are tried; they are few and uneven, so one order alone may fit badly."""


def cluster_split(
    table: SequenceTable,
    fractions: Mapping[str, float],
    seed: int,
    *,
    containment: float = LINK,
    k: int = K,
    window: int = WINDOW,
) -> dict[str, SequenceTable]:
    """Return the parts of a table such that no cluster of near copies is in two of them.

    A pure function of its arguments. Each class comes as near to its share of each part as whole clusters allow.

    Args:
        table: All sequences.
        fractions: Share of each part, such as ``{"train": 0.8, "valid": 0.1, "test": 0.1}``; they add up to 1.
        seed: Which clusters go where.
        containment: See `sequence_clusters`.
        k: Length of a k-mer.
        window: Of the minimizers.

    Raises:
        ConfigError: if the fractions do not add up to 1.
        InputFileError: if a part would have no sequence of a class.
    """
    clusters = sequence_clusters(table, containment=containment, k=k, window=window)
    return split_by_group(table, clusters, fractions, seed, what="clusters of near copies")


def chromosome_split(
    table: SequenceTable, fractions: Mapping[str, float], seed: int
) -> dict[str, SequenceTable]:
    """Return the parts of a table such that no chromosome is in two of them.

    Args:
        table: All sequences, with their places.
        fractions: See `cluster_split`.
        seed: Which chromosomes go where.

    Raises:
        ConfigError: if the fractions do not add up to 1.
        InputFileError: if places are not known, or there are fewer chromosomes than parts, or a part would have no
            sequence of a class.
    """
    if not isinstance(table, LocatedTable):
        raise InputFileError(
            f"{table.source} has no coordinates, so it cannot be split by chromosome. Give a table with the columns "
            "chrom, start and end, or use split=cluster, which needs the sequences only."
        )
    unknown = int((~table.locations.is_known).sum())
    if unknown:
        raise InputFileError(
            f"{table.source}: {unknown:,} of {len(table):,} sequences have no coordinates, so the table cannot be "
            "split by chromosome. Use split=cluster."
        )
    return split_by_group(table, table.locations.chrom, fractions, seed, what="chromosomes")


def random_split(table: SequenceTable, fractions: Mapping[str, float], seed: int) -> dict[str, SequenceTable]:
    """Return the parts of a table drawn at random, each class alike; copies, on either strand, go together.

    It is what most publications do where a data set has no split of its own. Near copies may be in two parts: see
    `cluster_split`.

    Args:
        table: All sequences.
        fractions: See `cluster_split`.
        seed: Which sequences go where.

    Raises:
        ConfigError: if the fractions do not add up to 1.
        InputFileError: if a part would have no sequence of a class.
    """
    first: dict[str, int] = {}
    groups = [first.setdefault(either_strand(text), row) for row, text in enumerate(table.sequences)]
    return split_by_group(table, np.array(groups, dtype=np.int64), fractions, seed, what="distinct sequences")


def split_by_group(
    table: SequenceTable, groups: NDArray[np.int64], fractions: Mapping[str, float], seed: int, *, what: str
) -> dict[str, SequenceTable]:
    """Return the parts of a table such that no group is in two of them; rows keep their order.

    Args:
        table: All sequences.
        groups: Group of each, ``(n,)``.
        fractions: Share of each part.
        seed: Which groups go where.
        what: What the groups are called in messages.
    """
    names = list(fractions)
    shares = np.array([fractions[name] for name in names])
    if len(names) < 2 or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise ConfigError(f"fractions {dict(fractions)} of a split must be above 0 and add up to 1.")
    _, members = np.unique(groups, return_inverse=True)
    counts = np.zeros((int(members.max(initial=-1)) + 1, table.n_classes))
    np.add.at(counts, (members, table.labels), 1)
    if len(counts) < len(names):
        raise InputFileError(
            f"{table.source} has {len(counts)} {what}, too few for {len(names)} parts ({preview(names)})."
        )
    part_of = _assign(counts, shares, seed)[members]
    parts = {name: table.select(np.flatnonzero(part_of == i)) for i, name in enumerate(names)}
    for name, part in parts.items():
        absent = [label for label, n in part.n_per_class.items() if n == 0 and table.n_per_class[label]]
        if absent:
            raise InputFileError(
                f"{table.source}: no split by {what} leaves the {name} part a sequence of class {absent[0]!r}: "
                f"{len(counts):,} {what} are too few or too uneven. Use another seed, larger parts, or split=official."
            )
    return parts


def pooled(tables: list[SequenceTable]) -> SequenceTable:
    """Return tables of the same classes as one; with places where all have them."""
    first = tables[0]
    sequences = [sequence for table in tables for sequence in table.sequences]
    labels = np.concatenate([table.labels for table in tables])
    source = " + ".join(dict.fromkeys(table.source for table in tables))
    located = [table for table in tables if isinstance(table, LocatedTable)]
    if len(located) < len(tables):
        return SequenceTable(sequences, labels, first.class_names, source)
    places = _joined([table.locations for table in located])
    return LocatedTable(sequences, labels, first.class_names, source, places)


def _joined(locations: list[Locations]) -> Locations:
    names, numbers, reverse = [], [], []
    for one in locations:
        spelt = [*one.chrom_names, ""]
        names += [spelt[index] for index in one.chrom.tolist()]
        numbers += list(zip(one.start.tolist(), one.end.tolist(), strict=True))
        reverse += one.is_reverse.tolist()
    return locations_from(names, numbers, reverse)


def _assign(counts: NDArray[np.float64], shares: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Return the part of each group, from its counts of each class ``(G, C)``."""
    # RandomState's stream is frozen; that of numpy's Generator may change between versions.
    random = np.random.RandomState(seed)
    sizes = counts.sum(axis=1)
    if len(counts) > 1000:
        order = random.permutation(len(counts))
        return _fill(counts, shares, order[np.argsort(-sizes[order], kind="stable")])
    best, best_miss = np.zeros(len(counts), dtype=np.int64), np.inf
    wanted = shares[:, None] * counts.sum(axis=0)
    for _ in range(_TRIES if len(counts) > len(shares) else 1):
        order = random.permutation(len(counts))
        # Large groups first, but not always in the same order: sizes are blurred by up to a half.
        blurred = sizes[order] * random.uniform(0.5, 1.0, len(order))
        parts = _fill(counts, shares, order[np.argsort(-blurred, kind="stable")])
        got = np.zeros_like(wanted)
        np.add.at(got, parts, counts)
        miss = float((np.abs(got - wanted) / np.maximum(wanted, 1)).sum()) + 10.0 * float((got == 0).sum())
        if miss < best_miss:
            best, best_miss = parts, miss
    return best


def _fill(
    counts: NDArray[np.float64], shares: NDArray[np.float64], order: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Give each group in turn to the part that lacks most of what the group brings, relative to its share."""
    wanted = shares[:, None] * counts.sum(axis=0)
    scale = np.maximum(wanted, 1e-9)
    missing = wanted.copy()
    parts = np.zeros(len(counts), dtype=np.int64)
    classes = [np.flatnonzero(row) for row in counts]
    for group in order.tolist():
        present = classes[group]
        lack = (missing[:, present] / scale[:, present]) @ counts[group, present]
        chosen = int(lack.argmax())
        parts[group] = chosen
        missing[chosen, present] -= counts[group, present]
    return parts
