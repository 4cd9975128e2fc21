// Long rows, taken apart into SEGMENTS rows of complex numbers each: what split_columns does for fewer, in two stages.
//
// Defined by the caller, besides what staged.cuh asks for, VECTOR and FP16: HAS_PRE, IS_FILTER (x is in fp32 and ends after
// `seqlen` taps), BLOCKS (of a multiprocessor). Each value is fetched once, and read from shared memory for the scale and then
// again.

constexpr int TOP = 3;
constexpr int CHUNKS = IS_FILTER ? 16 : 8, VALUES = 64 / CHUNKS;  // of a segment, of a chunk

// A chunk's values, times those of the gate's
DEVICE void read_values(const uint4* x, const uint4* gate, float (&v)[VALUES]) {
    const uint4 y = *x;
#if IS_FILTER
    v[0] = as_float(y.x), v[1] = as_float(y.y), v[2] = as_float(y.z), v[3] = as_float(y.w);
#else
    const u32 words[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
    for (int i = 0; i < VALUES; ++i) v[i] = i % 2 ? high_of(words[i / 2]) : low_of(words[i / 2]);
    if (!HAS_PRE) return;
    const uint4 z = *gate;
    const u32 by[4] = {z.x, z.y, z.z, z.w};
#pragma unroll
    for (int i = 0; i < VALUES; ++i) v[i] *= i % 2 ? high_of(by[i / 2]) : low_of(by[i / 2]);
#endif
}
template <class T> DEVICE void fetch_chunk(uint4* to, const T* from, int n, int seqlen) {
    if (VECTOR == VALUES) return copy_async(to, n < seqlen ? from + n : from, n < seqlen);
    alignas(16) T x[VALUES];
#pragma unroll
    for (int i = 0; i < VALUES; ++i) x[i] = n + i < seqlen ? from[n + i] : T{};
    *to = *reinterpret_cast<const uint4*>(x);
}

KERNEL void __launch_bounds__(THREADS, BLOCKS) staged_columns(
    const void* x, const Element* gate, const uint4* tables, u32* planes, float2* loudness, i64 first_channel, i64 batch,
    i64 row_words, i64 seqlen, i64 x_batch, i64 x_channel, i64 gate_batch, i64 gate_channel) {
    SHARED_BYTES;
    uint4 *tokens = reinterpret_cast<uint4*>(shared_bytes), *gates = tokens + CHUNKS * SEGMENTS;
    float* maxima = reinterpret_cast<float*>(gates + (HAS_PRE ? CHUNKS * SEGMENTS : 0));
    const i64 row = block_index_y(), d = first_channel + row / batch, b = row % batch;
    const Spot at;
    const int warp = thread_index() / 32;
    // neighbouring threads fetch neighbouring chunks
    const auto place = [](int k) { return k / CHUNKS * CHUNKS + (k % CHUNKS ^ turn(k / CHUNKS)); };
#if IS_FILTER
    const float* from = static_cast<const float*>(x) + d * x_channel;
#else
    const Element* from = static_cast<const Element*>(x) + b * x_batch + d * x_channel;
#endif
    gate += b * gate_batch + d * gate_channel;
    for (int k = thread_index(); k < CHUNKS * SEGMENTS; k += THREADS) {
        const int n = N * (k / CHUNKS) + first_of_block() + 16 * P * (k % CHUNKS / (CHUNKS / 2)) + VALUES * (k % (CHUNKS / 2));
        fetch_chunk(tokens + place(k), from, n, int(seqlen));
        if (HAS_PRE) fetch_chunk(gates + place(k), gate, n, int(seqlen));
    }
    commit_copies();
    wait_for_copies<0>();
    float most = 0.0f;
#pragma unroll 4
    for (int k = thread_index(); k < CHUNKS * SEGMENTS; k += THREADS) {
        float v[VALUES];
        read_values(tokens + place(k), gates + place(k), v);
#pragma unroll
        for (int i = 0; i < VALUES; ++i) most = fmaxf(most, fabsf(v[i]));
    }
    const Scale scale(greatest_of_block(most, maxima), TOP);  // from here on all have what others have fetched
    Tiles re, im;
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < TOKENS; j += VALUES) {
                float v[2][VALUES];
#pragma unroll
                for (int pair = 0; pair < 2; ++pair) {
                    const int k = CHUNKS * at.segment(i, pair) + CHUNKS / 2 * half + (TOKENS * warp + j) / VALUES;
                    read_values(tokens + place(k), gates + place(k), v[pair]);
                }
#pragma unroll
                for (int k = 0; k < VALUES; ++k)
                    re[TOKENS * half + j + k][i] = pack_fp16(scale.up * v[0][k], scale.up * v[1][k]);
            }
    forward(re, im, tables);
    u32 loudest = 0u;
    // 8 neighbouring words of each lane's residues
    u32* to = planes + row * SEGMENTS * row_words + first_of_warp() + 4 * (at.t % 2);
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int part = 0; part < 2; ++part) {
            u32 x[2][TOKENS];
#pragma unroll
            for (int j = 0; j < TOKENS; ++j) {
                const u32 a = part ? im[j][i] : re[j][i], b = part ? im[TOKENS + j][i] : re[TOKENS + j][i];
                take_halves(a, b, x[0][j], x[1][j]);
                loudest = half_max_abs(half_max_abs(loudest, a), b);
            }
#pragma unroll
            for (int pair = 0; pair < 2; ++pair) {
                u32 first[4], second[4];
                as_sectors(x[pair], first, second);
                // the even lane's residue, then the odd one's, of a k2 that is 2 further
                u32* place = to + (at.residue(i, pair) - 32 * (at.t % 2)) * row_words + 16 * P * part;
                *reinterpret_cast<uint4*>(place) = make_uint4(first[0], first[1], first[2], first[3]);
                *reinterpret_cast<uint4*>(place + 32 * row_words) = make_uint4(second[0], second[1], second[2], second[3]);
            }
        }
    const float down = scale.down / GAIN;
    most = down * greatest_of_block(fmaxf(low_fp16(loudest), high_fp16(loudest)), maxima + THREADS / 32);
    if (thread_index() == 0) loudness[row * (N / 2 / WIDTH) + block_index()] = make_float2(most, down);
}
