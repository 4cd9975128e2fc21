// The transform of each filter, h (channels, filter_len) in fp32: fp16 words as onepass_tile.cuh leaves them, of which the
// largest magnitude is between 1/2 and 1, and behind them what to multiply them by. A block or cluster takes one filter.

KERNEL void __launch_bounds__(32 * W) onepass_spectrum(const float* h, u32* spectrum, const uint4* tables, i64 filter_len) {
    SHARED_BYTES;
    const Row row(tables, shared_bytes);
    const i64 d = block_index() / CLUSTER;
    Words re, im;
    float down = row.load(re, im, Filter{h + d * filter_len, int(filter_len)}, 3);
    float most = 0.0f;
#pragma unroll
    for (int j = 0; j < P; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            most = fmaxf(most, fmaxf(fabsf(low_fp16(re[j][i])), fabsf(high_fp16(re[j][i]))));
            most = fmaxf(most, fmaxf(fabsf(low_fp16(im[j][i])), fabsf(high_fp16(im[j][i]))));
        }
    most = row.largest(most);
    const Scale scale(most, -1);
    uint4* to = reinterpret_cast<uint4*>(spectrum + d * WORDS) + row.q * P * 64 + row.at.lane;
#pragma unroll
    for (int j = 0; j < P; ++j)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
            const Tile& x = c ? im[j] : re[j];
            u32 words[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) words[i] = pack_fp16(scale.up * low_fp16(x[i]), scale.up * high_fp16(x[i]));
            to[(2 * j + c) * 32] = make_uint4(words[0], words[1], words[2], words[3]);
        }
    if (row.rank == 0 && thread_index() == 0) {
        float* last = reinterpret_cast<float*>(spectrum + d * WORDS + N);
        last[0] = most > 0.0f ? down * scale.down * sqrtf(float(N)) : 1.0f;
        last[1] = last[2] = last[3] = 0.0f;
    }
}
