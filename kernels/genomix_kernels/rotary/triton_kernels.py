"""Turn two of three streams and move all three; the way back is the same kernel with the angle negated."""

# Triton's types are no types of Python's
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl


@triton.jit
def _move(from_ptr, to_ptr, from_at, to_at, mask, half, cos, sin, IS_TURNED: tl.constexpr) -> None:
    first = tl.load(from_ptr + from_at, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(from_ptr + from_at + half, mask=mask, other=0.0).to(tl.float32)
    if IS_TURNED:
        turned = first * cos - second * sin
        second = second * cos + first * sin
        first = turned
    tl.store(to_ptr + to_at, first.to(to_ptr.dtype.element_ty), mask=mask)
    tl.store(to_ptr + to_at + half, second.to(to_ptr.dtype.element_ty), mask=mask)


@triton.jit
def rotary_kernel(
    q_from_ptr,
    k_from_ptr,
    v_from_ptr,
    q_to_ptr,
    k_to_ptr,
    v_to_ptr,
    cos_ptr,
    sin_ptr,
    seqlen,
    n_heads,
    from_batch_stride,
    from_token_stride,
    from_head_stride,
    to_batch_stride,
    to_token_stride,
    to_head_stride,
    table_batch_stride,
    HALF: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    HEADS: tl.constexpr,
    IS_BACKWARD: tl.constexpr,
) -> None:
    """One program: some heads of one token. The last axis of every tensor is contiguous."""
    token = tl.program_id(0)
    batch, position = (token // seqlen).to(tl.int64), (token % seqlen).to(tl.int64)
    channels = tl.arange(0, BLOCK_HALF)
    table_at = batch * table_batch_stride + position * HALF + channels
    cos = tl.load(cos_ptr + table_at, mask=channels < HALF, other=0.0).to(tl.float32)[None, :]
    sin = tl.load(sin_ptr + table_at, mask=channels < HALF, other=0.0).to(tl.float32)[None, :]
    if IS_BACKWARD:
        sin = -sin
    heads = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    mask = (heads < n_heads)[:, None] & (channels < HALF)[None, :]
    within_from = heads.to(tl.int64)[:, None] * from_head_stride + channels[None, :]
    within_to = heads.to(tl.int64)[:, None] * to_head_stride + channels[None, :]
    from_at = batch * from_batch_stride + position * from_token_stride + within_from
    to_at = batch * to_batch_stride + position * to_token_stride + within_to
    _move(q_from_ptr, q_to_ptr, from_at, to_at, mask, HALF, cos, sin, True)
    _move(k_from_ptr, k_to_ptr, from_at, to_at, mask, HALF, cos, sin, True)
    _move(v_from_ptr, v_to_ptr, from_at, to_at, mask, HALF, cos, sin, False)
