// The real part of long rows, put together from SEGMENTS rows of complex numbers each, each with a scale of its own. Every
// `step`-th row of the planes is one.
//
// Defined by the caller, besides what split_segments.cuh asks for, VECTOR and FP16: IS_FILTER (the result is in fp32 and ends
// after `seqlen` taps), HAS_POST, SECOND (another result: 1 without a gate, 2 with a gate of its own), BLOCKS (of a
// multiprocessor).

KERNEL void __launch_bounds__(THREADS, BLOCKS) split_combine(
    const u32* planes, const float* scales, const Element* post, const Element* second_gate, void* y, Element* second,
    i64 first_channel, i64 batch, i64 channels, i64 step, i64 seqlen, i64 post_batch, i64 post_channel, i64 second_batch,
    i64 second_channel) {
    const i64 row = block_index_y(), d = first_channel + row / batch, b = row % batch;
    const int n = first_word();
    constexpr float SHARE = 1.0f / SEGMENTS;
#if IS_FILTER
    typedef Sums Sink;
    const Sink sink{static_cast<float*>(y) + d * seqlen, int(seqlen), SHARE};
#else
    typedef Output<HAS_POST, SECOND> Sink;
    const i64 to = (b * channels + d) * seqlen;
    const Sink sink{static_cast<Element*>(y) + to, second + to, post + b * post_batch + d * post_channel,
                    second_gate + b * second_batch + d * second_channel, int(seqlen), SHARE};
#endif
    u32 re[SEGMENTS][TOKENS], im[SEGMENTS][TOKENS];
    planes += row * step * SEGMENTS * N + n, scales += row * SEGMENTS;
#pragma unroll
    for (int s = 0; s < SEGMENTS; ++s) {
        read_words(planes + residue_of(s) * N, re[s]);
        read_words(planes + residue_of(s) * N + 16 * P, im[s]);
    }
    constexpr int STEP = SEGMENTS > 16 ? SEGMENTS / 4 : SEGMENTS;  // registers hold no more at once
    typename Sink::template Aside<TOKENS> aside[STEP][2];
    float v[SEGMENTS][2][TOKENS];
#pragma unroll
    for (int i = 0; i < 2 * STEP; ++i)
        if (STEP == SEGMENTS) sink.fetch(N * (i / 2) + n + 16 * P * (i % 2), aside[i / 2][i % 2]);
#pragma unroll
    for (int j = 0; j < TOKENS; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            Points r, i;
#pragma unroll
            for (int s = 0; s < SEGMENTS; ++s) {
                const float scale = scales[residue_of(s)];
                r[s] = scale * (e ? high_fp16(re[s][j]) : low_fp16(re[s][j]));
                i[s] = scale * (e ? high_fp16(im[s][j]) : low_fp16(im[s][j]));
            }
            over_residues(r, i);
#pragma unroll
            for (int s = 0; s < SEGMENTS; ++s) v[s][e][j] = r[s];
        }
#pragma unroll
    for (int start = 0; start < SEGMENTS; start += STEP) {
#pragma unroll
        for (int i = 0; i < 2 * STEP; ++i)
            if (STEP < SEGMENTS) sink.fetch(N * (start + i / 2) + n + 16 * P * (i % 2), aside[i / 2][i % 2]);
#pragma unroll
        for (int i = 0; i < 2 * STEP; ++i)
            sink.store(N * (start + i / 2) + n + 16 * P * (i % 2), v[start + i / 2][i % 2], aside[i / 2][i % 2]);
    }
}
