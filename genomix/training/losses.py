"""What the training of a head minimises."""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from genomix_data.lm_batch import IGNORED

RegressionLoss = Literal["mse", "huber", "poisson"]


def classification_loss(
    logits: Float[Tensor, "B C"],
    labels: Int64[Tensor, " B"],
    class_weights: Float[Tensor, " C"] | None = None,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of a batch, in nats.

    The sum is divided by the number of sequences, never by the sum of their weights, so that a sequence counts the
    same in every batch.
    """
    each = F.cross_entropy(
        logits, labels, weight=class_weights, label_smoothing=label_smoothing, reduction="none"
    )
    return each.mean()


def multilabel_loss(
    logits: Float[Tensor, "B C"],
    targets: Float[Tensor, "B C"],
    positive_weights: Float[Tensor, " C"] | None = None,
) -> Float[Tensor, ""]:
    """Return the mean binary cross-entropy of the labels that are known, in nats.

    Args:
        logits: One a label.
        targets: 0 or 1; NaN where it is not known, which has no part in the loss.
        positive_weights: Weight of each label where it is 1, for rare ones.
    """
    is_known = targets.isfinite()
    each = F.binary_cross_entropy_with_logits(
        logits, targets.where(is_known, 0.0), pos_weight=positive_weights, reduction="none"
    )
    return _mean_of(each, is_known)


def regression_loss(
    outputs: Float[Tensor, "B T"], targets: Float[Tensor, "B T"], form: RegressionLoss = "mse"
) -> Float[Tensor, ""]:
    """Return the mean loss of the targets that are known.

    Args:
        outputs: One a target; with ``poisson`` the logarithm of the expected count.
        targets: NaN where one is not known, which has no part in the loss.
        form: ``mse``, ``huber`` (linear beyond an error of 1) or ``poisson`` (up to a constant, in nats).
    """
    is_known = targets.isfinite()
    known = targets.where(is_known, 0.0)
    if form == "mse":
        each = F.mse_loss(outputs, known, reduction="none")
    elif form == "huber":
        each = F.huber_loss(outputs, known, reduction="none")
    elif form == "poisson":
        each = F.poisson_nll_loss(outputs, known, log_input=True, reduction="none")
    else:
        raise ValueError(f"the loss {form!r} is not known; there are mse, huber and poisson.")
    return _mean_of(each, is_known)


def token_loss(
    logits: Float[Tensor, "B L C"],
    labels: Int64[Tensor, "B L"],
    class_weights: Float[Tensor, " C"] | None = None,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the bases that have a label, in nats; `IGNORED` stands where there is none."""
    each = F.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), weight=class_weights, ignore_index=IGNORED, reduction="none"
    )
    return _mean_of(each, labels.flatten() != IGNORED)


def _mean_of(each: Tensor, is_known: Tensor) -> Tensor:
    # nothing known has no loss, rather than 0 / 0
    return torch.where(is_known, each, 0.0).sum() / is_known.sum().clamp(min=1)
