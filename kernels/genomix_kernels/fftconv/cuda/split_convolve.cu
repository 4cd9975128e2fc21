// Rows of split_columns, times the spectrum of their filter or its conjugate, in place: where the spectrum is at hand, and with
// clusters. A block or cluster takes a row.
//
// Defined by the caller, besides P, W, CLUSTER, TWISTS, COLUMNS and FP16: SEGMENTS, IS_ADJOINT, SKIP (the skip's type), BLOCKS
// (of a multiprocessor).

constexpr int TOP = 2;  // |transform| <= 2^3.5 sqrt(N), times 9 at most for filter and skip

KERNEL void __launch_bounds__(32 * W, BLOCKS) split_convolve(
    u32* planes, const Loudness* loudness, float* scales, const u32* spectra, const SKIP* skip, const uint4* tables,
    const uint2* roots, i64 first_channel, i64 batch) {
    SHARED_BYTES;
    const i64 residue = block_index_y(), r = block_index() / CLUSTER, d = first_channel + r / batch;
    const i64 place = r * SEGMENTS + residue;
    const Row row(tables_of(tables, residue), shared_bytes, tables);
    const u32* of_filter = spectra + (d * SEGMENTS + residue) * WORDS;
    const uint4* vectors = reinterpret_cast<const uint4*>(of_filter) + row.q * P * 64 + row.at.lane;
    const float scale_of_filter = as_float(of_filter[N]), gain = skip ? load(skip, d) : 0.0f;  // not waited for yet
    prefetch_bytes(vectors - row.at.lane, 1024 * P, row.at.lane, 32);
    roots += residue * ROOTS_OF_ROW;
    Words re, im;
    const float down = load_row(row, re, im, planes + place * N, loudness + r * (N / 2 / COLUMNS), roots, TOP);
    const Spectrum spectrum(vectors, scale_of_filter, gain);
#pragma unroll
    for (int j = 0; j < P; ++j) spectrum.times_tile<IS_ADJOINT>(re[j], im[j], j);
    store_row(row, re, im, planes + place * N, roots);
    if (row.rank == 0 && thread_index() == 0) scales[place] = down * spectrum.scale * (GROWTH * GROWTH);
}
