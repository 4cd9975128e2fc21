"""How good predictions of several targets are, over a whole set at once; targets that are NaN are left out.

A metric that is not defined (a label of one class only, a target that does not vary) is None, and means and medians are
over the targets where it is.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from genomix.correlation import correlation, mean_ranks
from genomix.training.metrics import average_precision, binary_auroc


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


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiLabelMetrics:
    """Of a multi-label task; means and medians are over the labels where a metric is defined.

    Args:
        n: Sequences.
        loss: Mean binary cross-entropy of the labels that are known, in nats.
        labels: Of each label.
    """

    n: int
    loss: float
    labels: tuple[LabelMetrics, ...]

    def value(self, name: str) -> float | None:
        """Return the mean of a metric (``auroc``, ``auprc``) over the labels, or its ``median_auroc``."""
        found = summary(self.labels)
        kind, metric = ("median", name[7:]) if name.startswith("median_") else ("mean", name)
        return found[metric][kind]

    def headline(self) -> list[tuple[str, float | None]]:
        """Return names for people and values, the most telling first."""
        return [
            ("AUROC (mean over labels)", self.value("auroc")),
            ("AUROC (median)", self.value("median_auroc")),
            ("AUPRC (mean)", self.value("auprc")),
            ("AUPRC (median)", self.value("median_auprc")),
            ("cross-entropy (nats)", self.loss),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON holds them."""
        means = {name: self.value(name) for name in ("auroc", "median_auroc", "auprc", "median_auprc")}
        return {"n": self.n, "loss": self.loss, **means, "labels": [asdict(label) for label in self.labels]}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionMetrics:
    """Of a regression; means are over the targets where a metric is defined.

    Args:
        n: Sequences.
        loss: Mean squared error over the targets that are known.
        targets: Of each target.
    """

    n: int
    loss: float
    targets: tuple[TargetMetrics, ...]

    def value(self, name: str) -> float | None:
        """Return the mean of a metric (``pearson``, ``spearman``, ``r2``, ``mse``, ``mae``) over the targets."""
        return summary(self.targets)[name]["mean"]

    def headline(self) -> list[tuple[str, float | None]]:
        """Return names for people and values, the most telling first."""
        names = {"pearson": "Pearson", "spearman": "Spearman", "r2": "R2", "mae": "mean absolute error"}
        mean = " (mean over targets)" if len(self.targets) > 1 else ""
        found = [(f"{words}{mean}", self.value(name)) for name, words in names.items()]
        return [*found, ("mean squared error", self.loss)]

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON holds them."""
        means = {name: self.value(name) for name in ("pearson", "spearman", "r2", "mse", "mae")}
        return {
            "n": self.n,
            "loss": self.loss,
            **means,
            "targets": [asdict(target) for target in self.targets],
        }


def multilabel_metrics(
    probabilities: Float64[np.ndarray, "n C"],
    targets: Float64[np.ndarray, "n C"],
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
    predicted: Float64[np.ndarray, "n T"],
    targets: Float64[np.ndarray, "n T"],
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


def metrics_of_labels(
    probabilities: Float64[np.ndarray, "n C"],
    targets: Float64[np.ndarray, "n C"],
    names: Sequence[str],
) -> MultiLabelMetrics:
    """Return the metrics of a multi-label task; arguments and errors as `multilabel_metrics`."""
    labels = multilabel_metrics(probabilities, targets, names)
    known = np.isfinite(targets)
    chosen = np.where(targets == 1, probabilities, 1 - probabilities)[known]
    loss = float(-np.log(np.clip(chosen, np.finfo(np.float64).tiny, None)).mean())
    return MultiLabelMetrics(n=len(targets), loss=loss, labels=labels)


def metrics_of_numbers(
    predicted: Float64[np.ndarray, "n T"],
    targets: Float64[np.ndarray, "n T"],
    names: Sequence[str],
) -> RegressionMetrics:
    """Return the metrics of a regression; arguments and errors as `regression_metrics`."""
    each = regression_metrics(predicted, targets, names)
    loss = float(np.square(predicted - targets)[np.isfinite(targets)].mean())
    return RegressionMetrics(n=len(targets), loss=loss, targets=each)


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


def _check(predicted: NDArray[np.float64], targets: NDArray[np.float64], names: Sequence[str]) -> None:
    if predicted.shape != targets.shape or predicted.shape[1:] != (len(names),):
        raise ValueError(
            f"predictions {predicted.shape}, targets {targets.shape} and {len(names)} names do not describe the same "
            "sequences"
        )
