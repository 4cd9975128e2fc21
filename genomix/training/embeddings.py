"""Frozen embeddings of sequences, each computed once, batched by length."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32

from genomix.heads.sequence_model import SequenceModel
from genomix.inference.examples import Examples
from genomix.inference.head_scores import batches_by_length, evaluating


@torch.inference_mode()
def pooled_embeddings(
    model: SequenceModel,
    examples: Examples,
    *,
    both_strands: bool = False,
    advance: Callable[[int], None] = lambda done: None,
) -> Float32[np.ndarray, "n E"]:
    """Return the input of the head for every sequence, in their order; no dropout, no gradients.

    Args:
        model: On the device of the examples; left in the mode (train or eval) that it was in.
        examples: The sequences.
        both_strands: Their reverse complements as well, after all of them: ``2 n`` rows.
        advance: Called after every batch with the number of its sequences.
    """
    n = examples.n
    result = np.empty(((2 if both_strands else 1) * n, model.head.in_features), dtype=np.float32)
    with evaluating(model):
        for rows in batches_by_length(examples.widths, examples.device):
            width, is_even = examples.extent(rows)
            for first in (0, n) if both_strands else (0,):
                batch = examples.batch(examples.locate(rows + first), width, is_even=is_even)
                result[rows + first] = model.embed(*batch).float().cpu().numpy()
                advance(len(rows))
    return result
