// The transform of each filter, h (channels, filter_len) in fp32, as onepass_kept.cuh leaves it. A block or cluster takes one
// filter.
//
// Defined by the caller, besides P, W, CLUSTER, VECTOR, TWISTS and FP16: BLOCKS (of a multiprocessor).

KERNEL void __launch_bounds__(32 * W, BLOCKS) onepass_spectrum(const float* h, u32* spectrum, const uint4* tables, i64 filter_len) {
    SHARED_BYTES;
    const Row row(tables, shared_bytes);
    const i64 d = block_index() / CLUSTER;
    Words re, im;
    float down = row.load(re, im, Filter{h + d * filter_len, int(filter_len)}, 3);
    leave_spectrum(row, re, im, spectrum + d * WORDS, down);
}
