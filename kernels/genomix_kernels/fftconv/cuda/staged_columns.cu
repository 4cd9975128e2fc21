// Long rows, taken apart into SEGMENTS rows of complex numbers each: what split_columns does, for more segments, in two stages.
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
            for (int pair = 0; pair < 2; ++pair) {
                const int s = at.segment(i, pair);
                source.load(is_segment(s) ? N * s + first_of_warp() + 16 * P * half : int(seqlen), v[half][i][pair]);
            }
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int i = 0; i < 8; ++i)
#pragma unroll
            for (int j = 0; j < TOKENS; ++j) most = fmaxf(most, fabsf(v[half][i / 2][i % 2][j]));
    const Scale scale(greatest_of_block(most, maxima), TOP);
    const Forward forward(tables);
    u32 out[4][2][2][TOKENS], loudest = 0u;  // word of a tile, residue of a word, part
#pragma unroll
    for (int j = 0; j < TOKENS; ++j) {
        Tile re[2], im[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
#pragma unroll
            for (int i = 0; i < 4; ++i)
                re[half][i] = pack_fp16(scale.up * v[half][i][0][j], scale.up * v[half][i][1][j]);
            forward.apply(re[half], im[half]);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            out[i][0][0][j] = low_halves(re[0][i], re[1][i]), out[i][1][0][j] = high_halves(re[0][i], re[1][i]);
            out[i][0][1][j] = low_halves(im[0][i], im[1][i]), out[i][1][1][j] = high_halves(im[0][i], im[1][i]);
#pragma unroll
            for (int half = 0; half < 2; ++half) loudest = half_max_abs(half_max_abs(loudest, re[half][i]), im[half][i]);
        }
    }
    // Pairs of lanes exchange halves of what they have, so that what they write at once fills sectors of 32 bytes.
    const bool is_odd = at.t % 2 == 1;
    u32* to = planes + row * SEGMENTS * row_words + first_of_warp() + 4 * (at.t % 2);
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
            const int q = at.residue(i, pair) - (is_odd ? 2 * S : 0);  // of the even lane; the odd one's is 2 S further
#pragma unroll
            for (int part = 0; part < 2; ++part) {
                const Octet& x = out[i][pair][part];
                u32 first[4], second[4];
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    const u32 theirs = as_bits(shuffle_xor(as_float(is_odd ? x[k] : x[4 + k]), 1));
                    first[k] = is_odd ? theirs : x[k], second[k] = is_odd ? x[4 + k] : theirs;
                }
                if (!is_row_of_residues(at.row(i))) continue;
                u32* place = to + q * row_words + 16 * P * part;
                *reinterpret_cast<uint4*>(place) = make_uint4(first[0], first[1], first[2], first[3]);
                *reinterpret_cast<uint4*>(place + 2 * S * row_words) = make_uint4(second[0], second[1], second[2], second[3]);
            }
        }
    const float down = scale.down / GAIN;
    most = down * greatest_of_block(fmaxf(low_fp16(loudest), high_fp16(loudest)), maxima + THREADS / 32);
    if (thread_index() == 0) loudness[row * (N / 2 / WIDTH) + block_index()] = make_float2(most, down);
}
