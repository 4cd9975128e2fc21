"""What a language model thinks of a sequence, token by token."""

from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor


class LanguageModel(Protocol):
    """A causal model whose logits can be taken for a slice of its hidden states."""

    def hidden_states(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Return the hidden states of all positions."""
        ...

    def logits(self, hidden: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape V"]:
        """Return next-token logits."""
        ...


def token_log_likelihood(
    model: LanguageModel, ids: Int[Tensor, "B L"], *, chunk_tokens: int = 1 << 18
) -> Float[Tensor, "B L-1"]:
    """Return ``log p(ids[:, t + 1] | ids[:, : t + 1])`` in nats, for ``t`` from 0; the first token has none.

    Probabilities are over all rows of the embedding, padding rows included, as in the published codes. Targets that
    should not count (N, padding) are the caller's to mask.

    Args:
        model: In the mode (train or eval) and on the device that it should run in.
        ids: Token ids, ``(batch, length)``, on the model's device.
        chunk_tokens: Logits and their softmax exist for this many tokens at a time.

    Returns:
        fp32 (fp64 for an fp64 model); the softmax is taken in that precision. Empty when ``length`` is 1.

    Raises:
        SequenceTooLongError: if there are more tokens than the model takes.
    """
    hidden = model.hidden_states(ids)[:, :-1]
    return log_probabilities(model, hidden, ids[:, 1:], chunk_tokens=chunk_tokens)


class Unembedding(Protocol):
    """What turns hidden states into logits."""

    def logits(self, hidden: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape V"]:
        """Return next-token logits."""
        ...


def log_probabilities(
    model: Unembedding,
    hidden: Float[Tensor, "B L D"],
    targets: Int[Tensor, "B L"],
    *,
    chunk_tokens: int = 1 << 18,
) -> Float[Tensor, "B L"]:
    """Return the log-probability in nats of the token after each hidden state, as `token_log_likelihood` gives it."""
    batch, seqlen, width = hidden.shape
    pieces = [
        _log_probability(model.logits(piece), target)
        for piece, target in zip(
            torch.split(hidden.reshape(-1, width), chunk_tokens),
            torch.split(targets.reshape(-1, 1).long(), chunk_tokens),
            strict=True,
        )
    ]
    return torch.cat(pieces).reshape(batch, seqlen)


def _log_probability(logits: Float[Tensor, "T V"], targets: Int[Tensor, "T 1"]) -> Float[Tensor, " T"]:
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return torch.log_softmax(logits.to(dtype), dim=-1).gather(-1, targets).squeeze(-1)
