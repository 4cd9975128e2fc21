"""What a block computes again in its backward pass instead of keeping it: memory for time.

A policy is a choice of the run, not of the model: it changes neither a number nor the name of a parameter.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Recompute = Literal["auto", "none", "mixer", "mlp", "block"]
"""``none`` keeps everything; ``mixer`` and ``mlp`` compute that part of each block again, ``block`` all of it. ``auto``
is ``block`` for as many blocks as it takes to keep within `ROOM` of a GPU's memory, and ``none`` for the others."""

ROOM = 0.4
"""Of a GPU's memory, for what blocks keep: besides come gradients, and what one block needs while it is computed."""

T = TypeVar("T")


def settle(policy: Recompute, x: Tensor, n_blocks: int, saved_bytes: int) -> list[Recompute]:
    """Return what a policy comes to for each block of the residual stream ``x``: never ``auto``.

    Args:
        policy: The choice of the run.
        x: Residual stream before the first block, ``(batch, seqlen, d_model)``.
        n_blocks: Blocks that it goes through.
        saved_bytes: What a block keeps for each feature of each token.
    """
    if not torch.is_grad_enabled():
        return ["none"] * n_blocks
    if policy != "auto":
        return [policy] * n_blocks
    if not x.is_cuda:
        return ["none"] * n_blocks
    total_memory = torch.cuda.get_device_properties(x.device).total_memory
    n_kept = n_kept_blocks(x.numel(), n_blocks, saved_bytes, total_memory)
    # the last blocks are kept: their backward passes come first, and free memory before others need it
    return ["block" if block < n_blocks - n_kept else "none" for block in range(n_blocks)]


def n_kept_blocks(n_features: int, n_blocks: int, saved_bytes: int, total_memory: int) -> int:
    """Return how many blocks ``auto`` keeps whole.

    Args:
        n_features: Tokens times width of the residual stream.
        n_blocks: Blocks that it goes through.
        saved_bytes: What a block keeps for each feature of each token.
        total_memory: Of the GPU.
    """
    return min(n_blocks, int(ROOM * total_memory / (saved_bytes * n_features)))


def recomputed(function: Callable[..., T], *inputs: Any, has_dropout: bool = True) -> T:
    """Return ``function(*inputs)``, which is called again in the backward pass.

    Args:
        function: A part of a block.
        inputs: All that it is a function of, beside its parameters.
        has_dropout: Whether it draws random numbers; the same are drawn again.
    """
    result: T = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=has_dropout)
    return result
