// y = post (h * (pre u) + skip (pre u)), or with the correlation in place of the convolution. A block or cluster takes rows
// of one channel.
//
// Defined by the caller, besides P, W, CLUSTER, VECTOR, TWISTS and FP16: GROUPS (rows at once, if W = 1), IS_ADJOINT,
// HAS_PRE, HAS_POST, SECOND (another result: 1 without a gate, 2 with a gate of its own), SKIP (the skip's type), BLOCKS (of
// a multiprocessor).

constexpr int THREADS = 32 * W * GROUPS, TOP = 3;

KERNEL void __launch_bounds__(THREADS, BLOCKS) onepass_convolve(
    const Element* u, const Element* pre, const Element* post, const Element* second_gate, const u32* spectra, const SKIP* skip,
    const uint4* tables, Element* y, Element* second, i64 batch, i64 channels, i64 seqlen, i64 u_batch, i64 u_channel,
    i64 pre_batch, i64 pre_channel, i64 post_batch, i64 post_channel, i64 second_batch, i64 second_channel, i64 chunks) {
    SHARED_BYTES;
    const Row row(tables, shared_bytes);
    const i64 d = block_index_y();
    const Spectrum spectrum(spectra, d, skip ? load(skip, d) : 0.0f, row.q, row.at.lane);
    const i64 first = W > 1 ? block_index() / CLUSTER : block_index() * GROUPS + row.at.warp;
    for (i64 b = first; b < batch; b += chunks * GROUPS) {
        const Element* x = u + b * u_batch + d * u_channel;
        const Element* before = HAS_PRE ? pre + b * pre_batch + d * pre_channel : nullptr;
        const Element* after = HAS_POST ? post + b * post_batch + d * post_channel : nullptr;
        const Element* other = SECOND == 2 ? second_gate + b * second_batch + d * second_channel : nullptr;
        Words re, im;
        const float down = row.load(re, im, Signal{x, before, int(seqlen)}, TOP);
        if (HAS_POST) row.ask_for(after, seqlen);
        if (SECOND == 2) row.ask_for(other, seqlen);
        if (b + chunks * GROUPS < batch) {
            row.ask_for(x + chunks * GROUPS * u_batch, seqlen);
            if (HAS_PRE) row.ask_for(before + chunks * GROUPS * pre_batch, seqlen);
        }
#pragma unroll
        for (int j = 0; j < P; ++j) spectrum.times_tile<IS_ADJOINT>(re[j], im[j], j);
        const i64 to = (b * channels + d) * seqlen;
        row.store(re, im, Output<HAS_POST, SECOND>{y + to, second + to, after, other, int(seqlen), down * spectrum.scale});
    }
}
