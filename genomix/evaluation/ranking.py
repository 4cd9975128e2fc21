"""How well a score ranks positives above negatives: ROC and precision-recall curves, their areas, bootstrap intervals.

Equal scores count as one threshold everywhere. Intervals are percentiles over resamples drawn with replacement within
positives and within negatives, so that each has as many of both as the data. Rows that belong together, such as the
bases of a sequence, are drawn together: as single draws they would make intervals far too narrow.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from genomix.evaluation.resampling import (
    N_RESAMPLES,
    area_under_roc,
    average_precision,
    by_threshold,
    ends,
    resampled_clusters,
    resampled_rows,
)

_GRID = np.linspace(0.0, 1.0, 201)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with the ends of its bootstrap interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Return value and interval as JSON holds them."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        """``0.812 (0.790 to 0.834)``."""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve, and the band that resamples leave open around it.

    Attributes:
        x: Of the points: false positive rate, or recall.
        y: True positive rate, or precision.
        grid: Where the band is known.
        low: Lower end of the band at ``grid``.
        high: Upper end.
    """

    x: Float64[np.ndarray, " P"]
    y: Float64[np.ndarray, " P"]
    grid: Float64[np.ndarray, " G"]
    low: Float64[np.ndarray, " G"]
    high: Float64[np.ndarray, " G"]


@dataclass(frozen=True, slots=True)
class Separation:
    """How well a score separates positives from negatives.

    Attributes:
        n_positive: Positives.
        n_negative: Negatives.
        auroc: Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.
        auprc: Average precision. By chance it is the share of positives.
        roc: True over false positive rate.
        pr: Precision over recall.
    """

    n_positive: int
    n_negative: int
    auroc: Estimate
    auprc: Estimate
    roc: Curve
    pr: Curve

    @property
    def prevalence(self) -> float:
        """Share of positives, the average precision of a score that knows nothing."""
        return self.n_positive / (self.n_positive + self.n_negative)

    def to_dict(self) -> dict[str, Any]:
        """Return counts and areas as JSON holds them."""
        return {
            "n_positive": self.n_positive,
            "n_negative": self.n_negative,
            "auroc": self.auroc.to_dict(),
            "auprc": self.auprc.to_dict(),
        }


def separation(
    scores: Float64[np.ndarray, " n"],
    is_positive: Bool[np.ndarray, " n"],
    *,
    clusters: Int64[np.ndarray, " n"] | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Separation | None:
    """Return how well scores separate positives from negatives; None where one of the two is absent.

    Args:
        scores: Higher means positive; none may be NaN.
        is_positive: The truth.
        clusters: Rows with the same number are drawn together; None: each for itself.
        n_resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: if the shapes do not fit or a score is NaN.
    """
    if scores.shape != is_positive.shape or np.isnan(scores).any():
        raise ValueError(
            f"scores {scores.shape} and labels {is_positive.shape} must fit, and no score may be NaN."
        )
    n_positive = int(is_positive.sum())
    n_negative = len(scores) - n_positive
    if not n_positive or not n_negative:
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, positive = scores[order], is_positive[order]
    starts = np.flatnonzero(np.append(True, np.diff(ranked) != 0))
    hits, alarms = by_threshold(np.ones((1, len(scores))), positive, starts)
    areas: list[NDArray[np.float64]] = []
    rocs, precisions = [], []
    draws = (
        resampled_rows(~positive, n_resamples, seed)
        if clusters is None
        else resampled_clusters(clusters[order], ~positive, n_resamples, seed)
    )
    for weights in draws:
        drawn = by_threshold(weights, positive, starts)
        areas.append(np.stack([area_under_roc(*drawn), average_precision(*drawn)]))
        for each_hits, each_alarms in zip(*drawn, strict=True):
            rocs.append(np.interp(_GRID, *_roc(each_hits, each_alarms)))
            precisions.append(_precision_at(_GRID, each_hits, each_alarms))
    auroc, auprc = np.concatenate(areas, axis=1)
    return Separation(
        n_positive=n_positive,
        n_negative=n_negative,
        auroc=_estimate(float(area_under_roc(hits, alarms)[0]), auroc),
        auprc=_estimate(float(average_precision(hits, alarms)[0]), auprc),
        roc=Curve(*_roc(hits[0], alarms[0]), _GRID, *ends(np.array(rocs))),
        pr=Curve(*_pr(hits[0], alarms[0]), _GRID, *ends(np.array(precisions))),
    )


def roc_points(
    scores: Float64[np.ndarray, " n"], is_positive: Bool[np.ndarray, " n"]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return false and true positive rates at every threshold, from (0, 0) to (1, 1); equal scores move together."""
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) != 0))
    hits, alarms = by_threshold(np.ones((1, len(scores))), is_positive[order], starts)
    return _roc(hits[0], alarms[0])


def bootstrap_estimate(value: float, resampled: NDArray[np.float64]) -> Estimate:
    """Return a value with the percentile interval of its resamples."""
    return _estimate(value, resampled)


def _roc(
    hits: NDArray[np.float64], alarms: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.append(0.0, alarms / max(alarms[-1], 1)), np.append(0.0, hits / max(hits[-1], 1))


def _pr(
    hits: NDArray[np.float64], alarms: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return recall and precision at each threshold; the curve begins at recall 0 with its first precision."""
    precision = hits / np.maximum(hits + alarms, 1)
    return np.append(0.0, hits / hits[-1]), np.append(precision[0], precision)


def _precision_at(
    recalls: NDArray[np.float64], hits: NDArray[np.float64], alarms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the precision at the first threshold that reaches each recall."""
    place = np.searchsorted(hits, recalls * hits[-1] - 1e-9).clip(max=len(hits) - 1)
    precision: NDArray[np.float64] = hits[place] / np.maximum(hits[place] + alarms[place], 1)
    return precision


def _estimate(value: float, resampled: NDArray[np.float64]) -> Estimate:
    low, high = ends(resampled)
    return Estimate(value, float(low), float(high))
