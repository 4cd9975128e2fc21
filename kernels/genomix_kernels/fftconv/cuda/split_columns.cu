// Long rows, taken apart into SEGMENTS rows of complex numbers each: what split_rows.cuh reads.
//
// Defined by the caller, besides what split_segments.cuh asks for, VECTOR and FP16: HAS_PRE, IS_FILTER (x is in fp32 and
// ends after `seqlen` taps), BLOCKS (of a multiprocessor).

constexpr int TOP = 3;

KERNEL void __launch_bounds__(THREADS, BLOCKS) split_columns(
    const void* x, const Element* gate, const uint4* matrix, u32* planes, float2* loudness, i64 first_channel, i64 batch,
    i64 row_words, i64 seqlen, i64 x_batch, i64 x_channel, i64 gate_batch, i64 gate_channel) {
    const i64 row = block_index_y(), d = first_channel + row / batch, b = row % batch;
    const Lane at;
    const int n = first_word() + TOKENS * (at.g / 2) + HALF * (at.g % 2);
    // what a lane has of a step over segments: two pairs of them
    float v[BY_SEGMENTS][4][TOKENS], most = 0.0f;
    const auto segment = [&at](int k, int i) { return 16 * k + 2 * at.t + i % 2 + 8 * (i / 2); };
#if IS_FILTER
    const Filter source{static_cast<const float*>(x) + d * x_channel, int(seqlen)};
#pragma unroll
    for (int k = 0; k < BY_SEGMENTS; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i) source.load(N * segment(k, i) + n, v[k][i]);
#else
    const Element* from = static_cast<const Element*>(x) + b * x_batch + d * x_channel;
    if (HAS_PRE) gate += b * gate_batch + d * gate_channel;
    Tokens<TOKENS> tokens[BY_SEGMENTS][4], by[BY_SEGMENTS][4];
#pragma unroll
    for (int k = 0; k < BY_SEGMENTS; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            tokens[k][i].fetch(from, N * segment(k, i) + n, int(seqlen));
            if (HAS_PRE) by[k][i].fetch(gate, N * segment(k, i) + n, int(seqlen));
        }
#pragma unroll
    for (int k = 0; k < BY_SEGMENTS; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < TOKENS; ++j)
                v[k][i][j] = HAS_PRE ? tokens[k][i].value(j) * by[k][i].value(j) : tokens[k][i].value(j);
#endif
#pragma unroll
    for (int k = 0; k < BY_SEGMENTS; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < TOKENS; ++j) most = fmaxf(most, fabsf(v[k][i][j]));
    const Scale scale(greatest(most), TOP);
    u32 right[BY_SEGMENTS][TOKENS][2];
#pragma unroll
    for (int k = 0; k < BY_SEGMENTS; ++k)
#pragma unroll
        for (int j = 0; j < TOKENS; ++j)
#pragma unroll
            for (int pair = 0; pair < 2; ++pair)
                right[k][j][pair] = pack_fp16(scale.up * v[k][2 * pair][j], scale.up * v[k][2 * pair + 1][j]);

    constexpr float SHARE = 1.0f / (SEGMENTS <= 8 ? 8 : SEGMENTS <= 16 ? 16 : SEGMENTS <= 32 ? 32 : 64);
    u32* to = planes + row * SEGMENTS * row_words + first_word();
    u32 loudest = 0u, left[BY_SEGMENTS][4];
#pragma unroll
    for (int k = 0; k < BY_SEGMENTS; ++k) read_matrix(matrix, k, left[k]);
#pragma unroll 1
    for (int tile = 0; tile < BY_RESIDUES; ++tile) {
        float sums[TOKENS][4];  // two halves of a residue's real part, then of its imaginary part
#pragma unroll
        for (int k = 0; k < BY_SEGMENTS; ++k)
#pragma unroll
            for (int j = 0; j < TOKENS; ++j)
                if (k == 0) product_alone_fp16(sums[j], left[k], right[k][j][0], right[k][j][1]);
                else product_fp16(sums[j], left[k], right[k][j][0], right[k][j][1]);
        // the next tile's factors come while this one is written
        const int next = min(tile + 1, BY_RESIDUES - 1);
#pragma unroll
        for (int k = 0; k < BY_SEGMENTS; ++k) read_matrix(matrix, next * BY_SEGMENTS + k, left[k]);
        u32 re[TOKENS], im[TOKENS];
#pragma unroll
        for (int j = 0; j < TOKENS; ++j) {
            re[j] = pack_fp16(SHARE * sums[j][0], SHARE * sums[j][1]);
            im[j] = pack_fp16(SHARE * sums[j][2], SHARE * sums[j][3]);
            loudest = half_max_abs(half_max_abs(loudest, re[j]), im[j]);
        }
        const int q = 8 * tile + at.g;
        const bool is_one = SEGMENTS % 8 == 0 || q < SEGMENTS;
        write_words(to + q * row_words, re, is_one), write_words(to + q * row_words + HALF, im, is_one);
    }
    const float down = scale.down / SHARE;
    most = down * greatest(fmaxf(low_fp16(loudest), high_fp16(loudest)));
    if (at.lane == 0) loudness[row * (N / 2 / WIDTH) + warp_of_row()] = make_float2(most, down);
}
