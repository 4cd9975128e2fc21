// All gradients of y = post (h * (pre u) + skip (pre u)), or that of h alone. A block, or a cluster or a warp, takes
// some rows of a channel. It sums products of transforms, dh[i] = sum of (pre u)[t - i] (post dy)[t], and transforms the sum
// back last.
//
// Defined by the caller, besides P, W, CLUSTER, VECTOR, TWISTS and FP16: GROUPS (sums at once, if W = 1), HAS_PRE, HAS_POST,
// HAS_SIGNALS (gradients of u and the gates too), SKIP (the skip's type), BLOCKS (of a multiprocessor).

constexpr int THREADS = 32 * W * GROUPS;
// products of two transforms, each at most sqrt(N) times its row's largest value, must not overflow
constexpr int TOP_DY = -1, TOP_U = N <= 1 << 15 ? -1 : N <= 1 << 16 ? -2 : N <= 1 << 17 ? -3 : -4;

KERNEL void __launch_bounds__(THREADS, BLOCKS) onepass_backward(
    const Element* u, const Element* dy, const Element* pre, const Element* post, const u32* spectra, const SKIP* skip,
    const uint4* tables, float* dh, Element* du, Element* d_pre, Element* d_post, i64 batch, i64 channels, i64 seqlen,
    i64 filter_len, i64 u_batch, i64 u_channel, i64 dy_batch, i64 dy_channel, i64 pre_batch, i64 pre_channel, i64 post_batch,
    i64 post_channel, i64 splits) {
    SHARED_BYTES;
    const Row row(tables, shared_bytes);
    uint4* kept = reinterpret_cast<uint4*>(shared_bytes + 16 * SHARED_SLOTS + CONTROL_BYTES) + thread_index();  // transforms of u
    const i64 d = block_index_y(), split = W > 1 ? block_index() / CLUSTER : block_index() * GROUPS + row.at.warp;
    if (split >= splits) return;
    Products products;

    for (i64 b = split; b < batch; b += splits) {
        const Element *x = u + b * u_batch + d * u_channel, *gradient = dy + b * dy_batch + d * dy_channel;
        const Element* before = HAS_PRE ? pre + b * pre_batch + d * pre_channel : nullptr;
        const Element* after = HAS_POST ? post + b * post_batch + d * post_channel : nullptr;
        row.ask_for(gradient, seqlen);
        if (HAS_POST) row.ask_for(after, seqlen);
        Words re, im;
        const float down_u = row.load(re, im, Signal{x, before, int(seqlen)}, TOP_U);
        keep<THREADS>(re, im, kept);
        const float down_dy = row.load(re, im, Signal{gradient, after, int(seqlen)}, TOP_DY), down = down_u * down_dy;
        if (b + splits < batch) {
            row.ask_for(x + splits * u_batch, seqlen);
            if (HAS_PRE) row.ask_for(before + splits * pre_batch, seqlen);
        }
        products.add<THREADS>(re, im, kept, down);
#if HAS_SIGNALS
        const i64 first = (b * channels + d) * seqlen;
        const Spectrum spectrum(spectra, d, skip ? load(skip, d) : 0.0f, row.q, row.at.lane);
#pragma unroll
        for (int j = 0; j < P; ++j) spectrum.times_tile<true>(re[j], im[j], j);
        row.store(re, im, Output<HAS_PRE, 2 * HAS_PRE>{du + first, d_pre + first, before, x, int(seqlen), down_dy * spectrum.scale});
#if HAS_POST
        row.meet();
        // what the output was before its gate
#pragma unroll
        for (int j = 0; j < P; ++j) {
            read_kept<THREADS>(re[j], im[j], kept, j);
            spectrum.times_tile<false>(re[j], im[j], j);
        }
        row.store(re, im, Output<1, 0>{d_post + first, nullptr, gradient, nullptr, int(seqlen), down_u * spectrum.scale});
#endif
#endif
    }

    Words re, im;
    const float down = products.leave(row, re, im, 3);
    row.store(re, im, Sums{dh + (split * channels + d) * filter_len, int(filter_len), down * sqrtf(float(N))});
}
