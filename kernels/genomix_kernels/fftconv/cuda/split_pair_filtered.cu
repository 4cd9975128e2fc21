// What split_filtered does with rows of 16^3 where a channel has one: a residue of the filter and that of the row are transformed
// at once, and multiplied in registers. A block takes that residue of `each` channels.
//
// Defined by the caller: as for split_filtered.

constexpr int TOP_FILTER = 3, TOP = 2;  // as in split_spectrum and split_convolve

KERNEL void __launch_bounds__(32 * W, BLOCKS) split_pair_filtered(
    u32* planes, const Loudness* loudness, float* scales, u32* filters, const Loudness* loudness_of_filters, const SKIP* skip,
    const uint4* tables, i64 first_channel, i64 channels, i64 each) {
    SHARED_BYTES;
    const i64 residue = block_index_y();
    const Row row(tables_of(tables, residue), shared_bytes, tables);
    const int first = int(block_index() * each), end = min(int(channels), first + int(each));
#pragma unroll 1
    for (int channel = first; channel < end; ++channel) {
        const i64 place = i64(channel) * SEGMENTS + residue, columns = i64(channel) * (N / 2 / COLUMNS);
        u32 *filter = filters + place * WORDS, *z = planes + place * N;
        const float gain = skip ? load(skip, first_channel + channel) : 0.0f;
        Both re, im;
        const float2 downs = load_cubes(
            row, re, im, {{filter, z}, {loudness_of_filters + columns, loudness + columns}, {TOP_FILTER, TOP}});
        Words &hr = words_of(re, 0), &hi = words_of(im, 0), &r = words_of(re, 1), &i = words_of(im, 1);
        const float of_filter = normalize(row, hr, hi, downs.x);
        if (LEAVES) leave_normalized(row, hr, hi, filter, of_filter);
        const Spectrum spectrum(nullptr, of_filter > 0.0f ? of_filter : 1.0f, gain);
#pragma unroll
        for (int j = 0; j < P; ++j) spectrum.times_tile<false>(r[j], i[j], hr[j], hi[j]);
        if (channel + 1 < end) prefetch_row(filter + SEGMENTS * WORDS, row), prefetch_row(z + SEGMENTS * N, row);
        store_cube_of(row, 1, re, im, z);
        if (thread_index() == 0) scales[place] = downs.y * spectrum.scale;
    }
}
