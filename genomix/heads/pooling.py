"""One vector for a sequence, from the hidden states of its real positions."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Pooling = Literal["mean", "last", "first", "max"]
POOLINGS: tuple[str, ...] = get_args(Pooling)


def pool(
    hidden: Float[Tensor, "B L D"], lengths: Int[Tensor, " B"] | None, pooling: Pooling
) -> Float[Tensor, "B D"]:
    """Return the pooled hidden states of each sequence's first ``lengths`` positions.

    Args:
        hidden: Hidden states; positions from ``lengths`` on are right padding and never count.
        lengths: Real positions of each sequence, 1 to L; None for all L.
        pooling: ``mean``, ``max``, the ``first`` position or the ``last`` real one.

    Raises:
        ValueError: if the pooling is unknown or a length is outside 1..L.
    """
    check_pooling(pooling)
    batch, seqlen = hidden.shape[:2]
    if lengths is None:
        lengths = torch.full((batch,), seqlen, device=hidden.device)
    lengths = lengths.to(hidden.device)
    if lengths.shape != (batch,) or bool(((lengths < 1) | (lengths > seqlen)).any()):
        raise ValueError(f"lengths must be {batch} values from 1 to {seqlen}; they are {lengths.tolist()}.")
    is_real = torch.arange(seqlen, device=hidden.device) < lengths[:, None]
    return _POOL[pooling](hidden, lengths, is_real)


def check_pooling(pooling: str) -> None:
    """Raise a ValueError that names the poolings there are, unless this is one."""
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; it must be one of {', '.join(POOLINGS)}.")


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
