"""Frozen embeddings of sequences, each computed once, batched by length."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from genomix.heads.sequence_model import SequenceModel
from genomix_data.table_dataset import pad_right

BATCH_TOKENS = 1 << 15
"""Tokens of a batch, padding included; little enough for a CPU's caches, and no result depends on it."""


@torch.inference_mode()
def pooled_embeddings(
    model: SequenceModel,
    ids: Sequence[UInt8[NDArray[np.uint8], " L"]],
    pad_id: int,
    *,
    device: torch.device | str = "cpu",
    batch_tokens: int = BATCH_TOKENS,
    advance: Callable[[int], None] = lambda done: None,
) -> Float[NDArray[np.float32], "n D"]:
    """Return the pooled hidden states of every sequence, in their order; no dropout, no gradients.

    Args:
        model: On ``device``; left in the mode (train or eval) that it was in.
        ids: Token ids of each sequence.
        pad_id: Id that fills batches up.
        device: Where to compute.
        batch_tokens: Largest batch, in tokens; a longer sequence is a batch of its own.
        advance: Called after every batch with the number of its sequences.
    """
    was_training = model.training
    model.eval()
    result = np.empty((len(ids), model.head.in_features), dtype=np.float32)
    for rows in batches_by_length([len(row) for row in ids], batch_tokens):
        batch, lengths = pad_right([ids[row] for row in rows], pad_id)
        result[rows] = model.embed(batch.to(device), lengths.to(device)).float().cpu().numpy()
        advance(len(rows))
    model.train(was_training)
    return result


def batches_by_length(lengths: Sequence[int], batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each batch: like lengths together, short ones first, at most ``batch_tokens`` when padded."""
    order = np.argsort(lengths, kind="stable")
    first = 0
    for place, row in enumerate(order):
        if place > first and (place + 1 - first) * lengths[row] > batch_tokens:
            yield order[first:place]
            first = place
    if first < len(order):
        yield order[first:]
