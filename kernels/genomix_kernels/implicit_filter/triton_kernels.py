"""An implicit filter in one Triton kernel forward and one backward; the README has the algebra.

A program takes one block of positions after the other and holds all weights, so that of the sequence's length only the
features are read and the filters written. Matrix products are of fp16 halves, three each: as exact as fp32, see
`product`.
"""

import triton
import triton.language as tl

SINE_SCALE = tl.constexpr(4096.0)
"""What sines are multiplied by before they are split: the low half of one is then exact to 2^-37."""

_UNSCALE = tl.constexpr(1.0 / 4096.0)


@triton.jit
def sine_and_cosine(x):
    """Return both, to 1.2e-7 for ``|x|`` up to 12,000.

    ``x`` is brought to ``[-pi/4, pi/4]`` by parts of pi/2 short enough that their multiples are exact, and then there
    are polynomials; parts and coefficients are those of the Cephes library. Beyond six million, where neighbouring
    numbers are half a radian apart, the angle is taken for zero.
    """
    # 1.5 * 2^23: the sum is rounded to a whole number, and its last bits are those of the quadrant
    shifted = x * 0.6366197723675814 + 12582912.0
    quarters = shifted - 12582912.0
    quadrant = shifted.to(tl.int32, bitcast=True)
    r = x - quarters * 1.5703125
    r = r - quarters * 4.837512969970703125e-4
    r = r - quarters * 7.54978995489188216e-8
    r = tl.where(tl.abs(r) > 1.0, 0.0, r)  # NaN stays
    s = r * r
    sine = r + r * s * (-1.6666654611e-1 + s * (8.3321608736e-3 - s * 1.9515295891e-4))
    cosine = 1.0 + s * (
        -0.5 + s * (4.166664568298827e-2 + s * (-1.388731625493765e-3 + s * 2.443315711809948e-5))
    )
    is_odd = (quadrant & 1) != 0
    of_sine = tl.where(is_odd, cosine, sine).to(tl.int32, bitcast=True) ^ ((quadrant & 2) << 30)
    of_cosine = tl.where(is_odd, sine, cosine).to(tl.int32, bitcast=True) ^ (((quadrant + 1) & 2) << 30)
    return of_sine.to(tl.float32, bitcast=True), of_cosine.to(tl.float32, bitcast=True)


@triton.jit
def scale_of(x):
    """Return the power of two that brings the largest element of a tile to 2^13 .. 2^14, and its inverse."""
    largest = tl.max(tl.abs(x))
    exponent = tl.maximum(largest.to(tl.int32, bitcast=True) >> 23, 20)
    return ((267 - exponent) << 23).to(tl.float32, bitcast=True), ((exponent - 13) << 23).to(
        tl.float32, bitcast=True
    )


@triton.jit
def in_halves(x):
    """Return a scaled tile as the sum of two in fp16."""
    high = x.to(tl.float16)
    return high, (x - high.to(tl.float32)).to(tl.float16)


@triton.jit
def scaled_halves(x):
    """Return `in_halves` of a tile of any scale, and what a product with them is to be multiplied by."""
    up, down = scale_of(x)
    high, low = in_halves(x * up)
    return high, low, down


@triton.jit
def product(a_high, a_low, b_high, b_low):
    """Return the matrix product of two tiles in halves, in fp32, without that of both low halves (2^-22)."""
    y = tl.dot(a_high, b_low)
    y = tl.dot(a_low, b_high, y)
    return tl.dot(a_high, b_high, y)


@triton.jit
def window(decay, t):
    """Return ``exp(-decay t)``."""
    return tl.exp2((decay * -1.4426950408889634) * t)


@triton.jit
def _load_features(z_ptr, positions, is_position, columns, E: tl.constexpr):
    """Return halves and scale of the features of each position, with a one after them that goes with the bias."""
    mask = is_position[:, None] & (columns < E)[None, :]
    z = tl.load(z_ptr + positions[:, None] * E + columns[None, :], mask=mask, other=0.0)
    return scaled_halves(tl.where((columns == E)[None, :], 1.0, z))


@triton.jit
def _load_first(w_ptr, b_ptr, freq_ptr, rows, is_row, columns, E: tl.constexpr):
    """Return halves and scale of ``freq W_0``, with ``freq b_0`` as the column after it."""
    freq = tl.load(freq_ptr + rows, mask=is_row, other=0.0)
    mask = is_row[:, None] & (columns < E)[None, :]
    w = tl.load(w_ptr + rows[:, None] * E + columns[None, :], mask=mask, other=0.0)
    bias = tl.load(b_ptr + rows, mask=is_row, other=0.0)
    return scaled_halves(tl.where((columns == E)[None, :], bias[:, None], w) * freq[:, None])


@triton.jit
def _load_inner(w_ptr, freq_ptr, rows, is_row, F: tl.constexpr, N_INNER: tl.constexpr):
    """Return halves and scales of ``freq W_i`` of all inner layers."""
    freq = tl.load(freq_ptr + rows, mask=is_row, other=0.0)
    high = ()
    low = ()
    down = ()
    mask = is_row[:, None] & is_row[None, :]
    for i in tl.static_range(N_INNER):
        w = tl.load(w_ptr + i * F * F + rows[:, None] * F + rows[None, :], mask=mask, other=0.0)
        w_high, w_low, w_down = scaled_halves(w * freq[:, None])
        high = high + (w_high,)
        low = low + (w_low,)
        down = down + (w_down,)
    return high, low, down


@triton.jit
def _offset(b_ptr, freq_ptr, rows, is_row):
    """Return ``freq b``; asked for where it is used, as a register for each would be too many."""
    b = tl.load(b_ptr + rows, mask=is_row, other=0.0)
    return b * tl.load(freq_ptr + rows, mask=is_row, other=0.0)


@triton.jit
def _load_last(
    last_ptr, channels, rows, is_row, C, F: tl.constexpr, BLOCK_C: tl.constexpr, C_TILES: tl.constexpr
):
    """Return the halves and scales of the last layer, a tile for each ``BLOCK_C`` channels."""
    high = ()
    low = ()
    down = ()
    for j in tl.static_range(C_TILES):
        c = j * BLOCK_C + channels
        w = tl.load(
            last_ptr + c[:, None] * F + rows[None, :], mask=(c < C)[:, None] & is_row[None, :], other=0.0
        )
        w_high, w_low, w_down = scaled_halves(w)
        high = high + (w_high,)
        low = low + (w_low,)
        down = down + (w_down,)
    return high, low, down


@triton.jit
def sine_filter_fwd_kernel(
    z_ptr,
    first_ptr,
    first_bias_ptr,
    inner_ptr,
    inner_bias_ptr,
    last_ptr,
    freq_ptr,
    t_ptr,
    decay_ptr,
    k_ptr,
    shift,
    C,
    seqlen,
    E: tl.constexpr,
    BLOCK_E: tl.constexpr,
    F: tl.constexpr,
    BLOCK_F: tl.constexpr,
    N_INNER: tl.constexpr,
    BLOCK_C: tl.constexpr,
    C_TILES: tl.constexpr,
    BLOCK_L: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
) -> None:
    """Write the filters of up to ``C_TILES BLOCK_C`` channels."""
    rows = tl.arange(0, BLOCK_F)
    is_row = rows < F
    channels = tl.arange(0, BLOCK_C)
    columns = tl.arange(0, BLOCK_E)
    first_high, first_low, first_down = _load_first(
        first_ptr, first_bias_ptr, freq_ptr, rows, is_row, columns, E
    )
    w_high, w_low, w_down = _load_inner(inner_ptr, freq_ptr, rows, is_row, F, N_INNER)
    last_high, last_low, last_down = _load_last(last_ptr, channels, rows, is_row, C, F, BLOCK_C, C_TILES)
    for block in range(tl.program_id(0), tl.cdiv(seqlen, BLOCK_L), tl.num_programs(0)):
        positions = block * BLOCK_L + tl.arange(0, BLOCK_L)
        is_position = positions < seqlen
        z_high, z_low, z_down = _load_features(z_ptr, positions, is_position, columns, E)
        angle = product(z_high, z_low, tl.trans(first_high), tl.trans(first_low)) * (z_down * first_down)
        for i in tl.static_range(N_INNER):
            h, _ = sine_and_cosine(angle)
            high, low = in_halves(h * SINE_SCALE)
            angle = product(high, low, tl.trans(w_high[i]), tl.trans(w_low[i]))
            offset = _offset(inner_bias_ptr + i * F, freq_ptr, rows, is_row)
            angle = angle * (w_down[i] * _UNSCALE) + offset[None, :]
        h, _ = sine_and_cosine(angle)
        high, low = in_halves(h * SINE_SCALE)
        if HAS_WINDOW:
            t = tl.load(t_ptr + positions, mask=is_position, other=0.0)
        for j in tl.static_range(C_TILES):
            c = j * BLOCK_C + channels
            k = product(high, low, tl.trans(last_high[j]), tl.trans(last_low[j]))
            down = last_down[j] * _UNSCALE
            if HAS_WINDOW:
                decay = tl.load(decay_ptr + c, mask=c < C, other=0.0)
                k *= window(decay[None, :], t[:, None]) * down + shift * down
            else:
                k *= down
            to = k_ptr + c.to(tl.int64)[None, :] * seqlen + positions[:, None]
            tl.store(to, k, mask=(c < C)[None, :] & is_position[:, None])


@triton.jit
def sine_filter_bwd_last_kernel(
    z_ptr,
    first_ptr,
    first_bias_ptr,
    inner_ptr,
    inner_bias_ptr,
    last_ptr,
    freq_ptr,
    t_ptr,
    decay_ptr,
    dk_ptr,
    dk_stride,
    dlast_ptr,
    da_ptr,
    shift,
    C,
    seqlen,
    E: tl.constexpr,
    BLOCK_E: tl.constexpr,
    F: tl.constexpr,
    BLOCK_F: tl.constexpr,
    N_INNER: tl.constexpr,
    BLOCK_C: tl.constexpr,
    C_TILES: tl.constexpr,
    BLOCK_L: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    IS_FIRST: tl.constexpr,
) -> None:
    """Write the gradients of the angles of the last sines, and the sums over a program's positions of those of W_last.

    What earlier launches found for other channels is added to unless ``IS_FIRST``.
    """
    rows = tl.arange(0, BLOCK_F)
    is_row = rows < F
    channels = tl.arange(0, BLOCK_C)
    columns = tl.arange(0, BLOCK_E)
    first_high, first_low, first_down = _load_first(
        first_ptr, first_bias_ptr, freq_ptr, rows, is_row, columns, E
    )
    w_high, w_low, w_down = _load_inner(inner_ptr, freq_ptr, rows, is_row, F, N_INNER)
    last_high, last_low, last_down = _load_last(last_ptr, channels, rows, is_row, C, F, BLOCK_C, C_TILES)
    dlast = ()
    for _ in tl.static_range(C_TILES):
        dlast = dlast + (tl.zeros((BLOCK_C, BLOCK_F), tl.float32),)
    for block in range(tl.program_id(0), tl.cdiv(seqlen, BLOCK_L), tl.num_programs(0)):
        positions = block * BLOCK_L + tl.arange(0, BLOCK_L)
        is_position = positions < seqlen
        z_high, z_low, z_down = _load_features(z_ptr, positions, is_position, columns, E)
        angle = product(z_high, z_low, tl.trans(first_high), tl.trans(first_low)) * (z_down * first_down)
        h, slope = sine_and_cosine(angle)
        for i in tl.static_range(N_INNER):
            high, low = in_halves(h * SINE_SCALE)
            angle = product(high, low, tl.trans(w_high[i]), tl.trans(w_low[i])) * (w_down[i] * _UNSCALE)
            h, slope = sine_and_cosine(
                angle + _offset(inner_bias_ptr + i * F, freq_ptr, rows, is_row)[None, :]
            )
        h_high, h_low = in_halves(h * SINE_SCALE)
        dh = tl.zeros((BLOCK_L, BLOCK_F), tl.float32)
        summed = ()
        for j in tl.static_range(C_TILES):
            c = j * BLOCK_C + channels
            at = dk_ptr + c.to(tl.int64)[:, None] * dk_stride + positions[None, :]
            dk = tl.load(at, mask=(c < C)[:, None] & is_position[None, :], other=0.0)
            if HAS_WINDOW:
                decay = tl.load(decay_ptr + c, mask=c < C, other=0.0)
                t = tl.load(t_ptr + positions, mask=is_position, other=0.0)
                dk *= window(decay[:, None], t[None, :]) + shift
            high, low, down = scaled_halves(dk)
            dh += product(tl.trans(high), tl.trans(low), last_high[j], last_low[j]) * (down * last_down[j])
            summed = summed + (dlast[j] + product(high, low, h_high, h_low) * (down * _UNSCALE),)
        dlast = summed
        to = da_ptr + positions.to(tl.int64)[:, None] * F + rows[None, :]
        mask = is_position[:, None] & is_row[None, :]
        da = dh * slope
        if not IS_FIRST:
            da += tl.load(to, mask=mask, other=0.0)
        tl.store(to, da, mask=mask)
    for j in tl.static_range(C_TILES):
        c = j * BLOCK_C + channels
        to = dlast_ptr + (tl.program_id(0).to(tl.int64) * C + c[:, None]) * F + rows[None, :]
        tl.store(to, dlast[j], mask=(c < C)[:, None] & is_row[None, :])


@triton.jit
def sine_filter_bwd_sines_kernel(
    z_ptr,
    first_ptr,
    first_bias_ptr,
    inner_ptr,
    inner_bias_ptr,
    freq_ptr,
    da_ptr,
    dinner_ptr,
    dfeatures_ptr,
    dz_ptr,
    seqlen,
    E: tl.constexpr,
    BLOCK_E: tl.constexpr,
    F: tl.constexpr,
    BLOCK_F: tl.constexpr,
    N_INNER: tl.constexpr,
    BLOCK_L: tl.constexpr,
    HAS_DZ: tl.constexpr,
) -> None:
    """Sum the gradients of the sine layers over the positions of a program, and write them to a place of its own.

    With ``a_i`` the angles of layer i, ``dinner`` gets the sums over positions of ``da_i h_{i-1}``, and ``dfeatures``
    those of ``da_i`` times the features and a one.
    """
    rows = tl.arange(0, BLOCK_F)
    is_row = rows < F
    columns = tl.arange(0, BLOCK_E)
    first_high, first_low, first_down = _load_first(
        first_ptr, first_bias_ptr, freq_ptr, rows, is_row, columns, E
    )
    w_high, w_low, w_down = _load_inner(inner_ptr, freq_ptr, rows, is_row, F, N_INNER)
    dinner = ()
    for _ in tl.static_range(N_INNER):
        dinner = dinner + (tl.zeros((BLOCK_F, BLOCK_F), tl.float32),)
    dfeatures = ()
    for _ in tl.static_range(N_INNER + 1):
        dfeatures = dfeatures + (tl.zeros((BLOCK_F, BLOCK_E), tl.float32),)
    for block in range(tl.program_id(0), tl.cdiv(seqlen, BLOCK_L), tl.num_programs(0)):
        positions = block * BLOCK_L + tl.arange(0, BLOCK_L)
        is_position = positions < seqlen
        # forward again, up to the layer before the last sines
        z_high, z_low, z_down = _load_features(z_ptr, positions, is_position, columns, E)
        angle = product(z_high, z_low, tl.trans(first_high), tl.trans(first_low)) * (z_down * first_down)
        slopes = ()
        h_high = ()
        h_low = ()
        for i in tl.static_range(N_INNER):
            h, slope = sine_and_cosine(angle)
            high, low = in_halves(h * SINE_SCALE)
            h_high = h_high + (high,)
            h_low = h_low + (low,)
            slopes = slopes + (slope,)
            if i < N_INNER - 1:
                angle = product(high, low, tl.trans(w_high[i]), tl.trans(w_low[i])) * (w_down[i] * _UNSCALE)
                angle += _offset(inner_bias_ptr + i * F, freq_ptr, rows, is_row)[None, :]
        at = da_ptr + positions.to(tl.int64)[:, None] * F + rows[None, :]
        da = tl.load(at, mask=is_position[:, None] & is_row[None, :], other=0.0)
        of_inner = ()
        of_features = ()
        for n in tl.static_range(N_INNER + 1):
            high, low, down = scaled_halves(da)
            by_features = product(tl.trans(high), tl.trans(low), z_high, z_low) * (down * z_down)
            of_features = (dfeatures[N_INNER - n] + by_features,) + of_features
            if n < N_INNER:
                before = product(
                    tl.trans(high), tl.trans(low), h_high[N_INNER - 1 - n], h_low[N_INNER - 1 - n]
                )
                of_inner = (dinner[N_INNER - 1 - n] + before * (down * _UNSCALE),) + of_inner
                dh = product(high, low, w_high[N_INNER - 1 - n], w_low[N_INNER - 1 - n])
                da = dh * (down * w_down[N_INNER - 1 - n]) * slopes[N_INNER - 1 - n]
            elif HAS_DZ:
                freq = tl.load(freq_ptr + rows, mask=is_row, other=0.0)
                for e in tl.static_range(E):
                    weight = tl.load(first_ptr + rows * E + e, mask=is_row, other=0.0) * freq
                    dz = tl.sum(da * weight[None, :], axis=1)
                    tl.store(dz_ptr + positions * E + e, dz, mask=is_position)
        dinner = of_inner
        dfeatures = of_features
    program = tl.program_id(0).to(tl.int64)
    for i in tl.static_range(N_INNER):
        to = dinner_ptr + ((program * N_INNER + i) * F + rows[:, None]) * F + rows[None, :]
        tl.store(to, dinner[i], mask=is_row[:, None] & is_row[None, :])
    for i in tl.static_range(N_INNER + 1):
        to = dfeatures_ptr + ((program * (N_INNER + 1) + i) * F + rows[:, None]) * (E + 1) + columns[None, :]
        tl.store(to, dfeatures[i], mask=is_row[:, None] & (columns <= E)[None, :])
