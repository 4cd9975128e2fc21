// What split_gradients does for all rows of a batch of a channel, whose part of the filter's gradient is summed in fp32, in shared
// memory, and goes back once, to `sums`. The input's row and that of its output's gradient are transformed at once. A block takes
// a channel.
//
// Defined by the caller, besides P, W, CLUSTER (1), COLUMNS and FP16: SEGMENTS, HAS_SIGNALS (the input's
// gradient too), SKIP (the skip's type), BLOCKS (of a multiprocessor).

constexpr int TOP_INPUT = 3, TOP = 2;  // as in split_gradients
constexpr int STEP = 32 * W;           // from one vector of a thread to the next

// A thread's sums of a tile
DEVICE void add_products(float4* sums, const Tile& re, const Tile& im, float by, bool is_first) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        float4 x = is_first ? float4{0.0f, 0.0f, 0.0f, 0.0f} : sums[i * STEP];
        x.x = fmaf(by, low_fp16(re[i]), x.x), x.y = fmaf(by, high_fp16(re[i]), x.y);
        x.z = fmaf(by, low_fp16(im[i]), x.z), x.w = fmaf(by, high_fp16(im[i]), x.w);
        sums[i * STEP] = x;
    }
}
// as words, scaled; what to multiply them by is returned
DEVICE float read_sums(const Row& row, const float4* sums, Words& re, Words& im) {
    float4 x[P][4];
    float most = 0.0f;
#pragma unroll
    for (int i = 0; i < 4 * P; ++i) {
        const float4 y = x[i / 4][i % 4] = sums[i * STEP];
        most = fmaxf(most, fmaxf(fmaxf(fabsf(y.x), fabsf(y.y)), fmaxf(fabsf(y.z), fabsf(y.w))));
    }
    const Scale scale(row.largest(most), TOP);
#pragma unroll
    for (int i = 0; i < 4 * P; ++i) {
        const float4 y = x[i / 4][i % 4];
        re[i / 4][i % 4] = pack_fp16(scale.up * y.x, scale.up * y.y), im[i / 4][i % 4] = pack_fp16(scale.up * y.z, scale.up * y.w);
    }
    return scale.down;
}

KERNEL void __launch_bounds__(32 * W, BLOCKS) split_summed_gradients(
    const u32* inputs, const Loudness* loudness_of_inputs, u32* planes, const Loudness* loudness, float* scales, u32* sums,
    float* scales_of_sums, const u32* spectra, const SKIP* skip, const uint4* tables, i64 first_channel, i64 batch) {
    SHARED_BYTES;
    const i64 residue = block_index_y(), channel = block_index();
    const Row row(tables_of(tables, residue), shared_bytes, tables);
    float4* mine = reinterpret_cast<float4*>(shared_bytes + 16 * SHARED_SLOTS + CONTROL_BYTES) + thread_index();
#if HAS_SIGNALS
    const i64 d = first_channel + channel;
    const u32* of_filter = spectra + (d * SEGMENTS + residue) * WORDS;
    const uint4* vectors = reinterpret_cast<const uint4*>(of_filter) + row.q * P * 64 + row.at.lane;
    prefetch_row(of_filter, row);
    const Spectrum spectrum(vectors, as_float(of_filter[N]), skip ? load(skip, d) : 0.0f);
#endif
#pragma unroll 1
    for (int b = 0; b < int(batch); ++b) {
        const i64 r = channel * batch + b, place = r * SEGMENTS + residue, columns = r * (N / 2 / COLUMNS);
        const u32* input = inputs + place * N;
        u32* z = planes + place * N;
        Both re, im;
        const float2 downs =
            load_cubes(row, re, im, input, z, loudness_of_inputs + columns, loudness + columns, TOP_INPUT, TOP);
        Words &ur = words_of(re, 0), &ui = words_of(im, 0), &gr = words_of(re, 1), &gi = words_of(im, 1);
        const float by = downs.y * normalize(row, ur, ui, downs.x);
#pragma unroll
        for (int j = 0; j < P; ++j) {
            Tile x = {gr[j][0], gr[j][1], gr[j][2], gr[j][3]}, y = {gi[j][0], gi[j][1], gi[j][2], gi[j][3]};
            times<true>(x, y, ur[j], ui[j]);
            add_products(mine + 4 * j * STEP, x, y, by, b == 0);
#if HAS_SIGNALS
            const uint4 hr = load_again(vectors + 64 * j), hi = load_again(vectors + 64 * j + 32);
            spectrum.times_tile<true>(gr[j], gi[j], {hr.x, hr.y, hr.z, hr.w}, {hi.x, hi.y, hi.z, hi.w});
#endif
        }
#if HAS_SIGNALS
        if (b + 1 < int(batch)) prefetch_row(input + SEGMENTS * N, row), prefetch_row(z + SEGMENTS * N, row);
        store_row(row, gr, gi, z, nullptr);
        if (thread_index() == 0) scales[place] = downs.y * spectrum.scale;
#endif
    }
    Words re, im;
    barrier();  // between two of `largest`
    const float scale = read_sums(row, mine, re, im);
    const i64 place = channel * SEGMENTS + residue;
    store_row(row, re, im, sums + place * N, nullptr);
    if (thread_index() == 0) scales_of_sums[place] = scale;
}
