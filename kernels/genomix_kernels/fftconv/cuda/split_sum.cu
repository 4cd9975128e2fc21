// Gradients of filters: the real parts of long rows, put together as in split_combine and summed over a batch, in fp32.
//
// Defined by the caller, besides what split_segments.cuh asks for, VECTOR and FP16: BLOCKS (of a multiprocessor).

KERNEL void __launch_bounds__(THREADS, BLOCKS) split_sum(
    const u32* planes, const float* scales, const uint4* matrix, float* dh, i64 first_channel, i64 batch, i64 filter_len) {
    const i64 row = block_index_y() * batch, d = first_channel + block_index_y();
    const Lane at;
    const int first = first_word();
    planes += row * SEGMENTS * N + first + COUNT * chunk_of_line(at.g, first), scales += row * SEGMENTS;
    float most = 0.0f;
    for (i64 i = at.lane; i < batch * SEGMENTS; i += 32) most = fmaxf(most, scales[i]);
    most = greatest(most);
    // halves of words, of segments g and g + 8 of a tile
    float sums[BY_SEGMENTS][COUNT][2][4];
#pragma unroll
    for (int i = 0; i < BY_SEGMENTS * COUNT * 8; ++i) sums[i / (8 * COUNT)][i / 8 % COUNT][i / 4 % 2][i % 4] = 0.0f;
#pragma unroll 1
    for (i64 b = 0; b < batch; ++b, planes += SEGMENTS * N, scales += SEGMENTS)
#pragma unroll
        for (int k = 0; k < BY_RESIDUES; ++k) {
            u32 right[COUNT][2][2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int q = residue_of_lane(k, i);
                const bool is_one = SEGMENTS % 8 == 0 || q < SEGMENTS;
                u32 words[2][COUNT];
                read_residue(planes + q * N, words, is_one);
                as_factors(words, is_one && most > 0.0f ? scales[q] / most : 0.0f, right, i);
            }
#pragma unroll
            for (int tile = 0; tile < BY_SEGMENTS; ++tile) {
                u32 left[4];
                read_matrix(matrix, tile * BY_RESIDUES + k, left);
#pragma unroll
                for (int j = 0; j < COUNT; ++j)
#pragma unroll
                    for (int e = 0; e < 2; ++e) product_fp16(sums[tile][j][e], left, right[j][e][0], right[j][e][1]);
            }
        }
    const Sums sink{dh + d * filter_len, int(filter_len), most / SEGMENTS};
#pragma unroll
    for (int tile = 0; tile < BY_SEGMENTS; ++tile)
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                const int segment = 16 * tile + at.g + 8 * i;
                float v[TOKENS], one[4], two[4];
#pragma unroll
                for (int j = 0; j < COUNT; ++j) v[j] = sums[tile][j][e][2 * i], v[COUNT + j] = sums[tile][j][e][2 * i + 1];
                as_sectors(v, one, two);
                const int to = N * segment + first + 2 * TOKENS * (at.t / 2) + 4 * (at.t % 2) + HALF * e;
                if (SEGMENTS % 16 == 0 || segment < SEGMENTS) sink.store(to, one, {}), sink.store(to + TOKENS, two, {});
            }
}
