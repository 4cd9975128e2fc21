"""`skinny_linear` and `gated_pair` as one launch each: the weights are read once, at the bandwidth of memory.

With so few rows of x a product is no more than the reading of its weights, 16 bytes a load. `tiles` says how many are
on their way, and why. Both kernels hold a second weight and the epilogue as options, so that a gated MLP's first half
(two weights, one x) is one launch as well. Shapes are compile-time constants: a model has few, and loops without
masks are shorter.
"""

# Triton's types are no types of Python's
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from genomix_kernels.skinny_linear.tiles import LINEAR, MAX_ROWS, PAIR, Tiles, tiles_for
from genomix_kernels.triton_support import launched_on


@triton.jit
def _tile(w_ptr, n, k, start, N: tl.constexpr, K: tl.constexpr, MASKS_N: tl.constexpr, MASKS_K: tl.constexpr):
    """Return rows ``n`` and columns ``start + k`` of a weight; it is read once and need not stay in L2."""
    at = w_ptr + n.to(tl.int64)[:, None] * K + (start + k)[None, :]
    if MASKS_K:
        inside = (n < N)[:, None] & (start + k < K)[None, :]
        return tl.load(at, mask=inside, other=0.0, eviction_policy="evict_first")
    elif MASKS_N:
        inside = (n < N)[:, None] & (k < K)[None, :]
        return tl.load(at, mask=inside, other=0.0, eviction_policy="evict_first")
    else:
        return tl.load(at, eviction_policy="evict_first")


@triton.jit
def _row(x_ptr, k, start, K: tl.constexpr, MASKS_K: tl.constexpr):
    if MASKS_K:
        return tl.load(x_ptr + start + k, mask=start + k < K, other=0.0)
    else:
        return tl.load(x_ptr + start + k)


@triton.jit
def _products(w, x, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    """Return ``w x`` summed over the 8 neighbouring columns of one 16-byte load, which stay within a thread."""
    products = w.to(tl.float32) * x.to(tl.float32)[None, :]
    return tl.sum(tl.reshape(products, (BLOCK_N, BLOCK_K // 8, 8)), axis=2)


@triton.jit
def _activated(gate, ACTIVATION: tl.constexpr):
    if ACTIVATION == "gelu":
        return 0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476))
    else:
        return gate


@triton.jit
def _store(
    y_ptr,
    bias_ptr,
    residual_ptr,
    y,
    m,
    n,
    stride_residual,
    inside,
    N: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
):
    """Add what is to be added and store outputs ``(m, n)``; ``m`` and ``n`` broadcast to the shape of ``y``."""
    if HAS_BIAS:
        y += tl.load(bias_ptr + n, mask=inside, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        y += tl.load(residual_ptr + m * stride_residual + n, mask=inside, other=0.0).to(tl.float32)
    tl.store(y_ptr + m * N + n, y, mask=inside)


@triton.jit
def multiply_kernel(
    x_ptr,
    w_ptr,
    w2_ptr,
    bias_ptr,
    residual_ptr,
    y_ptr,
    n_rows,
    stride_x,
    stride_residual,
    N: tl.constexpr,
    K: tl.constexpr,
    IS_SECOND_ROW: tl.constexpr,
    IS_PAIR: tl.constexpr,
    ACTIVATION: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Outputs of ``BLOCK_N`` rows of the weight for one or two rows of x, without tensor cores."""
    MASKS_N: tl.constexpr = N % BLOCK_N != 0
    MASKS_K: tl.constexpr = K % BLOCK_K != 0
    LAST: tl.constexpr = (K - 1) // BLOCK_K * BLOCK_K
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    x1_ptr = x_ptr + stride_x
    sums = tl.zeros((BLOCK_N, BLOCK_K // 8), tl.float32)
    sums_1 = tl.zeros((BLOCK_N, BLOCK_K // 8), tl.float32)
    sums_2 = tl.zeros((BLOCK_N, BLOCK_K // 8), tl.float32)
    sums_21 = tl.zeros((BLOCK_N, BLOCK_K // 8), tl.float32)
    w = _tile(w_ptr, n, k, 0, N, K, MASKS_N, MASKS_K)
    w2 = w
    if IS_PAIR:
        w2 = _tile(w2_ptr, n, k, 0, N, K, MASKS_N, MASKS_K)
    for start in range(0, LAST, BLOCK_K):
        # asked for before this tile is used, so that memory never waits for arithmetic
        following = _tile(w_ptr, n, k, start + BLOCK_K, N, K, MASKS_N, MASKS_K)
        following_2 = following
        if IS_PAIR:
            following_2 = _tile(w2_ptr, n, k, start + BLOCK_K, N, K, MASKS_N, MASKS_K)
        x = _row(x_ptr, k, start, K, False)
        sums += _products(w, x, BLOCK_N, BLOCK_K)
        if IS_PAIR:
            sums_2 += _products(w2, x, BLOCK_N, BLOCK_K)
        if IS_SECOND_ROW:
            x1 = _row(x1_ptr, k, start, K, False)
            sums_1 += _products(w, x1, BLOCK_N, BLOCK_K)
            if IS_PAIR:
                sums_21 += _products(w2, x1, BLOCK_N, BLOCK_K)
        w = following
        w2 = following_2
    x = _row(x_ptr, k, LAST, K, MASKS_K)
    sums += _products(w, x, BLOCK_N, BLOCK_K)
    y = tl.sum(sums, axis=1)
    if IS_PAIR:
        sums_2 += _products(w2, x, BLOCK_N, BLOCK_K)
        y = _activated(y, ACTIVATION) * tl.sum(sums_2, axis=1)
    _store(y_ptr, bias_ptr, residual_ptr, y, 0, n, stride_residual, n < N, N, HAS_BIAS, HAS_RESIDUAL)
    if IS_SECOND_ROW:
        x1 = _row(x1_ptr, k, LAST, K, MASKS_K)
        sums_1 += _products(w, x1, BLOCK_N, BLOCK_K)
        y1 = tl.sum(sums_1, axis=1)
        if IS_PAIR:
            sums_21 += _products(w2, x1, BLOCK_N, BLOCK_K)
            y1 = _activated(y1, ACTIVATION) * tl.sum(sums_21, axis=1)
        _store(y_ptr, bias_ptr, residual_ptr, y1, 1, n, stride_residual, n < N, N, HAS_BIAS, HAS_RESIDUAL)


@triton.jit
def dot_kernel(
    x_ptr,
    w_ptr,
    w2_ptr,
    bias_ptr,
    residual_ptr,
    y_ptr,
    n_rows,
    stride_x,
    stride_residual,
    N: tl.constexpr,
    K: tl.constexpr,
    IS_PAIR: tl.constexpr,
    ACTIVATION: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Outputs of ``BLOCK_N`` rows of the weight, which fill the tensor cores' larger side, for up to 16 rows of x."""
    MASKS_N: tl.constexpr = N % BLOCK_N != 0
    MASKS_K: tl.constexpr = K % BLOCK_K != 0
    m = tl.arange(0, BLOCK_M)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    sums = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
    sums_2 = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
    for start in range(0, K, BLOCK_K):
        w = _tile(w_ptr, n, k, start, N, K, MASKS_N, MASKS_K)
        is_row = (m < n_rows)[None, :]
        if MASKS_K:
            is_row = is_row & (start + k < K)[:, None]
        x = tl.load(x_ptr + m[None, :] * stride_x + (start + k)[:, None], mask=is_row, other=0.0)
        sums = tl.dot(w, x, sums)
        if IS_PAIR:
            w2 = _tile(w2_ptr, n, k, start, N, K, MASKS_N, MASKS_K)
            sums_2 = tl.dot(w2, x, sums_2)
    y = sums
    if IS_PAIR:
        y = _activated(sums, ACTIVATION) * sums_2
    inside = (n < N)[:, None] & (m < n_rows)[None, :]
    _store(
        y_ptr,
        bias_ptr,
        residual_ptr,
        y,
        m[None, :],
        n[:, None],
        stride_residual,
        inside,
        N,
        HAS_BIAS,
        HAS_RESIDUAL,
    )


def skinny_linear_triton(
    x: Float[Tensor, "M K"],
    weight: Float[Tensor, "N K"],
    bias: Float[Tensor, " N"] | None = None,
    residual: Float[Tensor, "M N"] | None = None,
    *,
    tiles: Tiles | None = None,
) -> Float[Tensor, "M N"]:
    """As `skinny_linear`; ``tiles`` instead of those of the table."""
    return _launch(x, weight, None, bias, residual, "identity", tiles or tiles_for(x.shape[0], LINEAR))


def gated_pair_triton(
    x: Float[Tensor, "M K"],
    w1: Float[Tensor, "N K"],
    w2: Float[Tensor, "N K"],
    activation: str,
    *,
    tiles: Tiles | None = None,
) -> Float[Tensor, "M N"]:
    """As `gated_pair`; ``tiles`` instead of those of the table."""
    return _launch(x, w1, w2, None, None, activation, tiles or tiles_for(x.shape[0], PAIR))


def _launch(
    x: Tensor,
    w: Tensor,
    w2: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    activation: str,
    tiles: Tiles,
) -> Tensor:
    n_rows, (n_outputs, n_inputs) = x.shape[0], w.shape
    y = torch.empty(n_rows, n_outputs, device=x.device, dtype=x.dtype)
    is_multiply = tiles.kernel == "multiply"
    kernel = multiply_kernel if is_multiply else dot_kernel
    rows = {"IS_SECOND_ROW": n_rows == 2} if is_multiply else {"BLOCK_M": MAX_ROWS}
    with launched_on(x):
        kernel[(triton.cdiv(n_outputs, tiles.block_n),)](
            x,
            w,
            w if w2 is None else w2,
            w if bias is None else bias,
            w if residual is None else residual,
            y,
            n_rows,
            x.stride(0),
            0 if residual is None else residual.stride(0),
            N=n_outputs,
            K=n_inputs,
            IS_PAIR=w2 is not None,
            ACTIVATION=activation,
            HAS_BIAS=bias is not None,
            HAS_RESIDUAL=residual is not None,
            BLOCK_N=tiles.block_n,
            BLOCK_K=tiles.block_k,
            num_warps=tiles.num_warps,
            num_stages=tiles.num_stages,
            **rows,
        )
    return y
