// What split_gradients does with rows of 16^3: the input's row and that of the output's gradient are transformed at once, and
// multiplied in registers. A block takes `each` rows of either, one after the other.
//
// If SUMS, these are the rows of a batch: what the filter gets of each of them is summed in fp32, in shared memory, and goes back
// once, to `sums`. Else it takes the place of the input's row, which `sums` then is, and goes back with the input's gradient.
//
// Defined by the caller, besides P, W, CLUSTER (1), COLUMNS and FP16: SEGMENTS, HAS_SIGNALS (the input's gradient too), SKIP (the
// skip's type), SUMS, BLOCKS (of a multiprocessor).

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

KERNEL void __launch_bounds__(32 * W, BLOCKS) split_pair_gradients(
    u32* inputs, const Loudness* loudness_of_inputs, u32* planes, const Loudness* loudness, float* scales, u32* sums,
    float* scales_of_sums, const u32* spectra, const SKIP* skip, const uint4* tables, i64 first_channel, i64 batch, i64 rows,
    i64 each) {
    SHARED_BYTES;
    const i64 residue = block_index_y();
    const int first = int(block_index() * each), end = min(int(rows), int(first + each));
    const Row row(tables_of(tables, residue), shared_bytes, tables);
    float4* mine = reinterpret_cast<float4*>(row.slots + 2 * SLOTS_OF_ANOTHER) + thread_index();
#pragma unroll 1
    for (int r = first; r < end; ++r) {
        const i64 place = i64(r) * SEGMENTS + residue, columns = i64(r) * (N / 2 / COLUMNS);
        u32 *input = inputs + place * N, *z = planes + place * N;
        const i64 d = first_channel + r / int(batch);
        const u32* of_filter = spectra + (d * SEGMENTS + residue) * WORDS;
        if (HAS_SIGNALS && (!SUMS || r == first)) prefetch_row(of_filter, row);
        Both re, im;
        const float2 downs =
            load_cubes(row, re, im, {{input, z}, {loudness_of_inputs + columns, loudness + columns}, {TOP_INPUT, TOP}});
        Words &ur = words_of(re, 0), &ui = words_of(im, 0), &gr = words_of(re, 1), &gi = words_of(im, 1);
        const float by = downs.y * normalize(row, ur, ui, downs.x);
#if HAS_SIGNALS
        const uint4* vectors = reinterpret_cast<const uint4*>(of_filter) + row.q * P * 64 + row.at.lane;
        const Spectrum spectrum(vectors, as_float(of_filter[N]), skip ? load(skip, d) : 0.0f);
#endif
#pragma unroll
        for (int j = 0; j < P; ++j) {
            Tile x = {gr[j][0], gr[j][1], gr[j][2], gr[j][3]}, y = {gi[j][0], gi[j][1], gi[j][2], gi[j][3]};
            times<true>(x, y, ur[j], ui[j]);
            if (SUMS) add_products(mine + 4 * j * STEP, x, y, by, r == first);
            else
#pragma unroll
                for (int i = 0; i < 4; ++i) ur[j][i] = x[i], ui[j][i] = y[i];
#if HAS_SIGNALS
            // rows of a batch find the filter in the second-level cache
            const uint4 hr = SUMS ? load_again(vectors + 64 * j) : load_once(vectors + 64 * j);
            const uint4 hi = SUMS ? load_again(vectors + 64 * j + 32) : load_once(vectors + 64 * j + 32);
            spectrum.times_tile<true>(gr[j], gi[j], {hr.x, hr.y, hr.z, hr.w}, {hi.x, hi.y, hi.z, hi.w});
#endif
        }
        if (r + 1 < end) prefetch_row(input + SEGMENTS * N, row), prefetch_row(z + SEGMENTS * N, row);
#if HAS_SIGNALS
        if (SUMS) store_cube_of(row, 1, re, im, z);
        else store_cubes(row, re, im, input, z);
        if (thread_index() == 0) scales[place] = downs.y * spectrum.scale;
#else
        if (!SUMS) store_cube_of(row, 0, re, im, input);
#endif
        if (!SUMS && thread_index() == 0) scales_of_sums[place] = by;
    }
    if (SUMS) {
        Words re, im;
        barrier();  // between two of `largest`
        const float scale = read_sums(row, mine, re, im);
        const i64 place = block_index() * SEGMENTS + residue;
        store_cube(row, re, im, sums + place * N);
        if (thread_index() == 0) scales_of_sums[place] = scale;
    }
}
