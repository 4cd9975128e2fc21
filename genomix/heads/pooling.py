"""One vector for a sequence, from the hidden states of its real positions.

Padding takes part in no pooling: ``mean`` is what other programs call the masked mean.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

SimplePooling = Literal["mean", "last", "first", "max"]
Pooling = Literal["mean", "last", "first", "max", "attention", "window"]
POOLINGS: tuple[str, ...] = get_args(Pooling)
N_WINDOWS = 4
"""Windows of the pooling ``window``, unless told otherwise."""


class SequencePooling(nn.Module):
    """Hidden states to one vector a sequence.

    ``mean``, ``max``, the ``first`` position, the ``last`` real one; ``attention``, a mean weighted by the softmax of
    a learned linear score, which starts as the mean; ``window``, the means of equal parts of the sequence, side by
    side, so that the head knows where along the sequence a feature stands.

    Args:
        d_model: Width of the hidden states.
        pooling: Which.
        n_windows: Parts of ``window``.

    Attributes:
        out_features: Width of the vector.
    """

    def __init__(self, d_model: int, pooling: Pooling = "mean", *, n_windows: int = N_WINDOWS) -> None:
        super().__init__()
        check_pooling(pooling)
        if n_windows < 1:
            raise ValueError(f"n_windows is {n_windows}; it must be at least 1.")
        self.pooling: Pooling = pooling
        self.n_windows = n_windows
        self.out_features = d_model * n_windows if pooling == "window" else d_model
        self.query = nn.Parameter(torch.zeros(d_model)) if pooling == "attention" else None

    def forward(
        self, hidden: Float[Tensor, "B L D"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B E"]:
        """Return the pooled hidden states of each sequence's first ``lengths`` positions.

        Args:
            hidden: Hidden states; positions from ``lengths`` on are right padding and never count.
            lengths: Real positions of each sequence, 1 to L; None for all L.

        Raises:
            ValueError: if a length is outside 1..L.
        """
        if self.pooling == "attention":
            assert self.query is not None
            return _attention(hidden, checked_lengths(hidden, lengths), self.query)
        if self.pooling == "window":
            return _windows(hidden, checked_lengths(hidden, lengths), self.n_windows)
        return pool(hidden, lengths, self.pooling)


def pool(
    hidden: Float[Tensor, "B L D"], lengths: Int[Tensor, " B"] | None, pooling: SimplePooling
) -> Float[Tensor, "B D"]:
    """Return the pooled hidden states of each sequence's first ``lengths`` positions.

    Args:
        hidden: Hidden states; positions from ``lengths`` on are right padding and never count.
        lengths: Real positions of each sequence, 1 to L; None for all L.
        pooling: ``mean``, ``max``, the ``first`` position or the ``last`` real one.

    Raises:
        ValueError: if the pooling is unknown or a length is outside 1..L.
    """
    if pooling not in _POOL:
        raise ValueError(f"pooling is {pooling!r}; it must be one of {', '.join(_POOL)}.")
    lengths = checked_lengths(hidden, lengths)
    return _POOL[pooling](hidden, lengths, _is_real(hidden, lengths))


def checked_lengths(hidden: Float[Tensor, "B L D"], lengths: Int[Tensor, " B"] | None) -> Int[Tensor, " B"]:
    """Return the lengths on the device of the hidden states; all L where none are given.

    Lengths that are on a GPU already are taken as they are: to look at them would wait for it, at every step.

    Raises:
        ValueError: if a length is outside 1..L.
    """
    batch, seqlen = hidden.shape[:2]
    if lengths is None:
        return torch.full((batch,), seqlen, device=hidden.device)
    if lengths.shape == (batch,) and lengths.is_cuda:
        return lengths.to(hidden.device)
    if lengths.shape != (batch,) or bool(((lengths < 1) | (lengths > seqlen)).any()):
        raise ValueError(f"lengths must be {batch} values from 1 to {seqlen}; they are {lengths.tolist()}.")
    return lengths.to(hidden.device)


def check_pooling(pooling: str) -> None:
    """Raise a ValueError that names the poolings there are, unless this is one."""
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; it must be one of {', '.join(POOLINGS)}.")


def _is_real(hidden: Tensor, lengths: Tensor) -> Bool[Tensor, "B L"]:
    return torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]


def _attention(hidden: Tensor, lengths: Tensor, query: Tensor) -> Tensor:
    scores = torch.einsum("bld,d->bl", hidden, query.to(hidden.dtype)).float()
    weights = scores.masked_fill(~_is_real(hidden, lengths), float("-inf")).softmax(dim=1)
    return torch.einsum("bld,bl->bd", hidden, weights.to(hidden.dtype))


def _windows(hidden: Tensor, lengths: Tensor, n_windows: int) -> Tensor:
    """Windows of a sequence that has fewer positions share some."""
    number = torch.arange(n_windows, device=hidden.device)
    start = number * lengths[:, None] // n_windows  # (B, W)
    end = torch.maximum((number + 1) * lengths[:, None] // n_windows, start + 1)
    place = torch.arange(hidden.shape[1], device=hidden.device)
    is_inside = (place >= start[..., None]) & (place < end[..., None])  # (B, W, L)
    weights = is_inside.to(hidden.dtype) / (end - start)[..., None].to(hidden.dtype)
    return torch.einsum("bld,bwl->bwd", hidden, weights).flatten(1)


def _mean(hidden: Tensor, lengths: Tensor, is_real: Bool[Tensor, "B L"]) -> Tensor:
    weights = is_real.to(hidden.dtype) / lengths[:, None].to(hidden.dtype)
    return torch.einsum("bld,bl->bd", hidden, weights)


def _last(hidden: Tensor, lengths: Tensor, is_real: Bool[Tensor, "B L"]) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]


def _first(hidden: Tensor, lengths: Tensor, is_real: Bool[Tensor, "B L"]) -> Tensor:
    return hidden[:, 0]


def _max(hidden: Tensor, lengths: Tensor, is_real: Bool[Tensor, "B L"]) -> Tensor:
    return hidden.masked_fill(~is_real[..., None], float("-inf")).amax(dim=1)


_POOL: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "mean": _mean,
    "last": _last,
    "first": _first,
    "max": _max,
}
