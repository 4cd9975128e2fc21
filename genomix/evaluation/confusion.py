"""What a confusion matrix says of each class and of all, with bootstrap intervals.

A resample draws, for each true class, as many predictions as it has sequences, so intervals are of a test set with the
same number of each class; of bases, which are no independent draws, it draws whole sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from genomix.evaluation.ranking import Estimate, bootstrap_estimate
from genomix.evaluation.resampling import N_RESAMPLES

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClassRates:
    """How one class fares.

    Attributes:
        name: Of the class.
        n: Sequences that are of it.
        n_predicted: Sequences that are said to be of it.
        precision: Part of those said to be of it that are.
        recall: Part of those of it that are found.
        specificity: Part of the others that are not said to be of it.
        f1: Harmonic mean of precision and recall.
    """

    name: str
    n: int
    n_predicted: int
    precision: Estimate
    recall: Estimate
    specificity: Estimate
    f1: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return the rates as JSON holds them."""
        rates = {name: getattr(self, name).to_dict() for name in ("precision", "recall", "specificity", "f1")}
        return {"name": self.name, "n": self.n, "n_predicted": self.n_predicted, **rates}


@dataclass(frozen=True, slots=True)
class ConfusionRates:
    """Accuracy and Matthews correlation of all classes, and the rates of each."""

    accuracy: Estimate
    balanced_accuracy: Estimate
    mcc: Estimate
    macro_f1: Estimate
    classes: tuple[ClassRates, ...]


def confusion_rates(
    confusion: Int64[np.ndarray, "C C"],
    class_names: Sequence[str],
    *,
    by_sequence: Int64[np.ndarray, "S C C"] | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> ConfusionRates:
    """Return the rates of a confusion matrix; a rate that divides by nothing is 0.

    Args:
        confusion: Rows are the true class, columns the predicted one.
        class_names: The C names.
        by_sequence: Of single bases, the part of the matrix that each sequence adds.
        n_resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    if by_sequence is None:
        rows = [
            rng.multinomial(row.sum(), row / max(row.sum(), 1), size=n_resamples)
            if row.sum()
            else np.zeros((n_resamples, len(row)), dtype=np.int64)
            for row in confusion
        ]
        drawn = np.stack(rows, axis=1)  # (B, C, C)
    else:
        n_sequences = len(by_sequence)
        often = rng.multinomial(n_sequences, np.full(n_sequences, 1 / n_sequences), size=n_resamples)
        drawn = np.tensordot(often, by_sequence, axes=1)
    both = np.concatenate([confusion[None], drawn])

    def estimate(values: NDArray[np.float64]) -> Estimate:
        return bootstrap_estimate(float(values[0]), values[1:])

    true, predicted = both.sum(axis=2), both.sum(axis=1)
    hits = np.diagonal(both, axis1=1, axis2=2)
    n = both.sum(axis=(1, 2))
    precision, recall = _ratio(hits, predicted), _ratio(hits, true)
    f1 = _ratio(2 * hits, true + predicted)
    specificity = _ratio(n[:, None] - true - predicted + hits, n[:, None] - true)
    occurs = true[0] > 0
    counts_in_f1 = (true + predicted) > 0
    return ConfusionRates(
        accuracy=estimate(hits.sum(axis=1) / n),
        balanced_accuracy=estimate(recall[:, occurs].mean(axis=1)),
        mcc=estimate(matthews(both)),
        macro_f1=estimate(f1.sum(axis=1) / counts_in_f1.sum(axis=1)),
        classes=tuple(
            ClassRates(
                name,
                int(true[0, index]),
                int(predicted[0, index]),
                *(estimate(rate[:, index]) for rate in (precision, recall, specificity, f1)),
            )
            for index, name in enumerate(class_names)
        ),
    )


def matthews(confusions: Int64[np.ndarray, "B C C"]) -> Float64[np.ndarray, " B"]:
    """Return Gorodkin's R_K of confusion matrices; 0 where all labels or all predictions are of one class."""
    true = confusions.sum(axis=2).astype(np.float64)
    predicted = confusions.sum(axis=1).astype(np.float64)
    n = true.sum(axis=1)
    covariance = np.trace(confusions, axis1=1, axis2=2) * n - (true * predicted).sum(axis=1)
    spread = (n * n - (predicted**2).sum(axis=1)) * (n * n - (true**2).sum(axis=1))
    result: NDArray[np.float64] = np.divide(
        covariance, np.sqrt(spread), out=np.zeros(len(n)), where=spread > 0
    )
    return result


def _ratio(part: Counts, whole: Counts) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)
    return result
