// The real part of long rows, put together from SEGMENTS rows of complex numbers each, each with a scale of its own: what
// split_combine does for fewer, in two stages.
//
// Defined by the caller, besides what staged.cuh asks for, VECTOR and FP16: HAS_POST, SECOND (another result: 1 without a
// gate, 2 with a gate of its own), BLOCKS (of a multiprocessor).

KERNEL void __launch_bounds__(THREADS, BLOCKS) staged_combine(
    const u32* planes, const float* scales, const uint4* tables, const Element* post, const Element* second_gate, Element* y,
    Element* second, i64 first_channel, i64 batch, i64 channels, i64 seqlen, i64 post_batch, i64 post_channel,
    i64 second_batch, i64 second_channel) {
    SHARED_BYTES;
    uint4* lines = reinterpret_cast<uint4*>(shared_bytes);
    const i64 row = block_index_y(), d = first_channel + row / batch, b = row % batch;
    const float most = put_together(planes + row * SEGMENTS * N, scales + row * SEGMENTS, tables, lines);
    typedef Output<HAS_POST, SECOND> Sink;
    const i64 to = (b * channels + d) * seqlen;
    const Sink sink{y + to, second + to, post + b * post_batch + d * post_channel,
                    second_gate + b * second_batch + d * second_channel, int(seqlen), most / (GAIN_BACK * SEGMENTS)};
    constexpr int STEP = 4, AT_ONCE = 8;
    const Copies<8> copies;
    const int start = N * copies.line + first_of_block() + HALF * (copies.chunk / 4) + AT_ONCE * (copies.chunk % 4);
#pragma unroll
    for (int first = 0; first < copies.COUNT; first += STEP) {
        typename Sink::template Aside<AT_ONCE> aside[STEP];
#pragma unroll
        for (int k = 0; k < STEP; ++k) sink.fetch(start + N * copies.STEP * (first + k), aside[k]);
#pragma unroll
        for (int k = 0; k < STEP; ++k) {
            const uint4 x = *copies.place(lines, first + k);
            const float v[AT_ONCE] = {low_fp16(x.x), high_fp16(x.x), low_fp16(x.y), high_fp16(x.y),
                                      low_fp16(x.z), high_fp16(x.z), low_fp16(x.w), high_fp16(x.w)};
            sink.store(start + N * copies.STEP * (first + k), v, aside[k]);
        }
    }
}
