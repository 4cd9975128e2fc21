// Gradients of filters: the real parts of long rows, put together as in staged_combine and summed over a batch, in fp32.
//
// Defined by the caller, besides what staged.cuh asks for, VECTOR and FP16: BLOCKS (of a multiprocessor).

constexpr int STEP = THREADS / 16;  // lines at once

KERNEL void __launch_bounds__(THREADS, BLOCKS) staged_sum(
    const u32* planes, const float* scales, const uint4* tables, float* dh, i64 first_channel, i64 batch, i64 filter_len) {
    SHARED_BYTES;
    uint4* lines = reinterpret_cast<uint4*>(shared_bytes);
    const i64 row = block_index_y() * batch, d = first_channel + block_index_y();
    const Sums sink{dh + d * filter_len, int(filter_len), 1.0f};
    const Filter before{dh + d * filter_len, int(filter_len)};
#pragma unroll 1
    for (i64 b = 0; b < batch; ++b) {
        if (b > 0) barrier();
        const float most = put_together(planes + (row + b) * SEGMENTS * N, scales + (row + b) * SEGMENTS, tables, lines);
        const float scale = most / (GAIN_BACK * SEGMENTS);
        // four tokens at a time, so that neighbours fill sectors; a thread finds what it has left of the rows before
        const int line = thread_index() / 16, chunk = thread_index() / 2 % 8, half = chunk / 4;
        const int start = N * line + first_of_block() + HALF * half + 4 * (thread_index() % 16 - 8 * half);
#pragma unroll 8
        for (int k = 0; k < SEGMENTS / STEP; ++k) {
            const int n = start + N * STEP * k;
            const uint4* place = lines + 8 * line + (chunk ^ 4 * (line % 2) ^ STEP * k / 32 % 4) + 8 * STEP * k;
            const uint2 x = reinterpret_cast<const uint2*>(place)[thread_index() % 2];
            float v[4] = {scale * low_fp16(x.x), scale * high_fp16(x.x), scale * low_fp16(x.y), scale * high_fp16(x.y)};
            if (b > 0) {
                float sum[4];
                before.load(n, sum);
#pragma unroll
                for (int j = 0; j < 4; ++j) v[j] += sum[j];
            }
            sink.store(n, v, {});
        }
    }
}
