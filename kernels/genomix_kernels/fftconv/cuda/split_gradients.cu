// Rows of split_columns, of the input and of the output's gradient, each read and transformed once: the second times the
// conjugate of the filter's spectrum, in place, is the input's gradient; times the conjugate of the first, in the place of
// that, it is the filter's, of one row of the batch. A block takes `each` rows of either, one after the other: for the
// later ones it finds its tables in the first-level cache. A cluster takes one.
//
// Transforms that wait are in shared memory or, if not IN_SHARED, in memory, in the place of the input's row: where BLOCKS
// blocks would not find room for them, and with clusters, whose slots take twice as much.
//
// Defined by the caller, besides P, W, CLUSTER, TWISTS, COLUMNS and FP16: SEGMENTS, HAS_SIGNALS (the input's gradient too),
// SKIP (the skip's type), IN_SHARED, BLOCKS (of a multiprocessor).

// as in split_convolve: a normalized transform takes the place of the spectrum, and there is no skip
constexpr int TOP_INPUT = 3, TOP = 2;
constexpr int STEP = IN_SHARED ? 32 * W : 32;  // of vectors of a thread that wait

KERNEL void __launch_bounds__(32 * W, BLOCKS) split_gradients(
    u32* inputs, const Loudness* loudness_of_inputs, float* scales_of_inputs, u32* planes, const Loudness* loudness,
    float* scales, const u32* spectra, const SKIP* skip, const uint4* tables, const uint2* all_roots, i64 first_channel,
    i64 batch, i64 rows, i64 each) {
    SHARED_BYTES;
    const i64 residue = block_index_y(), first = block_index() / CLUSTER * each;
    const Row row(tables_of(tables, residue), shared_bytes, tables);
    const uint2* roots = all_roots + residue * ROOTS_OF_ROW;
    const int end = min(int(rows), int(first + each));
#pragma unroll 1
    for (int r = int(first); r < end; ++r) {
        const i64 place = i64(r) * SEGMENTS + residue, columns = i64(r) * (N / 2 / COLUMNS);
        u32 *input = inputs + place * N, *z = planes + place * N;
        uint4* kept = IN_SHARED ? reinterpret_cast<uint4*>(shared_bytes + 16 * SHARED_SLOTS + CONTROL_BYTES) + thread_index()
                                : reinterpret_cast<uint4*>(input) + row.q * P * 64 + row.at.lane;
        prefetch_row(z, row);
#if HAS_SIGNALS
        const i64 d = first_channel + r / int(batch);
        const u32* of_filter = spectra + (d * SEGMENTS + residue) * WORDS;
        const uint4* vectors = reinterpret_cast<const uint4*>(of_filter) + row.q * P * 64 + row.at.lane;
        const float scale_of_filter = as_float(of_filter[N]), gain = skip ? load(skip, d) : 0.0f;  // not waited for yet
#endif
        Words re, im;
        float down = load_row(row, re, im, input, loudness_of_inputs + columns, roots, TOP_INPUT);
        const float of_input = normalize(row, re, im, down * GROWTH);
        keep<STEP>(re, im, kept);
        keep_apart(row);
#if HAS_SIGNALS
        prefetch_bytes(vectors - row.at.lane, 1024 * P, row.at.lane, 32);
#endif
        down = load_row(row, re, im, z, loudness + columns, roots, TOP);
#if HAS_SIGNALS
        const Spectrum spectrum(vectors, scale_of_filter, gain);
#pragma unroll
        for (int j = 0; j < P; ++j) {
            Tile ur, ui, x = {re[j][0], re[j][1], re[j][2], re[j][3]}, y = {im[j][0], im[j][1], im[j][2], im[j][3]};
            read_kept<STEP>(ur, ui, kept, j);
            times<true>(x, y, ur, ui);
            keep<STEP>(x, y, kept, j);
        }
#pragma unroll
        for (int j = 0; j < P; ++j) spectrum.times_tile<true>(re[j], im[j], j);
        store_row(row, re, im, z, roots);
        row.meet();
#pragma unroll
        for (int j = 0; j < P; ++j) read_kept<STEP>(re[j], im[j], kept, j);
#else
#pragma unroll
        for (int j = 0; j < P; ++j) {
            Tile ur, ui;
            read_kept<STEP>(ur, ui, kept, j);
            times<true>(re[j], im[j], ur, ui);
        }
#endif
        if (r + 1 < end) prefetch_row(input + SEGMENTS * N, row);
        store_row(row, re, im, input, roots);
        if (row.rank == 0 && thread_index() == 0) {
            scales_of_inputs[place] = down * of_input * (GROWTH * GROWTH);
#if HAS_SIGNALS
            scales[place] = down * spectrum.scale * (GROWTH * GROWTH);
#endif
        }
        if (r + 1 < end) keep_apart(row);
    }
}
