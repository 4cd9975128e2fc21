"""Resamples of a test set, as how often each row was drawn, and the areas under curves of all of them at once."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped
from numpy.typing import NDArray

N_RESAMPLES = 1000
LEVEL = 0.95
_AT_ONCE = 1 << 21

Weights = NDArray[np.float64]


def resampled_rows(strata: Shaped[np.ndarray, " n"], n_resamples: int, seed: int) -> Iterator[Weights]:
    """Yield how often each row is drawn, ``(some resamples, n)``: with replacement within each stratum.

    Args:
        strata: Of each row; every resample has as many rows of a stratum as the data.
        n_resamples: In all.
        seed: Of the draws.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 8.
    """
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(strata == value) for value in np.unique(strata)]
    for size in _sizes(n_resamples, len(strata)):
        weights = np.zeros((size, len(strata)))
        for row in weights:
            for group in groups:
                row[group] = np.bincount(rng.integers(0, len(group), len(group)), minlength=len(group))
        yield weights


def resampled_clusters(
    clusters: Int64[np.ndarray, " n"], strata: Shaped[np.ndarray, " n"], n_resamples: int, seed: int
) -> Iterator[Weights]:
    """Yield how often each row is drawn with its cluster; a draw without one of the strata is repeated.

    Args:
        clusters: Rows with the same number are drawn together, such as the bases of a sequence: as single draws they
            would make intervals far too narrow.
        strata: Of each row.
        n_resamples: In all.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    _, place = np.unique(clusters, return_inverse=True)
    n_clusters = int(place.max()) + 1
    has = np.array([np.bincount(place, strata == value, n_clusters) > 0 for value in np.unique(strata)])
    for size in _sizes(n_resamples, len(strata)):
        weights = np.empty((size, len(strata)))
        for row in weights:
            often = np.zeros(n_clusters, dtype=np.int64)
            while not (has & (often > 0)).any(axis=1).all():
                often = np.bincount(rng.integers(0, n_clusters, n_clusters), minlength=n_clusters)
            row[:] = often[place]
        yield weights


def by_threshold(
    weights: Float64[np.ndarray, "B n"], positive: Bool[np.ndarray, " n"], starts: Int64[np.ndarray, " T"]
) -> tuple[Float64[np.ndarray, "B T"], Float64[np.ndarray, "B T"]]:
    """Return positives and negatives at or above each threshold.

    Args:
        weights: How often each row counts; rows in falling order of their score.
        positive: The truth, in that order.
        starts: Where scores change: equal ones are one threshold.
    """
    hits = np.add.reduceat(weights * positive, starts, axis=1).cumsum(axis=1)
    alarms = np.add.reduceat(weights * ~positive, starts, axis=1).cumsum(axis=1)
    return hits, alarms


def area_under_roc(
    hits: Float64[np.ndarray, "B T"], alarms: Float64[np.ndarray, "B T"]
) -> Float64[np.ndarray, " B"]:
    """Return the area under the ROC curve, ties counting half, of what `by_threshold` gave."""
    above = hits - np.diff(hits, axis=1, prepend=0.0) / 2
    new_alarms = np.diff(alarms, axis=1, prepend=0.0)
    area: NDArray[np.float64] = (above * new_alarms).sum(axis=1) / (hits[:, -1] * alarms[:, -1])
    return area


def average_precision(
    hits: Float64[np.ndarray, "B T"], alarms: Float64[np.ndarray, "B T"]
) -> Float64[np.ndarray, " B"]:
    """Return the average precision of what `by_threshold` gave."""
    precision = hits / np.maximum(hits + alarms, 1)
    area: NDArray[np.float64] = (np.diff(hits, axis=1, prepend=0.0) * precision).sum(axis=1) / hits[:, -1]
    return area


def ends(resampled: Float64[np.ndarray, "B *shape"]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both ends of the percentile interval of a number, or of each of several."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail], axis=0)
    return low, high


def _sizes(n_resamples: int, n_rows: int) -> Iterator[int]:
    """Yield how many resamples to hold at a time."""
    step = max(1, _AT_ONCE // n_rows)
    for begin in range(0, n_resamples, step):
        yield min(step, n_resamples - begin)
