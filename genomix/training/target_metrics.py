"""How good predictions of several targets are, over a whole set at once; targets that are NaN are left out.

A metric that is not defined (a label of one class only, a target that does not vary) is None, and means and medians are
over the targets where it is.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from genomix.correlation import correlation, mean_ranks
from genomix.training.metrics import binary_auroc


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMetrics:
    """Of one label.

    Args:
        name: Of the label.
        n: Sequences of which it is known.
        n_positive: Those of which it is 1.
        auroc: Area under the ROC curve, ties counting half.
        auprc: Average precision: the mean, over the positives, of the precision at each.
    """

    name: str
    n: int
    n_positive: int
    auroc: float | None
    auprc: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetMetrics:
    """Of one number.

    Args:
        name: Of the target.
        n: Sequences of which it is known.
        mse: Mean squared error.
        mae: Mean absolute error.
        r2: Part of the variance that is explained, ``1 - mse / variance``; negative where the mean would be better.
        pearson: Correlation.
        spearman: Correlation of the ranks.
    """

    name: str
    n: int
    mse: float | None
    mae: float | None
    r2: float | None
    pearson: float | None
    spearman: float | None


def multilabel_metrics(
    probabilities: Float[NDArray[np.float64], "n C"],
    targets: Float[NDArray[np.float64], "n C"],
    names: Sequence[str],
) -> tuple[LabelMetrics, ...]:
    """Return the metrics of each label.

    Args:
        probabilities: Or any scores that rise with them.
        targets: 0 or 1; NaN where it is not known.
        names: Of the labels.

    Raises:
        ValueError: if the shapes do not fit, or a target is another number.
    """
    _check(probabilities, targets, names)
    known = targets[np.isfinite(targets)]
    if not np.isin(known, (0, 1)).all():
        wrong = known[~np.isin(known, (0, 1))][0]
        raise ValueError(f"a target of a multi-label task is {wrong:g}; it must be 0, 1 or missing.")
    found = []
    for column, name in enumerate(names):
        rows = np.isfinite(targets[:, column])
        scores, is_positive = probabilities[rows, column], targets[rows, column] == 1
        found.append(
            LabelMetrics(
                name=name,
                n=int(rows.sum()),
                n_positive=int(is_positive.sum()),
                auroc=binary_auroc(scores, is_positive),
                auprc=average_precision(scores, is_positive),
            )
        )
    return tuple(found)


def regression_metrics(
    predicted: Float[NDArray[np.float64], "n T"],
    targets: Float[NDArray[np.float64], "n T"],
    names: Sequence[str],
) -> tuple[TargetMetrics, ...]:
    """Return the metrics of each target.

    Args:
        predicted: On the scale of the targets.
        targets: NaN where one is not known.
        names: Of the targets.

    Raises:
        ValueError: if the shapes do not fit.
    """
    _check(predicted, targets, names)
    found = []
    for column, name in enumerate(names):
        rows = np.isfinite(targets[:, column])
        x, y = predicted[rows, column], targets[rows, column]
        mse = float(np.square(x - y).mean()) if len(y) else None
        variance = float(y.var()) if len(y) else 0.0
        found.append(
            TargetMetrics(
                name=name,
                n=len(y),
                mse=mse,
                mae=float(np.abs(x - y).mean()) if len(y) else None,
                r2=None if mse is None or variance == 0 else 1 - mse / variance,
                pearson=correlation(x, y),
                spearman=correlation(mean_ranks(x), mean_ranks(y)) if len(y) else None,
            )
        )
    return tuple(found)


def summary(metrics: Sequence[LabelMetrics | TargetMetrics]) -> dict[str, dict[str, float | None]]:
    """Return mean and median over the targets of every metric: ``{"auroc": {"mean": ..., "median": ...}, ...}``.

    Published chromatin profiles are compared by the median AUROC.
    """
    tables: list[dict[str, Any]] = [asdict(metric) for metric in metrics]
    result: dict[str, dict[str, float | None]] = {}
    for key in [key for key in tables[0] if key not in ("name", "n", "n_positive")] if tables else []:
        values = [table[key] for table in tables if table[key] is not None]
        result[key] = {
            "mean": float(np.mean(values)) if values else None,
            "median": float(np.median(values)) if values else None,
        }
    return result


def average_precision(
    scores: Float[NDArray[np.float64], " n"], is_positive: NDArray[np.bool_]
) -> float | None:
    """Return the area under the precision-recall curve in steps, equal scores together; None without positives."""
    n_positive = int(is_positive.sum())
    if n_positive == 0:
        return None
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(is_positive[order])
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # last place of each group of equals
    precision, recall = hits[ends] / (ends + 1), hits[ends] / n_positive
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def _check(predicted: NDArray[np.float64], targets: NDArray[np.float64], names: Sequence[str]) -> None:
    if predicted.shape != targets.shape or predicted.shape[1:] != (len(names),):
        raise ValueError(
            f"predictions {predicted.shape}, targets {targets.shape} and {len(names)} names do not describe the same "
            "sequences"
        )
