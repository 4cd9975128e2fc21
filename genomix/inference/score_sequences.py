"""Log-likelihoods of whole sequences: the same alone and in any batch, for any length.

A sequence of L letters has L - 1 scored tokens, the first having nothing before it; L with a beginning-of-sequence
token before it. Published Evo 2 code counts one padding token into the shorter sequences of a batch; this never does.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from genomix.inference.batches import Batch, batches
from genomix.inference.causal import PREFILL_CHUNK, CausalModel, extend_in_chunks
from genomix_data.alphabet import reverse_complement
from genomix_data.errors import GenomixError
from genomix_data.tokenizers import Tokenizer

Key = TypeVar("Key")
LOGIT_TOKENS = 1 << 14
"""Logits exist for this many tokens at a time."""


@dataclass(frozen=True, slots=True)
class SequenceScore(Generic[Key]):
    """What a model thinks of one sequence.

    Attributes:
        key: What the caller knows it by.
        log_probs: Log probability of each scored token in nats, in order; fp32.
        counts: Which of them count; all, unless N is left out.
    """

    key: Key
    log_probs: NDArray[np.float32]
    counts: NDArray[np.bool_]

    @property
    def n_scored(self) -> int:
        """Tokens that count."""
        return int(self.counts.sum())

    @property
    def log_likelihood(self) -> float:
        """Sum over the tokens that count, in nats; 0 where there are none."""
        return float(self.log_probs[self.counts].sum(dtype=np.float64))

    @property
    def mean_log_likelihood(self) -> float:
        """Mean over the tokens that count, in nats; NaN where there are none."""
        return self.log_likelihood / self.n_scored if self.n_scored else math.nan

    @property
    def perplexity(self) -> float:
        """``exp`` of minus the mean."""
        return math.exp(-self.mean_log_likelihood) if self.n_scored else math.nan

    @property
    def bits_per_base(self) -> float:
        """Minus the mean in bits."""
        return -self.mean_log_likelihood / math.log(2)


class PositionSums:
    """Log-likelihood by how far into its sequence a token stands: what context is worth, and where a model fails.

    Args:
        width: Positions of a row.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._nats = np.zeros(0)
        self._counts = np.zeros(0, dtype=np.int64)

    def add(self, score: SequenceScore[Key], first: int) -> None:
        """Add a sequence whose first scored token is letter ``first`` (0-based)."""
        rows = (np.arange(len(score.log_probs)) + first) // self.width
        n_rows = max(len(self._nats), int(rows[-1]) + 1 if len(rows) else 0)
        self._nats = np.pad(self._nats, (0, n_rows - len(self._nats)))
        self._counts = np.pad(self._counts, (0, n_rows - len(self._counts)))
        counted = rows[score.counts]
        self._nats += np.bincount(counted, score.log_probs[score.counts].astype(np.float64), n_rows)
        self._counts += np.bincount(counted, minlength=n_rows)

    def rows(self) -> Iterator[tuple[int, int, int, float]]:
        """Yield ``start`` and ``end`` (0-based, half-open), how many tokens count, and their log-likelihood in nats."""
        for number, (nats, count) in enumerate(zip(self._nats.tolist(), self._counts.tolist(), strict=True)):
            yield number * self.width, (number + 1) * self.width, count, nats


def score_sequences(
    model: CausalModel,
    tokenizer: Tokenizer,
    sequences: Sequence[str | bytes],
    *,
    reduce: Literal["mean", "sum"] = "mean",
    prepend_bos: bool = False,
    average_reverse_complement: bool = False,
    batch_size: int | None = None,
    device: str | torch.device = "cpu",
    chunk: int = PREFILL_CHUNK,
) -> NDArray[np.float64]:
    """Return the log-likelihood of each sequence in nats; every letter counts, N as well.

    Args:
        model: In eval mode, on ``device``.
        tokenizer: Of the model.
        sequences: Of any lengths from 1 (from 2 without ``prepend_bos``, for a mean).
        reduce: ``sum`` or ``mean`` over the scored tokens.
        prepend_bos: Put a beginning-of-sequence token in front, so that the first letter is scored.
        average_reverse_complement: Average with the score of the other strand.
        batch_size: Sequences at once; by memory if None. No score depends on it.
        device: Where the model is.
        chunk: Tokens at a time of long sequences; no score depends on it beyond rounding.

    Raises:
        GenomixError: if a sequence is empty, or the model gives NaN.
        SequenceTooLongError: if a sequence is longer than the model takes.
    """

    def forward(strand: Iterable[str | bytes]) -> NDArray[np.float64]:
        scored = likelihoods(
            model,
            tokenizer,
            enumerate(strand),
            prepend_bos=prepend_bos,
            batch_size=batch_size,
            device=device,
            chunk=chunk,
        )
        values = [score.log_likelihood if reduce == "sum" else score.mean_log_likelihood for score in scored]
        return np.array(values, dtype=np.float64)

    scores = forward(sequences)
    if average_reverse_complement:
        other: NDArray[np.float64] = forward([_other_strand(sequence) for sequence in sequences])
        scores = (scores + other) * np.float64(0.5)
    return scores


def _other_strand(sequence: str | bytes) -> str | bytes:
    if isinstance(sequence, str):
        return reverse_complement(sequence)
    return reverse_complement(sequence)


def likelihoods(
    model: CausalModel,
    tokenizer: Tokenizer,
    sequences: Iterable[tuple[Key, str | bytes]],
    *,
    prepend_bos: bool = False,
    count_n: bool = True,
    batch_size: int | None = None,
    device: str | torch.device = "cpu",
    chunk: int = PREFILL_CHUNK,
) -> Iterator[SequenceScore[Key]]:
    """Yield the score of each sequence, in their order; see `score_sequences`.

    Args:
        model: In eval mode, on ``device``.
        tokenizer: Of the model.
        sequences: What the caller knows each by, and its letters; read as they are needed.
        prepend_bos: See `score_sequences`.
        count_n: Whether N counts: it stands for what is not known.
        batch_size: See `score_sequences`.
        device: See `score_sequences`.
        chunk: See `score_sequences`.
    """
    first = getattr(tokenizer, "bos_id", tokenizer.eos_id) if prepend_bos else None
    for batch in batches(sequences, tokenizer, batch_size=batch_size, first_id=first):
        rows = token_log_probs(model, batch.ids.to(device), chunk=chunk).float().cpu().numpy()
        yield from _scores(batch, rows, None if count_n else tokenizer.n_id)


def _scores(
    batch: Batch[Key], rows: NDArray[np.float32], left_out: int | None
) -> Iterator[SequenceScore[Key]]:
    for key, ids, row, length in zip(batch.keys, batch.ids.numpy(), rows, batch.lengths, strict=True):
        log_probs = row[: length - 1]
        if not np.isfinite(log_probs).all():
            raise GenomixError(
                f"the model gives NaN or an infinite log-likelihood for sequence {key}: weights of another precision "
                "or a damaged checkpoint. Check with --dtype float32."
            )
        counts = np.ones(length - 1, dtype=np.bool_) if left_out is None else ids[1:length] != left_out
        yield SequenceScore(key, log_probs, counts)


@torch.inference_mode()
def token_log_probs(
    model: CausalModel, ids: Int[Tensor, "B L"], *, chunk: int = PREFILL_CHUNK
) -> Float[Tensor, "B L-1"]:
    """Return ``log p(ids[:, t + 1] | ids[:, : t + 1])`` in nats, fp32, in bounded memory for any length."""
    pieces = [ids.new_zeros(len(ids), 0, dtype=torch.float32)]
    begin = 0
    for hidden, _ in extend_in_chunks(
        model, ids, model.init_state(len(ids), max_len=ids.shape[1]), chunk=chunk
    ):
        targets = ids[:, begin + 1 : begin + 1 + hidden.shape[1]]
        begin += hidden.shape[1]
        kept = hidden[:, : targets.shape[1]]
        step = max(1, LOGIT_TOKENS // len(ids))
        for part, wanted in zip(
            torch.split(kept, step, dim=1), torch.split(targets, step, dim=1), strict=True
        ):
            log_probs = model.logits(part).float().log_softmax(-1)
            pieces.append(log_probs.gather(-1, wanted[..., None]).squeeze(-1))
    return torch.cat(pieces, dim=1)


@torch.inference_mode()
def positional_entropies(
    model: CausalModel, ids: Int[Tensor, "B L"], *, chunk: int = PREFILL_CHUNK
) -> Float[Tensor, "B L"]:
    """Return the entropy in nats of the prediction of the token after each position, over the whole vocabulary."""
    pieces = []
    for hidden, _ in extend_in_chunks(
        model, ids, model.init_state(len(ids), max_len=ids.shape[1]), chunk=chunk
    ):
        for part in torch.split(hidden, max(1, LOGIT_TOKENS // len(ids)), dim=1):
            log_probs = model.logits(part).float().log_softmax(-1)
            pieces.append(-(log_probs.exp() * log_probs).sum(-1))
    return torch.cat(pieces, dim=1)
