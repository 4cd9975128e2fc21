// The transforms of filters that split_columns has taken apart, in place: what onepass_spectrum makes, but of rows of complex
// numbers. A block or a cluster takes a row.
//
// Defined by the caller: as for split_convolve, but for the skip.

KERNEL void __launch_bounds__(32 * W, BLOCKS) split_spectrum(
    u32* spectra, const Loudness* loudness, const uint4* tables, const uint2* roots) {
    SHARED_BYTES;
    const i64 d = block_index() / CLUSTER, residue = block_index_y();
    const Row row(tables_of(tables, residue), shared_bytes, tables);
    u32* z = spectra + (d * SEGMENTS + residue) * WORDS;
    Words re, im;
    const float down = load_row(row, re, im, z, loudness + d * (N / 2 / COLUMNS), roots + residue * ROOTS_OF_ROW, 3);
    leave_spectrum(row, re, im, z, down * GROWTH);
}
