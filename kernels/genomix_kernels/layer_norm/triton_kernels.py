"""One pass over the rows forward, one backward; a program holds whole rows in registers."""

# Triton's types are no types of Python's
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl


@triton.jit
def _normalized(x, is_column, eps, D: tl.constexpr):
    mean = tl.sum(x, axis=1) / D
    centred = tl.where(is_column[None, :], x - mean[:, None], 0.0)
    inverse = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=1) / D + eps)
    return centred * inverse[:, None], inverse


@triton.jit(do_not_specialize=["n_rows"])
def layer_norm_fwd_kernel(
    x_ptr,
    x_bias_ptr,
    residual_ptr,
    scale_ptr,
    bias_ptr,
    y_ptr,
    sum_ptr,
    n_rows,
    eps,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ROWS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    HAS_X_BIAS: tl.constexpr,
) -> None:
    """The norm of ``x``, or of ``residual + x + x_bias``, which is written too."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, BLOCK_D)
    is_column = columns < D
    mask = (rows < n_rows)[:, None] & is_column[None, :]
    offsets = rows[:, None] * D + columns[None, :]
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        if HAS_X_BIAS:
            x += tl.load(x_bias_ptr + columns, mask=is_column, other=0.0).to(tl.float32)[None, :]
        x += tl.load(residual_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        rounded = x.to(sum_ptr.dtype.element_ty)
        tl.store(sum_ptr + offsets, rounded, mask=mask)
        x = rounded.to(tl.float32)
    normalized, _ = _normalized(x, is_column, eps, D)
    scale = tl.load(scale_ptr + columns, mask=is_column, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + columns, mask=is_column, other=0.0).to(tl.float32)
    y = normalized * scale[None, :] + bias[None, :]
    tl.store(y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["n_rows"])
def layer_norm_bwd_kernel(
    x_ptr,
    scale_ptr,
    dy_ptr,
    dsum_ptr,
    dx_ptr,
    dlow_ptr,
    parts_ptr,
    n_rows,
    eps,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ROWS: tl.constexpr,
    HAS_DSUM: tl.constexpr,
    HAS_LOW: tl.constexpr,
    HAS_X_BIAS: tl.constexpr,
) -> None:
    """``dx = (g - mean g - n mean(g n)) inverse`` with ``g = scale dy`` and n the normalized row, plus that of the sum.

    ``dlow`` is dx once more in another dtype, for a summand that is in it. Each program writes its parts of the
    gradients of scale, bias and x_bias to rows of its own. The statistics are computed again: the row is in registers
    anyway.
    """
    program = tl.program_id(0)
    columns = tl.arange(0, BLOCK_D)
    is_column = columns < D
    scale = tl.load(scale_ptr + columns, mask=is_column, other=0.0).to(tl.float32)
    # summed over the rows of a tile at the end only: within the loop no warp waits for another
    dscale = tl.zeros((ROWS, BLOCK_D), dtype=tl.float32)
    dbias = tl.zeros((ROWS, BLOCK_D), dtype=tl.float32)
    dx_bias = tl.zeros((ROWS, BLOCK_D), dtype=tl.float32)
    for tile in range(program, tl.cdiv(n_rows, ROWS), tl.num_programs(0)):
        rows = tl.cast(tile, tl.int64) * ROWS + tl.arange(0, ROWS)
        mask = (rows < n_rows)[:, None] & is_column[None, :]
        offsets = rows[:, None] * D + columns[None, :]
        x = tl.load(x_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        if HAS_DSUM:
            dsum = tl.load(dsum_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        normalized, inverse = _normalized(x, is_column, eps, D)
        g = dy * scale[None, :]
        mean = tl.sum(g, axis=1) / D
        pull = tl.sum(g * normalized, axis=1) / D
        dx = (g - mean[:, None] - normalized * pull[:, None]) * inverse[:, None]
        dscale += dy * normalized
        dbias += dy
        if HAS_DSUM:
            dx += dsum
        if HAS_X_BIAS:
            dx_bias += tl.where(mask, dx, 0.0)
        tl.store(dx_ptr + offsets, dx.to(dx_ptr.dtype.element_ty), mask=mask)
        if HAS_LOW:
            tl.store(dlow_ptr + offsets, dx.to(dlow_ptr.dtype.element_ty), mask=mask)
    to = parts_ptr + program.to(tl.int64) * 3 * D + columns
    tl.store(to, tl.sum(dscale, axis=0), mask=is_column)
    tl.store(to + D, tl.sum(dbias, axis=0), mask=is_column)
    if HAS_X_BIAS:
        tl.store(to + 2 * D, tl.sum(dx_bias, axis=0), mask=is_column)
