"""One pass forward, one backward; a program takes a piece of one row."""

# Triton's types are no types of Python's
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl


@triton.jit
def _normal_distribution(x):
    """``Phi(x)``."""
    return 0.5 + 0.5 * tl.erf(x * 0.7071067811865476)


@triton.jit
def gated_product_fwd_kernel(
    gate_ptr,
    value_ptr,
    y_ptr,
    row_len,
    gate_stride,
    value_stride,
    HAS_GELU: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """``y = act(gate) * value``; ``y`` is contiguous."""
    n_blocks = tl.cdiv(row_len, BLOCK)
    program = tl.program_id(0)
    row = (program // n_blocks).to(tl.int64)
    columns = (program % n_blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = columns < row_len
    gate = tl.load(gate_ptr + row * gate_stride + columns, mask=mask, other=0.0).to(tl.float32)
    value = tl.load(value_ptr + row * value_stride + columns, mask=mask, other=0.0).to(tl.float32)
    if HAS_GELU:
        gate *= _normal_distribution(gate)
    tl.store(y_ptr + row * row_len + columns, (gate * value).to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def gated_product_bwd_kernel(
    gate_ptr,
    value_ptr,
    dy_ptr,
    dgate_ptr,
    dvalue_ptr,
    row_len,
    gate_stride,
    value_stride,
    dy_stride,
    HAS_GELU: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """``dvalue = dy act(gate)``, ``dgate = dy value act'(gate)``, where ``gelu'(g) = Phi(g) + g phi(g)``."""
    n_blocks = tl.cdiv(row_len, BLOCK)
    program = tl.program_id(0)
    row = (program // n_blocks).to(tl.int64)
    columns = (program % n_blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = columns < row_len
    gate = tl.load(gate_ptr + row * gate_stride + columns, mask=mask, other=0.0).to(tl.float32)
    value = tl.load(value_ptr + row * value_stride + columns, mask=mask, other=0.0).to(tl.float32)
    dy = tl.load(dy_ptr + row * dy_stride + columns, mask=mask, other=0.0).to(tl.float32)
    dgate = dy * value
    if HAS_GELU:
        below = _normal_distribution(gate)
        density = 0.3989422804014327 * tl.exp(-0.5 * gate * gate)
        dgate *= below + gate * density
        gate *= below
    offsets = row * row_len + columns
    tl.store(dgate_ptr + offsets, dgate.to(dgate_ptr.dtype.element_ty), mask=mask)
    tl.store(dvalue_ptr + offsets, (dy * gate).to(dvalue_ptr.dtype.element_ty), mask=mask)
