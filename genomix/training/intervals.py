"""Bootstrap intervals of test metrics: what a test set of this size leaves open, for one model or the mean of several.

A resample draws test sequences with replacement, within each class where sequences have classes, so that each has as
many of every class as the data; the bases of a sequence are drawn together. All models see the same resamples, so that
their mean is judged on the same sequences. Spread between seeds is another thing, and reported beside it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from genomix.evaluation.confusion import matthews
from genomix.evaluation.resampling import (
    N_RESAMPLES,
    area_under_roc,
    average_precision,
    by_threshold,
    ends,
    resampled_clusters,
    resampled_rows,
)
from genomix.heads.sequence_model import HeadKind

_WORK = 2e8
"""Scores that are looked at in all; beyond that, fewer resamples are drawn, at least `_FEWEST`."""
_FEWEST = 100

Values = dict[str, NDArray[np.float64]]


def bootstrap_intervals(
    scores: Sequence[Float64[np.ndarray, "n C"]],
    truth: NDArray[Any],
    kind: HeadKind,
    *,
    sequence: Int64[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Return the ends of the 95 % percentile interval of each metric's mean over the models.

    Args:
        scores: Of each model, in the same order of the test.
        truth: Class indices; negative ones are left out. Numbers ``(n, T)`` of a regression.
        kind: What they mean. Of several labels there are no intervals: each has its own test set.
        sequence: Of each row, where several are of one sequence: these are drawn together.
        seed: Of the resamples.

    Returns:
        By metric: ``auroc``, ``auprc``, ``accuracy``, ``mcc``, ``f1``; of a regression ``pearson``, ``r2``, ``mse``. A
        metric that some resample leaves undefined is not among them.
    """
    if kind == "multilabel" or not len(truth):
        return {}
    if kind == "regressor":
        strata = np.zeros(len(truth), dtype=np.int64)
    else:
        known = truth >= 0
        truth, scores = truth[known], [each[known] for each in scores]
        sequence = None if sequence is None else sequence[known]
        strata = truth
    if not len(truth):
        return {}
    n_resamples = int(np.clip(_WORK / (len(truth) * len(scores)), _FEWEST, N_RESAMPLES))
    models = [
        _Regression(each, truth) if kind == "regressor" else _Classification(each, truth) for each in scores
    ]
    drawn: dict[str, list[NDArray[np.float64]]] = {}
    draws = (
        resampled_rows(strata, n_resamples, seed)
        if sequence is None
        else resampled_clusters(sequence, strata, n_resamples, seed)
    )
    for weights in draws:
        found = [model.resampled(weights) for model in models]
        for name in found[0]:
            drawn.setdefault(name, []).append(np.mean([values[name] for values in found], axis=0))
    intervals: dict[str, tuple[float, float]] = {}
    for name, parts in drawn.items():
        values = np.concatenate(parts)
        if np.isfinite(values).all():
            low, high = ends(values)
            intervals[name] = (float(low), float(high))
    return intervals


class _Classification:
    def __init__(self, scores: NDArray[np.float64], truth: NDArray[np.int64]) -> None:
        self.n_classes = scores.shape[1]
        self.cells = truth * self.n_classes + scores.argmax(axis=1)
        classes = [1] if self.n_classes == 2 else range(self.n_classes)
        self.ranked = [
            _Ranked(scores[:, c], truth == c) for c in classes if 0 < (truth == c).sum() < len(truth)
        ]

    def resampled(self, weights: NDArray[np.float64]) -> Values:
        c = self.n_classes
        cells = np.stack([weights[:, self.cells == cell].sum(axis=1) for cell in range(c * c)], axis=1)
        confusion = cells.reshape(-1, c, c)
        n = confusion.sum(axis=(1, 2))
        hits = np.diagonal(confusion, axis1=1, axis2=2)
        total = confusion.sum(axis=1) + confusion.sum(axis=2)
        with np.errstate(invalid="ignore", divide="ignore"):
            each = 2 * hits / total
        f1 = np.nan_to_num(each[:, 1]) if c == 2 else np.nanmean(each, axis=1)
        values: Values = {
            "accuracy": hits.sum(axis=1) / n,
            "mcc": matthews(confusion.round().astype(np.int64)),
            "f1": f1,
        }
        if self.ranked:
            areas = [ranked.areas(weights) for ranked in self.ranked]
            values["auroc"] = np.mean([auroc for auroc, _ in areas], axis=0)
            values["auprc"] = np.mean([auprc for _, auprc in areas], axis=0)
        return values


class _Ranked:
    """Scores in falling order; equal ones are one threshold."""

    def __init__(self, scores: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> None:
        self.order = np.argsort(-scores, kind="stable")
        self.positive = is_positive[self.order]
        self.starts = np.flatnonzero(np.append(True, np.diff(scores[self.order]) != 0))

    def areas(self, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the areas under the ROC and the precision-recall curve for each row of weights."""
        found = by_threshold(weights[:, self.order], self.positive, self.starts)
        return area_under_roc(*found), average_precision(*found)


class _Regression:
    def __init__(self, scores: NDArray[np.float64], truth: NDArray[np.float64]) -> None:
        self.scores, self.truth = scores, truth

    def resampled(self, weights: NDArray[np.float64]) -> Values:
        found: dict[str, list[NDArray[np.float64]]] = {"pearson": [], "r2": [], "mse": []}
        for x, y in zip(self.scores.T, self.truth.T, strict=True):
            known = np.isfinite(y)
            # about the mean of the truth, or rounding would give a target that does not vary a variance
            w, x, y = weights[:, known], x[known] - y[known].mean(), y[known] - y[known].mean()
            n = np.maximum(w.sum(axis=1), 1)
            mean_x, mean_y = w @ x / n, w @ y / n
            var_x, var_y = w @ (x * x) / n - mean_x**2, w @ (y * y) / n - mean_y**2
            covariance = w @ (x * y) / n - mean_x * mean_y
            mse = w @ np.square(x - y) / n
            with np.errstate(invalid="ignore", divide="ignore"):
                found["pearson"].append(covariance / np.sqrt(var_x * var_y))
                found["r2"].append(1 - mse / var_y)
            found["mse"].append(mse)
        return {name: np.mean(values, axis=0) for name, values in found.items()}
