"""What pretraining minimises: next-token cross-entropy, without all logits of a long input at once.

Logits of more tokens than `LOGITS_AT_ONCE` allows are made piece by piece, and again in the backward pass: gradients
are those of the whole, and memory does not grow with the input.
"""

from typing import Protocol

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from genomix.inference.likelihood import Unembedding
from genomix.models.families import AnyConfig, logit_rows
from genomix.operators.recompute import recomputed
from genomix.training.fasta_config import SoftMaskLoss
from genomix_data.lm_batch import NO_TARGET

LOGITS_AT_ONCE = 1 << 26
"""Logits that exist together: a quarter of a gigabyte in fp32, and three times that in the backward pass."""


class _Model(Unembedding, Protocol):
    @property
    def config(self) -> AnyConfig: ...


def next_token_loss(
    model: _Model,
    hidden: Float[Tensor, "B L D"],
    targets: UInt8[Tensor, "B L"],
    weights: Float[Tensor, "B L"] | None = None,
    form: SoftMaskLoss = "weighted",
    *,
    logits_at_once: int = LOGITS_AT_ONCE,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the targets, in nats, over all rows of the vocabulary; softmax in fp32.

    Args:
        model: What turns hidden states into logits.
        hidden: Hidden state at each input.
        targets: Id of the token after each input; `NO_TARGET` where nothing is to be predicted.
        weights: Of each target; None where all are 1.
        form: ``weighted`` is ``sum(w_i CE_i) / N`` over the N targets, ``normalized_weighted`` is over ``sum(w_i)``.
        logits_at_once: Logits that exist together.

    Source: the two losses that Evo 2 was trained with (Brixi et al. 2025).
    """
    total, count = next_token_sums(model, hidden, targets, weights, form, logits_at_once=logits_at_once)
    # A batch of nothing but N, or of no weight, has no loss, rather than 0 / 0.
    return total / torch.where(count > 0, count, 1)


def next_token_sums(
    model: _Model,
    hidden: Float[Tensor, "B L D"],
    targets: UInt8[Tensor, "B L"],
    weights: Float[Tensor, "B L"] | None = None,
    form: SoftMaskLoss = "weighted",
    *,
    logits_at_once: int = LOGITS_AT_ONCE,
) -> tuple[Float[Tensor, ""], Tensor]:
    """Return the sum of `next_token_loss` and what it is to be divided by, for parts of a batch on several devices."""
    states, flat = hidden.flatten(0, 1), targets.flatten()
    counted = flat != NO_TARGET
    kept = None if weights is None else weights.flatten() * counted

    def piece_sum(states: Tensor, flat: Tensor, *kept: Tensor) -> Tensor:
        return cross_entropy_sum(model.logits(states), flat, *kept)

    size = max(1, logits_at_once // logit_rows(model.config))
    if len(flat) <= size:
        total = piece_sum(states, flat, *([] if kept is None else [kept]))
    else:
        parts = [states, flat, *([] if kept is None else [kept])]
        pieces = zip(*(torch.split(part, size) for part in parts), strict=True)
        sums = [recomputed(piece_sum, *piece, has_dropout=False) for piece in pieces]
        total = torch.stack(sums).sum()
    return total, kept.sum() if kept is not None and form == "normalized_weighted" else counted.sum()


def cross_entropy_sum(
    logits: Float[Tensor, "N V"], targets: UInt8[Tensor, " N"], weights: Float[Tensor, " N"] | None = None
) -> Float[Tensor, ""]:
    """Return the sum of the cross-entropies in nats, each times its weight; softmax in fp32.

    Args:
        logits: In any precision.
        targets: Ids; `NO_TARGET` where there is none.
        weights: Of each target.
    """
    labels = targets.long()
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if weights is None and not logits.is_cuda:
        return F.cross_entropy(precise, labels, ignore_index=NO_TARGET, reduction="sum")
    # On CUDA torch adds up within the loss in one thread block, which takes longer than all the rest.
    each = F.cross_entropy(precise, labels, ignore_index=NO_TARGET, reduction="none")
    return each.sum() if weights is None else (weights * each).sum()
