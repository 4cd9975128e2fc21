"""How much of each interval the intervals of another set cover, all at once. Strands do not matter."""

import numpy as np
from numpy.typing import NDArray

from genomix_data.tables.located import Locations

_BLOCK = 1 << 16


def largest_overlap(
    test: Locations,
    train: Locations,
    *,
    same_group: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> NDArray[np.int64]:
    """Return, for each test interval, the most bases that it has in common with one training interval.

    Args:
        test: Intervals to look at.
        train: Intervals to compare with.
        same_group: Labels of ``test`` and of ``train``: compare only intervals of the same label.
    """
    result = np.zeros(len(test), dtype=np.int64)
    shared = {name: i for i, name in enumerate(train.chrom_names)}
    for test_index, name in enumerate(test.chrom_names):
        if name not in shared:
            continue
        rows = np.flatnonzero(test.chrom == test_index)
        others = np.flatnonzero(train.chrom == shared[name])
        groups = [(rows, others)]
        if same_group is not None:
            mine, theirs = same_group
            groups = [
                (rows[mine[rows] == label], others[theirs[others] == label])
                for label in np.unique(mine[rows]).tolist()
            ]
        for part, candidates in groups:
            if len(part) and len(candidates):
                result[part] = _on_one_contig(
                    test.start[part], test.end[part], train.start[candidates], train.end[candidates]
                )
    return result


def overlap_links(places: Locations) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return links ``(left, right)`` such that intervals that overlap, directly or through others, are connected."""
    order = np.lexsort((places.start, places.chrom))
    order = order[places.is_known[order]]
    chrom, start, end = places.chrom[order], places.start[order], places.end[order]
    left, right = [], []
    for index in np.unique(chrom).tolist():
        rows = np.flatnonzero(chrom == index)
        reach = np.maximum.accumulate(end[rows])
        # Sorted by start, an interval joins the run before it exactly when it begins before the run's furthest end.
        joined = np.flatnonzero(start[rows][1:] < reach[:-1])
        left.append(order[rows[joined]])
        right.append(order[rows[joined + 1]])
    if not left:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    return np.concatenate(left), np.concatenate(right)


def _on_one_contig(
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    train_start: NDArray[np.int64],
    train_end: NDArray[np.int64],
) -> NDArray[np.int64]:
    order = np.argsort(train_start, kind="stable")
    train_start, train_end = train_start[order], train_end[order]
    longest = int((train_end - train_start).max())
    low = np.searchsorted(train_start, start - longest, side="right")
    high = np.searchsorted(train_start, end, side="left")
    result = np.zeros(len(start), dtype=np.int64)
    for first in range(0, len(start), _BLOCK):
        block = slice(first, first + _BLOCK)
        times = np.maximum(high[block] - low[block], 0)
        within = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        row = np.repeat(np.arange(len(times)) + first, times)
        other = np.repeat(low[block], times) + within
        common = np.minimum(end[row], train_end[other]) - np.maximum(start[row], train_start[other])
        np.maximum.at(result, row, np.maximum(common, 0))
    return result
