// Gated filters with taps, backward, the second of two passes: the gradients of k and v, of their featurizers, and of the
// taps beyond the distances of the first, which left df = dy z_q. It walks backward in time: what follows a token is known when it is met.
//
// Defined by the caller: as for fir_forward.cu, without HAS_TAIL.

constexpr int STREAMS = 3, GRADIENT = 2;  // k, v, df
constexpr int NEAR = DISTANCES < 3 ? DISTANCES : 3, FAR = DISTANCES - NEAR;
constexpr int SUMS = 2 * F;

struct Shared {
    uint4 inputs[Slots<STREAMS>::BYTES / 16];
    Fragment table[DISTANCES * SHIFTS * 32];
    // the segments before a step, of k and v: walking backward they come last
    uint4 earlier[2][2][WARPS][2][8];
    float2 later[2][WARPS][2][8];  // the first gradients of the step after
    float h[K];
    alignas(16) RowTaps taps;
};
static_assert(sizeof(Shared) <= SHARED_SIZE, "the launch reserves too little shared memory");
static_assert(sizeof(float) * WARPS * FAR * SHIFTS * 4 * PADDED <= Slots<STREAMS>::BYTES, "diagonals go where inputs were");

KERNEL void __launch_bounds__(THREADS, BLOCKS) fir_backward_kv(
    const Element* __restrict__ k, const Element* __restrict__ v, const Element* __restrict__ df,
    Element* __restrict__ dk, Element* __restrict__ dv, const FEATURIZER* featurizer,
    const TAPS* filter, const SKIP* skip_gain, float* sums, float* d_taps, i64 channels, i64 seqlen, i64 n_groups,
    i64 group_size, i64 n_blocks, i64 stretch, i64 x_batch, i64 x_channel, i64 dx_batch, i64 dx_channel, i64 row_stream, i64 row_channel) {
    SHARED_BYTES;
    Shared& shared = *reinterpret_cast<Shared*>(shared_bytes);
    const Place at;
    const Channels mine(at, seqlen, n_groups, group_size, n_blocks, stretch);
    const Slots<STREAMS> slots{shared.inputs};
    const u32 zero = u32(seqlen >> 32);
    float skip[2];
    i64 x_row[2], df_row[2], dx_row[2];
    // the step after the stretch leaves its first gradients; the steps after that are inputs of the filter only
    const i64 own_end = mine.first + (mine.end - mine.first + STEP - 1) / STEP * STEP;
    const i64 start = min(own_end + PAST_STEPS * STEP, (seqlen - 1) / STEP * STEP);
#pragma unroll
    for (int hh = 0; hh < 2; ++hh) {
        const i64 d = mine.channel[hh];
        x_row[hh] = mine.b * x_batch + d * x_channel;
        df_row[hh] = (mine.b * channels + d) * seqlen;
        dx_row[hh] = mine.b * dx_batch + d * dx_channel;
        skip[hh] = HAS_SKIP ? load(skip_gain, d) : 0.0f;
    }
    auto fetch = [&](int to_stage, i64 first) {
#pragma unroll
        for (int hh = 0; hh < 2; ++hh) {
            slots.fetch_row(to_stage, GRADIENT, hh, df + (df_row[hh] + first), mine.are_rows[hh], first, seqlen, at);
            if (first > own_end) continue;
            const i64 x_at = x_row[hh] + first;
            slots.fetch_row(to_stage, 0, hh, k + x_at, mine.are_rows[hh], first, seqlen, at);
            slots.fetch_row(to_stage, 1, hh, v + x_at, mine.are_rows[hh], first, seqlen, at);
            if (at.t < 3) continue;
            const bool is_there = first > 0 && mine.are_rows[hh];
            copy_async(&shared.earlier[to_stage][0][at.warp][hh][at.g], k + (first > 0 ? x_at - 8 : x_at), is_there);
            copy_async(&shared.earlier[to_stage][1][at.warp][hh][at.g], v + (first > 0 ? x_at - 8 : x_at), is_there);
        }
    };
    // the two tokens before a step, for the lanes that hold the ends of rows
    auto earlier = [&](int stage, int stream, u32 (&last)[2]) {
#pragma unroll
        for (int hh = 0; hh < 2; ++hh) last[hh] = at.t == 3 ? shared.earlier[stage][stream][at.warp][hh][at.g].w : 0u;
    };
    if (mine.first <= start) fetch(0, start);
    commit_copies();
    load_filter(shared.h, filter, mine.group);
    load_row_taps(shared.taps, featurizer, mine, at, row_stream, row_channel);
    make_table(shared.table, shared.h, at, true);
    barrier();

    Block ring[RING] = {};
    float of_taps[2][2][3] = {};
    if (at.t == 0)
#pragma unroll
        for (int i = 0; i < 4; ++i) shared.later[i / 2][at.warp][i % 2][at.g] = make_float2(0.0f, 0.0f);
#if K > 65
    float diagonals[FAR * SHIFTS][4] = {};
#endif
    int stage = 0;
    for (i64 first = start; first >= mine.first; first -= STEP, stage = 1 - stage) {
        if (first > mine.first) fetch(1 - stage, first - STEP);
        commit_copies();
        wait_for_copies<1>();
        move_ring<true>(ring);
        {
            Words f;
            slots.read(stage, GRADIENT, at, f, zero);
#pragma unroll
            for (int i = 0; i < 16; ++i) ring[i / 4 % 2][i / 8][i % 4] = f[i / 8][i / 4 % 2][i % 4];
        }
        if (first > own_end) continue;
        const bool is_own = first < mine.end;
        float dm[8][4];
        times_filter<true>(dm, ring, shared.table, at.lane);
        // read segment by segment: the products need the registers
        u32 before[2][2][2];
        auto segment = [&](int stream, int s, u32 (&x)[4]) {
            const uint4 words = slots.at(stage, stream, at)[32 * s];
            x[0] = words.x, x[1] = words.y, x[2] = words.z, x[3] = words.w;
        };
#pragma unroll
        for (int stream = 0; stream < 2; ++stream) {
            u32 last[2];
            earlier(stage, stream, last);
            const uint4* words = slots.at(stage, stream, at);
            const u32 ends[2][2] = {{words[0].w, words[32].w}, {words[64].w, words[96].w}};
            pairs_before(ends, last, at, before[stream]);
        }
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            const int hh = i / 8, ch = i / 4 % 2, p = i % 4;
            const u32 f = ring[ch][hh][p];
            dm[4 * ch + p][2 * hh] = fmaf(skip[hh], low_of(f), dm[4 * ch + p][2 * hh]);
            dm[4 * ch + p][2 * hh + 1] = fmaf(skip[hh], high_of(f), dm[4 * ch + p][2 * hh + 1]);
        }
        float firsts[2][2][2][2], after[2][2][2][2];
#pragma unroll
        for (int s = 0; s < 4; ++s) {
            const int hh = s / 2, ch = s % 2;
            float zk[2], zv[2], tk[3], tv[3];
            row_taps(shared.taps, 0, hh, at, tk);
            row_taps(shared.taps, 1, hh, at, tv);
            featurized_pair(slots.at(stage, 0, at)[32 * s].x, before[0][hh][ch], tk, zk);
            featurized_pair(slots.at(stage, 1, at)[32 * s].x, before[1][hh][ch], tv, zv);
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                firsts[0][hh][ch][e] = dm[4 * ch][2 * hh + e] * zv[e];
                firsts[1][hh][ch][e] = dm[4 * ch][2 * hh + e] * zk[e];
            }
        }
        if (is_own) {
            Block m[2];
#pragma unroll
            for (int stream = 0; stream < 2; ++stream) {
                float next[2][2] = {};
                if (at.t == 0)
#pragma unroll
                    for (int hh = 0; hh < 2; ++hh) {
                        const float2 both = shared.later[stream][at.warp][hh][at.g];
                        next[hh][0] = both.x, next[hh][1] = both.y;
                    }
                pairs_after(firsts[stream], next, at, after[stream]);
            }
#pragma unroll
            for (int s = 0; s < 4; ++s) {
                const int hh = s / 2, ch = s % 2;
                float zk[8], zv[8], dx[8], tk[3], tv[3];
                u32 xk[4], xv[4];
                segment(0, s, xk);
                segment(1, s, xv);
                row_taps(shared.taps, 0, hh, at, tk);
                row_taps(shared.taps, 1, hh, at, tv);
                featurized(xk, before[0][hh][ch], tk, zk);
                featurized(xv, before[1][hh][ch], tv, zv);
#pragma unroll
                for (int p = 0; p < 4; ++p) m[ch][hh][p] = pack(zk[2 * p] * zv[2 * p], zk[2 * p + 1] * zv[2 * p + 1]);
#pragma unroll
                for (int j = 0; j < 8; ++j) {
                    const float gradient = dm[4 * ch + j / 2][2 * hh + j % 2];
                    zk[j] *= gradient, zv[j] *= gradient;
                }
                const i64 t = first + 32 * ch + 8 * at.t;
                const bool is_there = t < mine.end && mine.are_rows[hh];
                segment_backward(of_taps[0][hh], dx, zv, after[0][hh][ch], xk, before[0][hh][ch], tk);
                if (is_there) store_streaming(dk + (dx_row[hh] + t), packed(dx));
                segment_backward(of_taps[1][hh], dx, zk, after[1][hh][ch], xv, before[1][hh][ch], tv);
                if (is_there) store_streaming(dv + (dx_row[hh] + t), packed(dx));
            }
#if K > 65
            add_diagonals<NEAR, FAR, false>(diagonals, ring, m);
#endif
        }
        if (at.t == 0)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                shared.later[i / 2][at.warp][i % 2][at.g] = make_float2(firsts[i / 2][i % 2][0][0], firsts[i / 2][i % 2][0][1]);
    }

    const i64 program = mine.first / stretch, n_stretches = n_blocks * WARPS;
#pragma unroll
    for (int hh = 0; hh < 2; ++hh) {
        float* out = sums + ((mine.b * channels + mine.channel[hh]) * n_stretches + program) * SUMS;
#pragma unroll
        for (int i = 0; i < SUMS; ++i) {
            const float sum = sum_of_row(of_taps[i / F][hh][i % F]);
            if (at.t == 0 && mine.are_rows[hh]) out[i] = sum;
        }
    }
#if K > 65
    wait_for_copies<0>();
    float* left = reinterpret_cast<float*>(shared.inputs);
    gather_diagonals(left, diagonals, at);
    d_taps[block_index() * THREADS + thread_index()] = sum_of_lag(left, thread_index(), NEAR, FAR);
#endif
}
