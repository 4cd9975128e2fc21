"""How good a classifier is, over a whole set at once (a mean of per-batch values is another number).

Undefined cases are decided here, and said in ``notes``: MCC is 0 when all labels or all predictions are of one class;
F1 of a class that occurs is 0 when it is never predicted; AUROC is None when the labels have one class only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from genomix.correlation import mean_ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationMetrics:
    """Metrics over a whole set.

    Args:
        n: Number of sequences.
        loss: Mean cross-entropy, in nats.
        accuracy: Part of the sequences whose most probable class is theirs.
        mcc: Matthews correlation; for several classes R_K (Gorodkin 2004).
        f1: Of the second class for two classes; the mean over the classes that occur for more.
        auroc: Area under the ROC curve of the second class for two classes (ties count half); for more, the mean over
            classes against the rest; None where it is not defined.
        auprc: Average precision, of the same classes as ``auroc``.
        confusion: Counts, row = true class, column = predicted class.
        class_names: Names of the classes.
        notes: What was undefined and how it was decided.
    """

    n: int
    loss: float
    accuracy: float
    mcc: float
    f1: float
    auroc: float | None
    confusion: tuple[tuple[int, ...], ...]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    auprc: float | None = None

    def value(self, name: str) -> float | None:
        """Return a metric by its name; None where it is not defined."""
        found: float | None = getattr(self, name)
        return found

    def headline(self) -> list[tuple[str, float | None]]:
        """Return names for people and values, the most telling first."""
        f1 = "F1" if len(self.class_names) == 2 else "F1 (macro)"
        return [
            ("accuracy", self.accuracy),
            ("MCC", self.mcc),
            (f1, self.f1),
            ("AUROC", self.auroc),
            ("AUPRC", self.auprc),
            ("cross-entropy (nats)", self.loss),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON holds them."""
        return {
            "n": self.n,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "mcc": self.mcc,
            "f1": self.f1,
            "auroc": self.auroc,
            "auprc": self.auprc,
            "confusion": [list(row) for row in self.confusion],
            "class_names": list(self.class_names),
            "notes": list(self.notes),
        }


def classification_metrics(
    probabilities: Float64[np.ndarray, "n C"],
    labels: Int64[np.ndarray, " n"],
    class_names: Sequence[str],
) -> ClassificationMetrics:
    """Return the metrics of predicted class probabilities.

    Args:
        probabilities: One row a sequence; the prediction is the most probable class, the first of equals.
        labels: True class indices.
        class_names: Names of the classes, in the order of the columns.

    Raises:
        ValueError: if there is nothing to score, or the shapes do not fit.
    """
    n, n_classes = probabilities.shape
    if n == 0 or labels.shape != (n,) or len(class_names) != n_classes:
        raise ValueError(
            f"probabilities {probabilities.shape}, labels {labels.shape} and {len(class_names)} class names do not "
            "describe the same sequences"
        )
    predicted = probabilities.argmax(axis=1)
    confusion = np.bincount(labels * n_classes + predicted, minlength=n_classes**2).reshape(
        n_classes, n_classes
    )
    notes: list[str] = []
    f1_by_class = _f1(confusion)
    if n_classes == 2:
        f1 = float(np.nan_to_num(f1_by_class[1]))
        if math.isnan(f1_by_class[1]):
            notes.append(f"F1 is 0: {class_names[1]!r} neither occurs nor is predicted")
    else:
        f1 = float(np.nanmean(f1_by_class))
    chosen = np.clip(probabilities[np.arange(n), labels], np.finfo(np.float64).tiny, None)
    return ClassificationMetrics(
        n=n,
        loss=float(-np.log(chosen).mean()),
        accuracy=float(np.trace(confusion) / n),
        mcc=_mcc(confusion, notes),
        f1=f1,
        auroc=_auroc(probabilities, labels, class_names, notes),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        class_names=tuple(class_names),
        notes=tuple(notes),
        auprc=_auprc(probabilities, labels, n_classes),
    )


def _mcc(confusion: NDArray[np.int64], notes: list[str]) -> float:
    true, predicted = (confusion.sum(axis=axis).astype(np.float64) for axis in (1, 0))
    n = float(confusion.sum())
    covariance = np.trace(confusion) * n - true @ predicted
    spread = (n * n - predicted @ predicted) * (n * n - true @ true)
    if spread == 0:
        notes.append("MCC is 0: all labels, or all predictions, are of one class")
        return 0.0
    return float(covariance / math.sqrt(spread))


def _f1(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """F1 of each class; NaN for a class that neither occurs nor is predicted."""
    hits = np.diag(confusion).astype(np.float64)
    total = (confusion.sum(axis=0) + confusion.sum(axis=1)).astype(np.float64)
    f1: NDArray[np.float64] = np.divide(2 * hits, total, out=np.full(len(hits), np.nan), where=total > 0)
    return f1


def _auroc(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    notes: list[str],
) -> float | None:
    classes = [1] if len(class_names) == 2 else range(len(class_names))
    areas = [binary_auroc(probabilities[:, c], labels == c) for c in classes]
    defined = [area for area in areas if area is not None]
    if not defined:
        notes.append("AUROC is not defined: the labels have one class only")
        return None
    if len(defined) < len(areas):
        absent = [class_names[c] for c, area in zip(classes, areas, strict=True) if area is None]
        notes.append(f"AUROC is the mean over the classes that occur; without {', '.join(absent)}")
    return float(np.mean(defined))


def _auprc(probabilities: NDArray[np.float64], labels: NDArray[np.int64], n_classes: int) -> float | None:
    """Mean over the classes that ``_auroc`` looks at and that both occur and do not fill the set."""
    classes = [1] if n_classes == 2 else range(n_classes)
    both = [c for c in classes if 0 < int((labels == c).sum()) < len(labels)]
    areas = [average_precision(probabilities[:, c], labels == c) for c in both]
    return float(np.mean([area for area in areas if area is not None])) if areas else None


class Metrics(Protocol):
    """What all kinds of metrics have in common."""

    @property
    def n(self) -> int:
        """Things that were scored."""
        ...

    @property
    def loss(self) -> float:
        """Mean loss."""
        ...

    def value(self, name: str) -> float | None:
        """Return a metric by its name; None where it is not defined."""
        ...

    def headline(self) -> list[tuple[str, float | None]]:
        """Return names for people and values, the most telling first."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON holds them."""
        ...


def rank(metrics: Metrics, monitor: str) -> tuple[float, float]:
    """Return what makes one epoch or setting better than another: the monitored metric, then the smaller loss."""
    if monitor == "loss":
        return (-metrics.loss, 0.0)
    value = metrics.value(monitor)
    return (-math.inf if value is None else float(value), -metrics.loss)


def binary_auroc(scores: Float64[np.ndarray, " n"], is_positive: NDArray[np.bool_]) -> float | None:
    """Return the chance that a positive scores above a negative, ties counting half; None without one of each."""
    n_positive = int(is_positive.sum())
    n_negative = len(scores) - n_positive
    if n_positive == 0 or n_negative == 0:
        return None
    rank_sum = float(mean_ranks(scores)[is_positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def average_precision(scores: Float64[np.ndarray, " n"], is_positive: NDArray[np.bool_]) -> float | None:
    """Return the area under the precision-recall curve in steps, equal scores together; None without positives."""
    n_positive = int(is_positive.sum())
    if n_positive == 0:
        return None
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(is_positive[order])
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # last place of each group of equals
    precision, recall = hits[ends] / (ends + 1), hits[ends] / n_positive
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
