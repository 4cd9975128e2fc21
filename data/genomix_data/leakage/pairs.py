"""Which sequences share minimizers, and how many: a join of two sketches that stays linear in repeats."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomix_data.leakage.kmers import Sketch

_MOST_PAIRS = 1 << 23

MOST_PARTNERS = 200
"""A minimizer that stands in more sequences than this (a repeat) is looked up in so many of them only."""


@dataclass(frozen=True, slots=True)
class SharedPairs:
    """Pairs of sequences and the number of minimizers that they share.

    Args:
        left: Index in the first sketch.
        right: Index in the second sketch.
        shared: Number of minimizers in both.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    shared: NDArray[np.int64]


def shared_pairs(left: Sketch, right: Sketch, most: int = MOST_PARTNERS) -> Iterator[SharedPairs]:
    """Yield all pairs that share a minimizer, in blocks of whole ``left`` sequences, so that memory is bounded.

    Args:
        left: For example the test set.
        right: For example the training set.
        most: See `MOST_PARTNERS`: of more common minimizers only the first so many sequences are paired.
    """
    order = np.argsort(right.values, kind="stable")
    values, owners = right.values[order], right.owners[order]
    low = np.searchsorted(values, left.values, side="left")
    found = np.minimum(np.searchsorted(values, left.values, side="right") - low, most)
    n_right = len(right)
    for start, stop in _blocks(left, found):
        times = found[start:stop]
        within = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        partner = owners[np.repeat(low[start:stop], times) + within]
        key = np.repeat(left.owners[start:stop], times) * n_right + partner
        pairs, shared = _counted(key)
        yield SharedPairs(pairs // n_right, pairs % n_right, shared)


def neighbour_pairs(sketch: Sketch, most: int = MOST_PARTNERS) -> Iterator[SharedPairs]:
    """Yield the pairs ``left < right`` of one sketch that share a minimizer.

    In a minimizer that stands in more than ``most`` sequences, each is paired with the next ``most`` only, in the
    order of the table: a family of near-identical sequences stays connected, and a repeat costs no square.
    """
    order = np.argsort(sketch.values, kind="stable")
    values, owners = sketch.values[order], sketch.owners[order]
    last = np.searchsorted(values, values, side="right")
    found = np.minimum(last - np.arange(len(values)) - 1, most)
    n = len(sketch)
    collected: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for start, stop in _even_blocks(found):
        times = found[start:stop]
        within = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        first = np.repeat(np.arange(start, stop), times)
        key = owners[first] * n + owners[first + 1 + within]
        collected.append(_counted(key))
    if not collected:
        return
    # Blocks are cut by value, so a pair may come in several of them.
    keys = np.concatenate([keys for keys, _ in collected])
    counts = np.concatenate([counts for _, counts in collected])
    pairs, place = np.unique(keys, return_inverse=True)
    shared = np.bincount(place, weights=counts, minlength=len(pairs)).astype(np.int64)
    yield SharedPairs(pairs // n, pairs % n, shared)


def _blocks(left: Sketch, found: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows that hold whole sequences, and about `_MOST_PAIRS` pairs at most."""
    ends = np.cumsum(left.counts)
    pairs = np.concatenate([[0], np.cumsum(found)])[ends]
    done, start = 0, 0
    while start < len(left.values):
        last = int(np.searchsorted(pairs, done + _MOST_PAIRS, side="right"))
        sequence = max(min(last, len(ends)) - 1, int(np.searchsorted(ends, start, side="right")))
        stop = int(ends[sequence])
        yield start, stop
        done, start = int(pairs[sequence]), stop


def _even_blocks(found: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    pairs = np.concatenate([[0], np.cumsum(found)])
    start = 0
    while start < len(found):
        stop = max(int(np.searchsorted(pairs, pairs[start] + _MOST_PAIRS, side="right")) - 1, start + 1)
        yield start, stop
        start = stop


def _counted(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the different keys, sorted, and how often each comes; numpy's unique takes a slower way here."""
    keys = np.sort(keys)
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else keys
    return keys[starts], np.diff(np.append(starts, len(keys)))
