// Long rows, taken apart into SEGMENTS rows of complex numbers each: what split_columns does for fewer, in two stages.
//
// Defined by the caller, besides what staged.cuh asks for, VECTOR and FP16: HAS_PRE, IS_FILTER (x is in fp32 and ends after
// `seqlen` taps), BLOCKS (of a multiprocessor). Values are fetched once.

constexpr int TOP = 3;
constexpr int CHUNKS = IS_FILTER ? 16 : 8, VALUES = 64 / CHUNKS;  // of a segment, of a chunk
constexpr int BYTES_IN = 16 * CHUNKS * SEGMENTS * (HAS_PRE ? 2 : 1), BYTES_OUT = 256 * SEGMENTS;

DEVICE void as_values(uint2 x, float (&v)[TOKENS]) { v[0] = low_of(x.x), v[1] = high_of(x.x), v[2] = low_of(x.y), v[3] = high_of(x.y); }
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
    uint4 *lines = reinterpret_cast<uint4*>(shared_bytes), *gates = lines + CHUNKS * SEGMENTS;
    float* maxima = reinterpret_cast<float*>(shared_bytes + (BYTES_IN > BYTES_OUT ? BYTES_IN : BYTES_OUT));
    const i64 row = block_index_y(), d = first_channel + row / batch, b = row % batch;
#if IS_FILTER
    const float* from = static_cast<const float*>(x) + d * x_channel;
#else
    const Element* from = static_cast<const Element*>(x) + b * x_batch + d * x_channel;
#endif
    gate += b * gate_batch + d * gate_channel;
    {
        const Copies<CHUNKS> copies;
        const int half = copies.chunk / (CHUNKS / 2), n = HALF * half + VALUES * (copies.chunk - CHUNKS / 2 * half);
        const int start = N * copies.line + first_of_block() + n;
#pragma unroll
        for (int k = 0; k < copies.COUNT; ++k) {
            fetch_chunk(copies.place(lines, k), from, start + N * copies.STEP * k, int(seqlen));
            if (HAS_PRE) fetch_chunk(copies.place(gates, k), gate, start + N * copies.STEP * k, int(seqlen));
        }
    }
    commit_copies();
    wait_for_copies<0>();
    barrier();
    const Spot at;
    float most = 0.0f;
    Tiles re, im;
    {
        float v[4][2][2][TOKENS];
#pragma unroll
        for (int k = 0; k < 16; ++k) {
            const int i = k / 4, pair = k / 2 % 2, half = k % 2;
            float(&to)[TOKENS] = v[i][pair][half];
#if IS_FILTER
            const uint4 y = *at.taps(lines, i, pair, half);
            to[0] = as_float(y.x), to[1] = as_float(y.y), to[2] = as_float(y.z), to[3] = as_float(y.w);
#else
            as_values(*at.tokens(lines, i, pair, half), to);
            if (HAS_PRE) {
                float by[TOKENS];
                as_values(*at.tokens(gates, i, pair, half), by);
#pragma unroll
                for (int j = 0; j < TOKENS; ++j) to[j] *= by[j];
            }
#endif
#pragma unroll
            for (int j = 0; j < TOKENS; ++j) most = fmaxf(most, fabsf(to[j]));
        }
        most = greatest_of_block(most, maxima);  // from here on all have read the lines
        const Scale scale(most, TOP);
        most = scale.down;
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < 2 * TOKENS; ++j) {
                const float(&a)[TOKENS] = v[i][0][j / TOKENS], (&b)[TOKENS] = v[i][1][j / TOKENS];
                re[j][i] = pack_fp16(scale.up * a[j % TOKENS], scale.up * b[j % TOKENS]);
            }
    }
    const float down = most / GAIN;
    forward(re, im, tables);
    u32 loudest = 0u;
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
            for (int pair = 0; pair < 2; ++pair)
                *at.words(lines, i, pair, part) = make_uint4(x[pair][0], x[pair][1], x[pair][2], x[pair][3]);
        }
    most = down * greatest_of_block(fmaxf(low_fp16(loudest), high_fp16(loudest)), maxima + WARPS);
    if (thread_index() == 0) loudness[row * (N / 2 / WIDTH) + block_index()] = make_float2(most, down);
    const Copies<16> copies;
    u32* to = planes + (row * SEGMENTS + copies.line) * row_words + first_of_block() + HALF * (copies.chunk / 8) +
              4 * chunk_of_line(copies.chunk % 8, first_of_block());
#pragma unroll
    for (int k = 0; k < copies.COUNT; ++k, to += copies.STEP * row_words) *reinterpret_cast<uint4*>(to) = *copies.place(lines, k);
}
