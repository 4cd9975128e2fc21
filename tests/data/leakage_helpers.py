"""Sequences with known kinship for the tests of leakage."""

import numpy as np

from genomix_data.alphabet import reverse_complement
from genomix_data.tables import SequenceTable
from genomix_data.tables.located import LocatedTable, locations_from


def random_sequence(n: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), n))


def table_of(sequences: list[str], labels: list[int] | None = None, n_classes: int = 2) -> SequenceTable:
    indices = np.array(labels if labels is not None else [0] * len(sequences), dtype=np.int64)
    return SequenceTable(sequences, indices, tuple(str(i) for i in range(n_classes)), "memory")


def located(
    sequences: list[str],
    places: list[tuple[str, int, int]],
    labels: list[int] | None = None,
    n_classes: int = 2,
) -> LocatedTable:
    table = table_of(sequences, labels, n_classes)
    where = locations_from([p[0] for p in places], [(p[1], p[2]) for p in places], [False] * len(places))
    return LocatedTable(table.sequences, table.labels, table.class_names, "memory", where)


def families(n: int, size: int, seed: int, length: int = 120) -> tuple[list[str], list[int]]:
    """Return ``n`` families of ``size`` near copies (some substitutions, either strand), and the family of each."""
    rng = np.random.default_rng(seed)
    sequences, owners = [], []
    for family in range(n):
        parent = list(random_sequence(length, 1000 * seed + family))
        for member in range(size):
            child = parent.copy()
            for place in rng.choice(length, member % 2, replace=False):
                child[place] = "ACGT"[("ACGT".index(child[place]) + 1) % 4]
            text = "".join(child)
            sequences.append(reverse_complement(text) if rng.random() < 0.5 else text)
            owners.append(family)
    return sequences, owners
