// The transforms of filters that split_columns has taken apart, in place: what onepass_spectrum makes, but of rows of complex
// numbers. A team or a cluster takes a row.
//
// Defined by the caller: as for split_convolve, but for the skip.

KERNEL void __launch_bounds__(32 * W * TEAMS, BLOCKS) split_spectrum(
    u32* spectra, const Loudness* loudness, const uint4* tables, const uint2* roots, i64 rows, i64 ahead) {
    SHARED_BYTES;
    const i64 d = block_index() / CLUSTER * TEAMS + team_of_block(), residue = block_index_y();
    tables += residue * (W * CLUSTER * VECTORS * 32);
#if CLUSTER > 1
    const Row row(tables, shared_bytes);
#else
    const Row row(tables, shared_of_team(shared_bytes, 0), fetch_tables(tables, shared_bytes));
    if (d >= rows) return;
#endif
    u32* z = spectra + (d * SEGMENTS + residue) * WORDS;
    prefetch_ahead(z, WORDS, residue, ahead, row);
    Words re, im;
    const float down = load_row(row, re, im, z, loudness + d * (N / 2 / COLUMNS), roots + residue * ROOTS_OF_ROW, 3);
    leave_spectrum(row, re, im, z, down * GROWTH);
}
