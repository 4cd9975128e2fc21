"""Pearson's correlation, and the ranks that make it Spearman's."""

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray


def correlation(x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"]) -> float | None:
    """Return Pearson's correlation; None of fewer than two values, or where one side does not vary."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    dx, dy = x - x.mean(), y - y.mean()
    return float(np.clip((dx @ dy) / np.sqrt((dx @ dx) * (dy @ dy)), -1.0, 1.0))


def mean_ranks(values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return the rank of each value, from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks
