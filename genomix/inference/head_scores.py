"""What the outputs of a head say of every sequence: probabilities of classes and labels, or numbers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float32, Float64
from numpy.typing import NDArray
from torch import Tensor

from genomix.heads.build import HeadModel
from genomix.heads.sequence_model import SequenceModel
from genomix.heads.strands import mirror
from genomix.heads.targets import SequenceRegressor
from genomix.heads.token_classifier import TokenClassifier
from genomix.inference.examples import Batch, Examples

BATCH_TOKENS = {"cpu": 1 << 15, "cuda": 1 << 18}
"""Tokens of a batch, padding included; a longer sequence is a batch of its own. No result depends on it."""


@torch.inference_mode()
def sequence_scores(
    model: SequenceModel,
    examples: Examples,
    *,
    both_strands: bool = False,
    batch_size: int | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> Float64[np.ndarray, "n C"]:
    """Return what a model says of every sequence, or pair, in their order; in fp64 from the outputs on.

    Probabilities of classes add up to 1; those of labels are each on their own; numbers are on the scale of the data.
    Sequences of like length go together, so that little padding is computed.

    Args:
        model: On the device of the examples; left in the mode (train or eval) that it was in.
        examples: With their reverse complements, if both strands are asked for.
        both_strands: Return the mean of both strands.
        batch_size: Sequences at once; by default as many as `BATCH_TOKENS` hold.
        advance: Called after every batch with the number of its sequences.
    """
    result = np.empty((examples.n, model.n_outputs))
    with evaluating(model):
        for rows in batches_by_length(examples.widths, examples.device, batch_size):
            scores = meaning(model, model(*_batch(examples, rows)))
            if both_strands:
                scores = (scores + meaning(model, model(*_batch(examples, rows + examples.n)))) / 2
            result[rows] = scores.cpu().numpy()
            advance(len(rows))
    return result


@torch.inference_mode()
def base_scores(
    model: TokenClassifier,
    examples: Examples,
    *,
    both_strands: bool = False,
    batch_size: int | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> list[Float32[np.ndarray, "L C"]]:
    """Return the class probabilities of every base of every sequence; arguments as `sequence_scores`."""
    result: list[NDArray[np.float32]] = [np.empty((0, model.n_classes), dtype=np.float32)] * examples.n
    with evaluating(model):
        for rows in batches_by_length(examples.widths, examples.device, batch_size):
            batch = _batch(examples, rows)
            scores = meaning(model, model(*batch))
            if both_strands:
                other = meaning(model, model(*_batch(examples, rows + examples.n)))
                scores = (scores + mirror(other, batch.lengths)) / 2
            found = scores.float().cpu().numpy()
            for place, row in enumerate(rows.tolist()):
                result[row] = found[place, : examples.widths[row]].copy()
            advance(len(rows))
    return result


def all_scores(
    model: HeadModel,
    examples: Examples,
    *,
    both_strands: bool = False,
    batch_size: int | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float64]:
    """Return `sequence_scores`; of a head of single bases, the rows of all bases of all sequences in turn."""
    if isinstance(model, TokenClassifier):
        rows = base_scores(model, examples, both_strands=both_strands, batch_size=batch_size, advance=advance)
        whole: NDArray[np.float64] = np.concatenate(rows).astype(np.float64)
        return whole
    return sequence_scores(model, examples, both_strands=both_strands, batch_size=batch_size, advance=advance)


def batches_by_length(
    lengths: NDArray[np.int64], device: torch.device, batch_size: int | None = None
) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each batch: like lengths together, short ones first.

    Args:
        lengths: Of each row.
        device: On which depends how many tokens make a batch.
        batch_size: Rows of a batch; by default as many as `BATCH_TOKENS` hold when padded.
    """
    order = np.argsort(lengths, kind="stable")
    budget = BATCH_TOKENS["cuda" if device.type == "cuda" else "cpu"]
    first = 0
    for place, row in enumerate(order):
        n = place - first
        is_full = n >= batch_size if batch_size else (n + 1) * lengths[row] > budget
        if n and is_full:
            yield order[first:place]
            first = place
    if first < len(order):
        yield order[first:]


def _batch(examples: Examples, rows: NDArray[np.int64]) -> Batch:
    width, is_even = examples.extent(rows)
    return examples.batch(examples.locate(rows), width, is_even=is_even)


def meaning(model: HeadModel, outputs: Tensor) -> Tensor:
    """Return what outputs of a head say, in fp64: probabilities of classes or labels, or numbers."""
    precise = outputs.double()
    if model.kind == "multilabel":
        return precise.sigmoid()
    if isinstance(model, SequenceRegressor):
        return precise.exp() if model.link == "log" else precise
    return precise.softmax(dim=-1)


@contextmanager
def evaluating(model: HeadModel) -> Iterator[None]:
    """Put a model into eval mode, and back into the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
