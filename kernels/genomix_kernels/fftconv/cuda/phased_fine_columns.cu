// Columns in fp32: x[N2 n1 + n2] -> planes[k1][n2], times exp(-2 pi i n2 (k1 - 1/4) / M). With IS_BACK, the way back.
//
// Defined by the caller: what phased_fine.cuh asks for, IS_BACK, HAS_GATE, HAS_POST, HAS_SKIP.

KERNEL void __launch_bounds__(THREADS) phased_fine_columns(
    const INPUT* __restrict__ u, const INPUT* __restrict__ gate, const INPUT* __restrict__ post,
    const float* __restrict__ skip, INPUT* y, float2* planes, const float2* __restrict__ turns,
    const float2* __restrict__ weights, const float2* __restrict__ coarse, const float2* __restrict__ fine, i64 batch,
    i64 row_step, i64 seqlen, i64 u_batch, i64 u_channel, i64 gate_batch, i64 gate_channel, i64 post_batch,
    i64 post_channel, i64 y_batch, i64 y_channel) {
    SHARED_BYTES;
    float2* x = reinterpret_cast<float2*>(shared_bytes);
    float2* other = x + N1 * LANES;
    i64 row = block_index_y(), channel = row / batch, b = row % batch, first = block_index() * LANES;
    u += b * u_batch + channel * u_channel;
    if (HAS_GATE) gate += b * gate_batch + channel * gate_channel;
    if (HAS_POST) post += b * post_batch + channel * post_channel;
    planes += row * row_step * SIZE + first;
    for (int k = thread_index(); k < N1 * LANES; k += THREADS) {
        i64 n = static_cast<i64>(k / LANES) * N2 + k % LANES;
        if (IS_BACK) {
            i64 angle = (first + k % LANES) * (4 * (k / LANES) - 1);
            // conjugated on the way in and out: the transform ahead is then the inverse
            x[k] = times(conjugate(planes[n]), turn_of(coarse, fine, angle & (4 * SIZE - 1)));
        } else {
            i64 at = n + first;
            float value = at < seqlen ? load(u, at) : 0.0f;
            if (HAS_GATE) value *= at < seqlen ? load(gate, at) : 0.0f;
            float2 weight = weights[k / LANES];
            x[k] = make_float2(value * weight.x, value * weight.y);
        }
    }
    x = transform(x, other, N1, LANES, turns);
    for (int k = thread_index(); k < N1 * LANES; k += THREADS) {
        i64 n = static_cast<i64>(k / LANES) * N2 + k % LANES;
        if (!IS_BACK) {
            i64 angle = (first + k % LANES) * (4 * (k / LANES) - 1);
            planes[n] = times(x[k], turn_of(coarse, fine, angle & (4 * SIZE - 1)));
            continue;
        }
        i64 at = n + first;
        if (at >= seqlen) continue;
        float2 value = times(x[k], weights[k / LANES]);
        float sum = value.x * (1.0f / SIZE);
        if (HAS_SKIP) {
            float input = load(u, at);
            if (HAS_GATE) input *= load(gate, at);
            sum = fmaf(skip[channel], input, sum);
        }
        if (HAS_POST) sum *= load(post, at);
        y[b * y_batch + channel * y_channel + at] = sum;
    }
}
