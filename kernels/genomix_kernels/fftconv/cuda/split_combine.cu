// The real part of long rows, put together from SEGMENTS rows of complex numbers each, each with a scale of its own.
//
// Defined by the caller, besides what split_segments.cuh asks for, VECTOR and FP16: HAS_POST, SECOND (another result: 1 without a
// gate, 2 with a gate of its own), BLOCKS (of a multiprocessor).

KERNEL void __launch_bounds__(THREADS, BLOCKS) split_combine(
    const u32* planes, const float* scales, const uint4* matrix, const Element* post, const Element* second_gate, Element* y,
    Element* second, i64 first_channel, i64 batch, i64 channels, i64 seqlen, i64 post_batch, i64 post_channel,
    i64 second_batch, i64 second_channel) {
    const i64 row = block_index_y(), d = first_channel + row / batch, b = row % batch;
    const Lane at;
    const int first = first_word();
    planes += row * SEGMENTS * N + first + COUNT * chunk_of_line(at.g, first), scales += row * SEGMENTS;
    u32 words[BY_RESIDUES][2][2][COUNT];
    float scale[BY_RESIDUES][2], most = 0.0f;
#pragma unroll
    for (int k = 0; k < BY_RESIDUES; ++k)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int q = residue_of_lane(k, i);
            const bool is_one = SEGMENTS % 8 == 0 || q < SEGMENTS;
            scale[k][i] = is_one ? scales[q] : 0.0f;
            most = fmaxf(most, scale[k][i]);
            read_residue(planes + q * N, words[k][i], is_one);
        }
    most = greatest(most);
    // scales are powers of two times what all of them have in common
    u32 right[BY_RESIDUES][COUNT][2][2];
#pragma unroll
    for (int k = 0; k < BY_RESIDUES; ++k)
#pragma unroll
        for (int i = 0; i < 2; ++i) as_factors(words[k][i], scale[k][i] / most, right[k], i);

    constexpr float SHARE = 1.0f / SEGMENTS;
    typedef Output<HAS_POST, SECOND> Sink;
    const i64 to = (b * channels + d) * seqlen;
    const Sink sink{y + to, second + to, post + b * post_batch + d * post_channel,
                    second_gate + b * second_batch + d * second_channel, int(seqlen), SHARE * most};
#pragma unroll 1
    for (int tile = 0; tile < BY_SEGMENTS; ++tile) {
        // segments g and g + 8 of the tile, both halves
        typename Sink::template Aside<TOKENS> aside[2][2];
        const auto place = [&](int i, int e) { return N * (16 * tile + at.g + 8 * i) + first + TOKENS * at.t + HALF * e; };
        const auto is_one = [&](int i) { return SEGMENTS % 16 == 0 || 16 * tile + at.g + 8 * i < SEGMENTS; };
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
            for (int e = 0; e < 2; ++e)
                if (is_one(i)) sink.fetch(place(i, e), aside[i][e]);
        float sums[COUNT][2][4];
#pragma unroll
        for (int k = 0; k < BY_RESIDUES; ++k) {
            u32 left[4];
            read_matrix(matrix, tile * BY_RESIDUES + k, left);
#pragma unroll
            for (int j = 0; j < COUNT; ++j)
#pragma unroll
                for (int e = 0; e < 2; ++e)
                    if (k == 0) product_alone_fp16(sums[j][e], left, right[k][j][e][0], right[k][j][e][1]);
                    else product_fp16(sums[j][e], left, right[k][j][e][0], right[k][j][e][1]);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                float v[TOKENS];
#pragma unroll
                for (int j = 0; j < COUNT; ++j) v[j] = sums[j][e][2 * i], v[COUNT + j] = sums[j][e][2 * i + 1];
                if (is_one(i)) sink.store(place(i, e), v, aside[i][e]);
            }
    }
}
