// Long rows, taken apart into SEGMENTS rows of complex numbers each: what split_rows.cuh reads.
//
// Defined by the caller, besides what split_segments.cuh asks for, VECTOR and FP16: HAS_PRE, IS_FILTER (x is in fp32 and
// ends after `seqlen` taps), BLOCKS (of a multiprocessor).

constexpr int TOP = 2;

KERNEL void __launch_bounds__(THREADS, BLOCKS) split_columns(
    const void* x, const Element* gate, u32* planes, float2* loudness, i64 first_channel, i64 batch, i64 row_words, i64 seqlen,
    i64 x_batch, i64 x_channel, i64 gate_batch, i64 gate_channel) {
    const i64 row = block_index_y(), d = first_channel + row / batch, b = row % batch;
    const int n = first_word();
    float v[SEGMENTS][2][TOKENS], most = 0.0f;
#if IS_FILTER
    const Filter source{static_cast<const float*>(x) + d * x_channel, int(seqlen)};
#pragma unroll
    for (int i = 0; i < 2 * SEGMENTS; ++i) source.load(N * (i / 2) + n + 16 * P * (i % 2), v[i / 2][i % 2]);
#else
    const Element* from = static_cast<const Element*>(x) + b * x_batch + d * x_channel;
    Tokens<TOKENS> tokens[2 * SEGMENTS], by[2 * SEGMENTS];
#pragma unroll
    for (int i = 0; i < 2 * SEGMENTS; ++i) tokens[i].fetch(from, N * (i / 2) + n + 16 * P * (i % 2), int(seqlen));
    if (HAS_PRE) gate += b * gate_batch + d * gate_channel;
#pragma unroll
    for (int i = 0; i < 2 * SEGMENTS; ++i)
        if (HAS_PRE) by[i].fetch(gate, N * (i / 2) + n + 16 * P * (i % 2), int(seqlen));
#pragma unroll
    for (int i = 0; i < 2 * SEGMENTS; ++i)
#pragma unroll
        for (int j = 0; j < TOKENS; ++j)
            v[i / 2][i % 2][j] = HAS_PRE ? tokens[i].value(j) * by[i].value(j) : tokens[i].value(j);
#endif
#pragma unroll
    for (int i = 0; i < 2 * SEGMENTS; ++i)
#pragma unroll
        for (int j = 0; j < TOKENS; ++j) most = fmaxf(most, fabsf(v[i / 2][i % 2][j]));
    // no sum is larger
    const Scale scale(SEGMENTS * greatest(most), TOP);
    u32 re[SEGMENTS][TOKENS], im[SEGMENTS][TOKENS];
    u32 loudest = 0u;
#pragma unroll
    for (int j = 0; j < TOKENS; ++j) {
        Points r[2], i[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
#pragma unroll
            for (int s = 0; s < SEGMENTS; ++s) r[e][s] = scale.up * v[s][e][j];
            over_segments(r[e], i[e]);
        }
#pragma unroll
        for (int s = 0; s < SEGMENTS; ++s) {
            re[s][j] = pack_fp16(r[0][s], r[1][s]), im[s][j] = pack_fp16(i[0][s], i[1][s]);
            loudest = half_max_abs(half_max_abs(loudest, re[s][j]), im[s][j]);
        }
    }
#pragma unroll
    for (int s = 0; s < SEGMENTS; ++s) {
        u32* to = planes + (row * SEGMENTS + residue_of(s)) * row_words + n;
        write_words(to, re[s]), write_words(to + 16 * P, im[s]);
    }
    most = scale.down * greatest(fmaxf(low_fp16(loudest), high_fp16(loudest)));
    if (thread_index() % 32 == 0) loudness[row * (N / 2 / COLUMNS) + warp_of_row()] = make_float2(most, scale.down);
}
