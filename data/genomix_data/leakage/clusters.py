"""Clusters of sequences that are too alike to be in two parts: connected components of near copies.

Two sequences are linked when they are the same on either strand, when their intervals overlap (where intervals are
known), or when the shorter of the two shares enough of its minimizers with the other. Everything that is linked,
directly or through others, is one cluster.
"""

import logging

import numpy as np
from numpy.typing import NDArray

from genomix_data.leakage.intervals import overlap_links
from genomix_data.leakage.kmers import minimizer_sketch
from genomix_data.leakage.pairs import neighbour_pairs
from genomix_data.tables.identity import either_strand
from genomix_data.tables.located import LocatedTable
from genomix_data.tables.table import SequenceTable

logger = logging.getLogger(__name__)

K, WINDOW = 24, 10
"""Default length of k-mers and window of minimizers: random sequences share none, near copies of 81 bp still some."""

LINK = 0.3
"""Default share of the shorter sequence's minimizers that links two sequences."""


def sequence_clusters(
    table: SequenceTable, *, containment: float = LINK, k: int = K, window: int = WINDOW
) -> NDArray[np.int64]:
    """Return the cluster of each sequence, ``(n,)``; clusters are numbered in the order of their first sequence.

    Args:
        table: Sequences; a `LocatedTable` is clustered by its intervals as well.
        containment: Share of the minimizers of the shorter sequence that two have in common to be linked.
        k: Length of a k-mer; shorter sequences are linked by identity only.
        window: Of the minimizers.
    """
    lefts, rights = [], []
    canonical = [either_strand(sequence) for sequence in table.sequences]
    first: dict[str, int] = {}
    same = np.array([first.setdefault(text, row) for row, text in enumerate(canonical)], dtype=np.int64)
    lefts.append(np.arange(len(table)))
    rights.append(same)
    sketch = minimizer_sketch(table.sequences, k, window)
    for pairs in neighbour_pairs(sketch):
        smaller = np.minimum(sketch.counts[pairs.left], sketch.counts[pairs.right])
        linked = pairs.shared >= np.maximum(containment * smaller, 1)
        lefts.append(pairs.left[linked])
        rights.append(pairs.right[linked])
    if isinstance(table, LocatedTable):
        for links, ends in zip((lefts, rights), overlap_links(table.locations), strict=True):
            links.append(ends)
    return connected(len(table), np.concatenate(lefts), np.concatenate(rights))


def connected(n: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the connected component of each of ``n`` nodes, numbered in the order of their first node.

    Args:
        n: Number of nodes.
        left: One end of each link.
        right: The other end.
    """
    root = np.arange(n)
    left, right = left[left != right], right[left != right]
    while len(left):
        a, b = root[left], root[right]
        high, low = np.maximum(a, b), np.minimum(a, b)
        np.minimum.at(root, high, low)
        # Point every node at the root of its root, until roots point at themselves.
        while True:
            above = root[root]
            if np.array_equal(above, root):
                break
            root = above
        differ = root[left] != root[right]
        left, right = left[differ], right[differ]
    numbered: NDArray[np.int64] = np.unique(root, return_inverse=True)[1].astype(np.int64)
    return numbered
