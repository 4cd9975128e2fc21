// Long rows, taken apart into SEGMENTS rows of complex numbers each: what split_columns does for fewer, in two stages.
//
// Defined by the caller, besides what staged.cuh asks for, VECTOR and FP16: HAS_PRE, IS_FILTER (x is in fp32 and ends after
// `seqlen` taps), BLOCKS (of a multiprocessor).

constexpr int TOP = 3;

KERNEL void __launch_bounds__(THREADS, BLOCKS) staged_columns(
    const void* x, const Element* gate, const uint4* tables, u32* planes, float2* loudness, i64 first_channel, i64 batch,
    i64 row_words, i64 seqlen, i64 x_batch, i64 x_channel, i64 gate_batch, i64 gate_channel) {
    SHARED_BYTES;
    float* maxima = reinterpret_cast<float*>(shared_bytes);
    const i64 row = block_index_y(), d = first_channel + row / batch, b = row % batch;
    const Spot at;
    // a half of the tile, word of a tile, segment of a word
    float v[2][4][2][TOKENS], most = 0.0f;
#if IS_FILTER
    const Filter source{static_cast<const float*>(x) + d * x_channel, int(seqlen)};
#else
    const Element* from = static_cast<const Element*>(x) + b * x_batch + d * x_channel;
    if (HAS_PRE) gate += b * gate_batch + d * gate_channel;
    const Signal source{from, HAS_PRE ? gate : nullptr, int(seqlen)};
#endif
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int pair = 0; pair < 2; ++pair)
                source.load(N * at.segment(i, pair) + first_of_warp() + 16 * P * half, v[half][i][pair]);
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int i = 0; i < 8; ++i)
#pragma unroll
            for (int j = 0; j < TOKENS; ++j) most = fmaxf(most, fabsf(v[half][i / 2][i % 2][j]));
    const Scale scale(greatest_of_block(most, maxima), TOP);
    Tiles re, im;
#pragma unroll
    for (int k = 0; k < 2 * TOKENS; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i)
            re[k][i] = pack_fp16(scale.up * v[k / TOKENS][i][0][k % TOKENS], scale.up * v[k / TOKENS][i][1][k % TOKENS]);
    forward(re, im, tables);
    u32 loudest = 0u;
    // of each lane's residues 8 neighbouring words; pairs of lanes exchange halves of them, so that what they write at once fills
    // sectors of 32 bytes
    const bool is_odd = at.t % 2 == 1;
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
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    const u32 theirs = as_bits(shuffle_xor(as_float(is_odd ? x[pair][k] : x[pair][4 + k]), 1));
                    first[k] = is_odd ? theirs : x[pair][k], second[k] = is_odd ? x[pair][4 + k] : theirs;
                }
                // the even lane's residue, then the odd one's, of a k2 that is 2 further
                u32* place = to + (at.residue(i, pair) - (is_odd ? 32 : 0)) * row_words + 16 * P * part;
                *reinterpret_cast<uint4*>(place) = make_uint4(first[0], first[1], first[2], first[3]);
                *reinterpret_cast<uint4*>(place + 32 * row_words) = make_uint4(second[0], second[1], second[2], second[3]);
            }
        }
    const float down = scale.down / GAIN;
    most = down * greatest_of_block(fmaxf(low_fp16(loudest), high_fp16(loudest)), maxima + THREADS / 32);
    if (thread_index() == 0) loudness[row * (N / 2 / WIDTH) + block_index()] = make_float2(most, down);
}
