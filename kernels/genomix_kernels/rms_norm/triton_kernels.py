"""One pass over the rows forward, one backward; a program holds whole rows in registers."""

# Triton's types are no types of Python's
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl


@triton.jit
def _inverse(sum_of_squares, eps, D: tl.constexpr, EPS_OUTSIDE_ROOT: tl.constexpr):
    """What x is multiplied by, and minus its derivative by ``mean x^2``, times 2."""
    mean_square = sum_of_squares / D
    if EPS_OUTSIDE_ROOT:
        rms = tl.sqrt(mean_square)
        inverse = 1.0 / (rms + eps)
        # for a row of zeros the term that this weighs is 0, as the reference has it
        slope = tl.where(rms > 0.0, inverse * inverse / tl.where(rms > 0.0, rms, 1.0), 0.0)
    else:
        inverse = 1.0 / tl.sqrt(mean_square + eps)
        slope = inverse * inverse * inverse
    return inverse, slope


@triton.jit(do_not_specialize=["n_rows"])
def rms_norm_fwd_kernel(
    x_ptr,
    residual_ptr,
    scale_ptr,
    y_ptr,
    sum_ptr,
    n_rows,
    eps,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ROWS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    EPS_OUTSIDE_ROOT: tl.constexpr,
) -> None:
    """``y = scale x inverse(x)``, of ``x + residual`` where there is one."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, BLOCK_D)
    is_column = columns < D
    mask = (rows < n_rows)[:, None] & is_column[None, :]
    offsets = rows[:, None] * D + columns[None, :]
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        x += tl.load(residual_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        rounded = x.to(sum_ptr.dtype.element_ty)
        tl.store(sum_ptr + offsets, rounded, mask=mask)
        x = rounded.to(tl.float32)
    inverse, _ = _inverse(tl.sum(x * x, axis=1), eps, D, EPS_OUTSIDE_ROOT)
    scale = tl.load(scale_ptr + columns, mask=is_column, other=0.0).to(tl.float32)
    y = scale[None, :] * (x * inverse[:, None])
    tl.store(y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["n_rows"])
def rms_norm_bwd_kernel(
    x_ptr,
    scale_ptr,
    dy_ptr,
    dsum_ptr,
    dx_ptr,
    dscale_ptr,
    n_rows,
    eps,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ROWS: tl.constexpr,
    HAS_DSUM: tl.constexpr,
    EPS_OUTSIDE_ROOT: tl.constexpr,
) -> None:
    """``dx = g inverse - x slope mean(g x)`` with ``g = scale dy``, plus the gradient that reaches the sum itself.

    Each program writes its part of ``dscale``, the sum over its rows of ``dy x inverse``, to a row of its own. The
    statistics are recomputed: the row is in registers anyway.
    """
    program = tl.program_id(0)
    columns = tl.arange(0, BLOCK_D)
    is_column = columns < D
    scale = tl.load(scale_ptr + columns, mask=is_column, other=0.0).to(tl.float32)
    dscale = tl.zeros((BLOCK_D,), dtype=tl.float32)
    for tile in range(program, tl.cdiv(n_rows, ROWS), tl.num_programs(0)):
        rows = tl.cast(tile, tl.int64) * ROWS + tl.arange(0, ROWS)
        mask = (rows < n_rows)[:, None] & is_column[None, :]
        offsets = rows[:, None] * D + columns[None, :]
        x = tl.load(x_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        inverse, slope = _inverse(tl.sum(x * x, axis=1), eps, D, EPS_OUTSIDE_ROOT)
        g = dy * scale[None, :]
        pull = slope * (tl.sum(g * x, axis=1) / D)
        dx = g * inverse[:, None] - x * pull[:, None]
        dscale += tl.sum(dy * (x * inverse[:, None]), axis=0)
        if HAS_DSUM:
            dx += tl.load(dsum_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        tl.store(dx_ptr + offsets, dx.to(dx_ptr.dtype.element_ty), mask=mask)
    tl.store(dscale_ptr + program.to(tl.int64) * D + columns, dscale, mask=is_column)
