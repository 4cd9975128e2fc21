"""What lies between the two matrix products of the MLP's backward pass, in one pass over the wide tensors."""

# Triton's types are no types of Python's
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["n_rows"])
def gelu_backward_kernel(
    hidden_ptr,
    dactivated_ptr,
    activated_ptr,
    dhidden_ptr,
    parts_ptr,
    n_rows,
    width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """From h and the gradient of gelu(h): gelu(h) again, the gradient of h, and its sums over rows.

    Grid: tiles of columns, shares of the rows. ``dhidden`` may be the memory of ``dactivated``. The tanh form of GELU
    is ``h sigmoid(LINEAR h + CUBIC h^3)``.
    """
    # 2 sqrt(2 / pi), and that times 0.044715; in units of log 2 for exp2
    LINEAR: tl.constexpr = 1.5957691216057308
    CUBIC: tl.constexpr = 0.07135481282553376
    LOG2_E: tl.constexpr = 1.4426950408889634
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    is_column = columns < width
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for tile in range(tl.program_id(1), tl.cdiv(n_rows, ROWS), tl.num_programs(1)):
        rows = tl.cast(tile, tl.int64) * ROWS + tl.arange(0, ROWS)
        mask = (rows < n_rows)[:, None] & is_column[None, :]
        offsets = rows[:, None] * width + columns[None, :]
        h = tl.load(hidden_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        gradient = tl.load(dactivated_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        square = h * h
        gate = 1.0 / (1.0 + tl.exp2(h * (square * (-CUBIC * LOG2_E) - LINEAR * LOG2_E)))
        slope = gate * (1.0 + (1.0 - gate) * (h * (square * (3.0 * CUBIC) + LINEAR)))
        dh = (gradient * slope).to(dhidden_ptr.dtype.element_ty)
        tl.store(activated_ptr + offsets, (h * gate).to(activated_ptr.dtype.element_ty), mask=mask)
        tl.store(dhidden_ptr + offsets, dh, mask=mask)
        total += dh.to(tl.float32)
    place = parts_ptr + tl.program_id(1).to(tl.int64) * width + columns
    tl.store(place, tl.sum(total, axis=0), mask=is_column)
