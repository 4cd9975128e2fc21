"""The three signals of a gated filter, as views of one tensor of projections or as tensors of their own."""

from typing import NamedTuple

import torch
from torch import Tensor


class Streams(NamedTuple):
    """The signals of a gated filter ``q (h * (k v))``, ``(B, D, L)`` with unit stride along L; q and v may lack."""

    q: Tensor | None
    k: Tensor
    v: Tensor | None


def streams_of(p: Tensor, is_interleaved: bool) -> tuple[Streams, tuple[int, int]]:
    """Return q, k, v as views of the projections, and how far apart streams and channels lie in rows of ``p``."""
    channels = p.shape[1] // 3
    if is_interleaved:
        q, k, v = torch.unflatten(p, 1, (channels, 3)).unbind(2)
        return Streams(q, k, v), (1, 3)
    q, k, v = torch.unflatten(p, 1, (3, channels)).unbind(1)
    return Streams(q, k, v), (channels, 1)
