// Rows of split_columns, times the transform of their filter, in place: split_spectrum and split_convolve in one, where a filter
// is transformed for this one call. A block transforms a residue of a filter, keeps it in shared memory, and takes that residue
// of the rows of a batch one after the other; then of `each - 1` channels more, for which it finds its tables in the first-level
// cache.
//
// Defined by the caller, besides P, W, CLUSTER (1), TWISTS, COLUMNS and FP16: SEGMENTS, LEAVES (the transform takes the place of
// the filter), SKIP (the skip's type), BLOCKS (of a multiprocessor).

constexpr int TOP_FILTER = 3, TOP = 2, STEP = 32 * W;  // as in split_spectrum and split_convolve

KERNEL void __launch_bounds__(32 * W, BLOCKS) split_filtered(
    u32* planes, const Loudness* loudness, float* scales, u32* filters, const Loudness* loudness_of_filters, const SKIP* skip,
    const uint4* tables, const uint2* roots, i64 first_channel, i64 batch, i64 channels, i64 each) {
    SHARED_BYTES;
    const i64 residue = block_index_y();
    const Row row(tables_of(tables, residue), shared_bytes, tables);
    uint4* kept = reinterpret_cast<uint4*>(shared_bytes + 16 * SHARED_SLOTS + CONTROL_BYTES) + thread_index();
    const int end = min(int(channels), int((block_index() + 1) * each));
#pragma unroll 1
    for (int channel = int(block_index() * each); channel < end; ++channel) {
        u32* filter = filters + (i64(channel) * SEGMENTS + residue) * WORDS;
        u32* z = planes + (channel * batch * SEGMENTS + residue) * N;
        const Loudness* how_loud = loudness + channel * batch * (N / 2 / COLUMNS);
        float* scale = scales + channel * batch * SEGMENTS + residue;
        const float gain = skip ? load(skip, first_channel + channel) : 0.0f;
        prefetch_row(z, row);
        Words re, im;
        float down = load_row(row, re, im, filter, loudness_of_filters + i64(channel) * (N / 2 / COLUMNS), roots, TOP_FILTER);
        const float of_filter = normalize(row, re, im, down * GROWTH);
        keep<STEP>(re, im, kept);
        if (LEAVES) leave_normalized(row, re, im, filter, of_filter);
        const Spectrum spectrum(kept, of_filter > 0.0f ? of_filter : 1.0f, gain);
#pragma unroll 1
        for (int b = 0; b < int(batch); ++b, z += SEGMENTS * N, how_loud += N / 2 / COLUMNS, scale += SEGMENTS) {
            down = load_row(row, re, im, z, how_loud, roots, TOP);
#pragma unroll
            for (int j = 0; j < P; ++j) spectrum.times_tile<false, STEP, true>(re[j], im[j], j);
            if (b + 1 < int(batch)) prefetch_row(z + SEGMENTS * N, row);
            else if (channel + 1 < end) prefetch_row(filter + SEGMENTS * WORDS, row);
            store_row(row, re, im, z, roots);
            if (thread_index() == 0) *scale = down * spectrum.scale * (GROWTH * GROWTH);
        }
    }
}
