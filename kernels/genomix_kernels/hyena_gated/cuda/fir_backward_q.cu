// Gated filters with taps, backward, the first of two passes: the gradient of q, of its featurizer, of the skip gain, and
// of the taps at distances of up to NEAR blocks. It leaves df = dy z_q for the second pass. It walks forward in time, with
// what the forward pass did computed again; the last two gradients of a step wait for the first of the next.
//
// Defined by the caller: as for fir_forward.cu, without HAS_TAIL.

constexpr int STREAMS = 4, GATE = 2, GRADIENT = 3;  // k, v, q, dy
constexpr int NEAR = DISTANCES < 3 ? DISTANCES : 3;
constexpr int SUMS = F + 1;

struct Shared {
    uint4 inputs[Slots<STREAMS>::BYTES / 16];
    Fragment table[DISTANCES * SHIFTS * 32];
    float h[K];
    alignas(16) RowTaps taps;
};
static_assert(sizeof(Shared) <= SHARED_SIZE, "the launch reserves too little shared memory");
static_assert(sizeof(float) * WARPS * NEAR * SHIFTS * 4 * PADDED <= Slots<STREAMS>::BYTES, "diagonals go where inputs were");

KERNEL void __launch_bounds__(THREADS, BLOCKS) fir_backward_q(
    const Element* __restrict__ q, const Element* __restrict__ k, const Element* __restrict__ v,
    const Element* __restrict__ dy, Element* __restrict__ dq, Element* __restrict__ df, const FEATURIZER* featurizer, const TAPS* filter,
    const SKIP* skip_gain, float* sums, float* d_taps, i64 channels, i64 seqlen, i64 n_groups, i64 group_size,
    i64 n_blocks, i64 stretch, i64 x_batch, i64 x_channel, i64 dy_batch, i64 dy_channel, i64 dx_batch, i64 dx_channel,
    i64 row_stream, i64 row_channel) {
    SHARED_BYTES;
    Shared& shared = *reinterpret_cast<Shared*>(shared_bytes);
    const Place at;
    const Channels mine(at, seqlen, n_groups, group_size, n_blocks, stretch);
    const Slots<STREAMS> slots{shared.inputs};
    const Element* rows[4][2];
    Element* to[2];
    float skip[2];
    u32 last[3][2];
    const i64 start = mine.first - PAST_STEPS * STEP;
    const i64 end = mine.first < seqlen ? min(mine.end + STEP, seqlen) : start;
#pragma unroll
    for (int hh = 0; hh < 2; ++hh) {
        const i64 d = mine.channel[hh], offset = mine.b * x_batch + d * x_channel;
        rows[0][hh] = k + offset, rows[1][hh] = v + offset, rows[GATE][hh] = q + offset;
        rows[GRADIENT][hh] = dy + mine.b * dy_batch + d * dy_channel;
        to[hh] = dq + mine.b * dx_batch + d * dx_channel;
        skip[hh] = HAS_SKIP ? load(skip_gain, d) : 0.0f;
#pragma unroll
        for (int s = 0; s < 3; ++s) {
            last[s][hh] = at.t == 3 && start > 0 && start < end ? pair_before(rows[s][hh], start, seqlen, nullptr) : 0u;
        }
    }
    if (start < end)
#pragma unroll
        for (int s = 0; s < STREAMS; ++s) slots.fetch(0, s, rows[s], mine.are_rows, start, seqlen, at);
    commit_copies();
    load_filter(shared.h, filter, mine.group);
    load_row_taps(shared.taps, featurizer, mine, at, row_stream, row_channel);
    make_table(shared.table, shared.h, at, false);
    barrier();

    Block ring[RING] = {};
    float diagonals[NEAR * SHIFTS][4] = {}, of_taps[2][3] = {}, of_skip[2] = {}, held[2][2] = {};
    int stage = 0;
    for (i64 first = start; first < end; first += STEP, stage = 1 - stage) {
        if (first + STEP < end)
#pragma unroll
            for (int s = 0; s < STREAMS; ++s) slots.fetch(1 - stage, s, rows[s], mine.are_rows, first + STEP, seqlen, at);
        commit_copies();
        wait_for_copies<1>();
        move_ring<false>(ring);
        {
            Words xk, xv;
            slots.read(stage, 0, at, xk);
            slots.read(stage, 1, at, xv);
            u32 before_k[2][2], before_v[2][2];
            pairs_before(xk, last[0], at, before_k);
            pairs_before(xv, last[1], at, before_v);
#pragma unroll
            for (int s = 0; s < 4; ++s) {
                const int hh = s / 2, ch = s % 2;
                float zk[8], zv[8], tk[3], tv[3];
                row_taps(shared.taps, 0, hh, at, tk);
                row_taps(shared.taps, 1, hh, at, tv);
                featurized(xk[hh][ch], before_k[hh][ch], tk, zk);
                featurized(xv[hh][ch], before_v[hh][ch], tv, zv);
#pragma unroll
                for (int p = 0; p < 4; ++p)
                    ring[RING - 2 + ch][hh][p] = pack(zk[2 * p] * zv[2 * p], zk[2 * p + 1] * zv[2 * p + 1]);
                last[0][hh] = xk[hh][1][3], last[1][hh] = xv[hh][1][3];
            }
        }
        const u32 q_last[2] = {last[GATE][0], last[GATE][1]};
        last[GATE][0] = slots.at(stage, GATE, at)[32].w, last[GATE][1] = slots.at(stage, GATE, at)[96].w;
        if (first < mine.first) continue;

        const bool is_own = first < mine.end;
        float y[8][4];
        times_filter<false>(y, ring, shared.table, at.lane);
        // read only now: the products need the registers
        Words xq, x_dy;
        u32 before[2][2];
        slots.read(stage, GATE, at, xq);
        slots.read(stage, GRADIENT, at, x_dy);
        pairs_before(xq, q_last, at, before);
        Block f[2];
        float firsts[2][2][2], after[2][2][2];
#pragma unroll
        for (int s = 0; s < 4; ++s) {
            const int hh = s / 2, ch = s % 2;
            float z[8], tq[3];
            row_taps(shared.taps, GATE, hh, at, tq);
            featurized(xq[hh][ch], before[hh][ch], tq, z);
#pragma unroll
            for (int p = 0; p < 4; ++p) {
                const u32 m = ring[RING - 2 + ch][hh][p], word = x_dy[hh][ch][p];
                f[ch][hh][p] = is_own ? pack(low_of(word) * z[2 * p], high_of(word) * z[2 * p + 1]) : 0u;
                of_skip[hh] = fmaf(low_of(f[ch][hh][p]), low_of(m), fmaf(high_of(f[ch][hh][p]), high_of(m), of_skip[hh]));
                // the gradient of the featurized q
                float &low = y[4 * ch + p][2 * hh], &high = y[4 * ch + p][2 * hh + 1];
                low = fmaf(skip[hh], low_of(m), low) * low_of(word);
                high = fmaf(skip[hh], high_of(m), high) * high_of(word);
            }
            firsts[hh][ch][0] = y[4 * ch][2 * hh];
            firsts[hh][ch][1] = y[4 * ch][2 * hh + 1];
        }
        if (first > mine.first)
#pragma unroll
            for (int hh = 0; hh < 2; ++hh) {
                float tq[3];
                row_taps(shared.taps, GATE, hh, at, tq);
                const float e0 = shuffle(firsts[hh][0][0], at.lane & ~3), e1 = shuffle(firsts[hh][0][1], at.lane & ~3);
                if (at.t == 3 && mine.are_rows[hh])
                    *reinterpret_cast<u32*>(to[hh] + first - 2) =
                        pack(held[hh][0] + tq[2] * e0, held[hh][1] + tq[1] * e0 + tq[2] * e1);
            }
        if (!is_own) break;
        const float none[2][2] = {};
        pairs_after(firsts, none, at, after);
#pragma unroll
        for (int s = 0; s < 4; ++s) {
            const int hh = s / 2, ch = s % 2;
            float dz[8], dx[8], tq[3];
            row_taps(shared.taps, GATE, hh, at, tq);
#pragma unroll
            for (int j = 0; j < 8; ++j) dz[j] = y[4 * ch + j / 2][2 * hh + j % 2];
            segment_backward(of_taps[hh], dx, dz, after[hh][ch], xq[hh][ch], before[hh][ch], tq);
            if (ch == 1) held[hh][0] = dx[6], held[hh][1] = dx[7];
            const i64 t = first + 32 * ch + 8 * at.t;
            if (t < mine.end && mine.are_rows[hh]) {
                store_streaming(to[hh] + t, packed(dx));
                store_streaming(df + ((mine.b * channels + mine.channel[hh]) * seqlen + t),
                                make_uint4(f[ch][hh][0], f[ch][hh][1], f[ch][hh][2], f[ch][hh][3]));
            }
        }
        add_diagonals<0, NEAR, true>(diagonals, ring, f);
    }

    const i64 program = (mine.first / stretch), n_stretches = n_blocks * WARPS;
#pragma unroll
    for (int hh = 0; hh < 2; ++hh) {
        float* out = sums + ((mine.b * channels + mine.channel[hh]) * n_stretches + program) * SUMS;
#pragma unroll
        for (int i = 0; i < SUMS; ++i) {
            const float sum = sum_of_row(i < F ? of_taps[hh][i] : of_skip[hh]);
            if (at.t == 0 && mine.are_rows[hh]) out[i] = sum;
        }
    }
    wait_for_copies<0>();
    float* left = reinterpret_cast<float*>(shared.inputs);
    gather_diagonals(left, diagonals, at);
    d_taps[block_index() * THREADS + thread_index()] = sum_of_lag(left, thread_index(), 0, NEAR);
}
