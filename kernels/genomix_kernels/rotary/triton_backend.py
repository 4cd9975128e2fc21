"""`rotary` as one Triton kernel, which also takes the gradient back; nothing but the tables is kept for that."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomix_kernels.rotary.triton_kernels import rotary_kernel
from genomix_kernels.triton_support import launched_on, next_power_of_two

PAIRS, WARPS = 2048, 8
"""Pairs of channels that a program turns of each stream, and its warps: a load of 16 bytes a thread in bf16."""

Streams = tuple[Tensor, Tensor, Tensor]


def rotary_triton(
    qkv: Float[Tensor, "B L H 3 d"], cos: Float[Tensor, "b L half"], sin: Float[Tensor, "b L half"]
) -> tuple[Float[Tensor, "B H L d"], Float[Tensor, "B H L d"], Float[Tensor, "B H L d"]]:
    """As `rotary`."""
    q, k, v = _Rotary.apply(qkv, cos, sin)  # type: ignore[no-untyped-call]
    return q, k, v


class _Rotary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor) -> Streams:
        cos, sin = cos.contiguous(), sin.contiguous()
        ctx.save_for_backward(cos, sin)
        qkv = qkv if qkv.stride(-1) == 1 else qkv.contiguous()
        batch, seqlen, n_heads, _, d = qkv.shape
        q, k, v = (qkv.new_empty(batch, seqlen, n_heads, d) for _ in range(3))
        _launch(_unbound(qkv), (q, k, v), cos, sin, is_backward=False)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        batch, n_heads, seqlen, d = dq.shape
        dqkv = dq.new_empty(batch, seqlen, n_heads, 3, d)
        gradients = (dq.transpose(1, 2), dk.transpose(1, 2), dv.transpose(1, 2))
        _launch(_alike(gradients), _unbound(dqkv), cos, sin, is_backward=True)
        return dqkv, None, None


def _unbound(qkv: Tensor) -> Streams:
    return qkv[:, :, :, 0], qkv[:, :, :, 1], qkv[:, :, :, 2]


def _alike(streams: Streams) -> Streams:
    """Return the streams with the same strides, the last one 1; as they are where they have them."""
    first, second, third = streams
    if first.stride() == second.stride() == third.stride() and first.stride(-1) == 1:
        return streams
    return first.contiguous(), second.contiguous(), third.contiguous()


def _launch(source: Streams, target: Streams, cos: Tensor, sin: Tensor, *, is_backward: bool) -> None:
    """Move (B, L, H, d) to (B, L, H, d), the first two streams turned."""
    batch, seqlen, n_heads, d = source[0].shape
    half = d // 2
    block = next_power_of_two(half)
    heads = min(next_power_of_two(n_heads), max(1, PAIRS // block))
    with launched_on(cos):
        rotary_kernel[(batch * seqlen, -(-n_heads // heads))](
            *source,
            *target,
            cos,
            sin,
            seqlen,
            n_heads,
            *source[0].stride()[:3],
            *target[0].stride()[:3],
            0 if cos.shape[0] == 1 else cos.stride(0),
            HALF=half,
            BLOCK_HALF=block,
            HEADS=heads,
            IS_BACKWARD=is_backward,
            num_warps=WARPS,
        )
