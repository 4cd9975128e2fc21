"""Parts of a whole: how often predictions are right or wrong in bins, with Wilson intervals."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

_Z = 1.959963984540054
"""Of a normal interval of 95 %."""

N_BINS = 10
N_STRATA = 5


@dataclass(frozen=True, slots=True)
class Share:
    """A part of ``n`` things, with its 95 % Wilson interval.

    Attributes:
        n: Things.
        value: The part, 0 to 1.
        low: Lower end.
        high: Upper end.
    """

    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Bin:
    """Things whose ``x`` is from ``start`` to ``end``, both included: the mean of ``x``, and a share of them."""

    start: float
    end: float
    mean: float
    share: Share

    def to_dict(self) -> dict[str, Any]:
        """Return the bin as JSON holds it."""
        share = self.share
        return {
            "start": self.start,
            "end": self.end,
            "mean": self.mean,
            "n": share.n,
            "share": share.value,
            "low": share.low,
            "high": share.high,
        }


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether predicted probabilities are frequencies.

    Attributes:
        bins: Predicted probability and observed frequency, in bins of equal width that hold anything.
        error: Expected calibration error: mean distance of the two, bins weighted by their number.
        brier: Mean squared distance of probability and outcome.
    """

    bins: tuple[Bin, ...]
    error: float
    brier: float

    def to_dict(self) -> dict[str, Any]:
        """Return the calibration as JSON holds it."""
        return {
            "expected_calibration_error": self.error,
            "brier": self.brier,
            "bins": [each.to_dict() for each in self.bins],
        }


def wilson(successes: int, n: int) -> Share:
    """Return a share with its 95 % Wilson score interval; of nothing, 0 with the interval 0 to 1."""
    if n == 0:
        return Share(0, 0.0, 0.0, 1.0)
    p = successes / n
    centre = p + _Z**2 / (2 * n)
    half = _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n * n))
    scale = 1 + _Z**2 / n
    # at the ends the interval touches them exactly; rounding must not carry it past the share itself
    return Share(n, p, max(0.0, min(p, (centre - half) / scale)), min(1.0, max(p, (centre + half) / scale)))


def calibration(
    probabilities: Float64[np.ndarray, " n"],
    happened: Bool[np.ndarray, " n"],
    n_bins: int = N_BINS,
) -> Calibration:
    """Return how predicted probabilities compare with what happened.

    Args:
        probabilities: Of the event, at least one.
        happened: Whether it came.
        n_bins: Bins of equal width from 0 to 1.
    """
    number = np.minimum((probabilities * n_bins).astype(np.int64), n_bins - 1)
    bins = []
    error = 0.0
    for index in np.unique(number):
        rows = number == index
        mean = float(probabilities[rows].mean())
        share = wilson(int(happened[rows].sum()), int(rows.sum()))
        bins.append(Bin(index / n_bins, (index + 1) / n_bins, mean, share))
        error += share.n / len(probabilities) * abs(share.value - mean)
    brier = float(np.square(probabilities - happened).mean())
    return Calibration(tuple(bins), error, brier)


def share_by_quantile(
    x: Float64[np.ndarray, " n"],
    is_counted: Bool[np.ndarray, " n"],
    n_strata: int = N_STRATA,
) -> tuple[Bin, ...]:
    """Return how often something holds in strata of ``x`` of about equal size; equal values stay together.

    Args:
        x: What to stratify by, such as the length of a sequence; at least one value.
        is_counted: What is counted, such as an error.
        n_strata: Strata, at most: fewer where ``x`` has few values.
    """
    edges = np.unique(np.quantile(x, np.linspace(0, 1, n_strata + 1)[1:-1]))
    stratum = np.searchsorted(edges, x, side="left")
    bins = []
    for index in np.unique(stratum):
        rows = stratum == index
        values = x[rows]
        share = wilson(int(is_counted[rows].sum()), int(rows.sum()))
        bins.append(Bin(float(values.min()), float(values.max()), float(values.mean()), share))
    return tuple(bins)
