// Gated filters with taps, forward: y = q (h * k v + skip k v).
//
// Defined by the caller: FP16, K, IS_REVERSED and TAPS (of the filter: its taps' order and type), IS_EXACT, F and
// IS_FEATURIZER_REVERSED and FEATURIZER, HAS_SKIP and SKIP, HAS_TAIL (a state: of the featurizer and of the filter), BLOCKS (a
// multiprocessor), SHARED_SIZE.

constexpr int STREAMS = 3;  // k, v, q

struct Shared {
    uint4 inputs[Slots<STREAMS>::BYTES / 16];
    Fragment table[DISTANCES * SHIFTS * 32];
    float h[K];
    alignas(16) RowTaps taps;
};
static_assert(sizeof(Shared) <= SHARED_SIZE, "the launch reserves too little shared memory");

KERNEL void __launch_bounds__(THREADS, BLOCKS) fir_forward(
    const Element* __restrict__ q, const Element* __restrict__ k, const Element* __restrict__ v, Element* __restrict__ y,
    const FEATURIZER* featurizer, const TAPS* filter, const SKIP* skip_gain, const Element* tail, const Element* past,
    i64 channels, i64 seqlen, i64 n_groups, i64 group_size, i64 n_blocks, i64 stretch, i64 x_batch, i64 x_channel,
    i64 row_stream, i64 row_channel) {
    SHARED_BYTES;
    Shared& shared = *reinterpret_cast<Shared*>(shared_bytes);
    const Place at;
    const Channels mine(at, seqlen, n_groups, group_size, n_blocks, stretch);
    const Slots<STREAMS> slots{shared.inputs};
    const Element* rows[3][2];
    float skip[2];
    u32 last[3][2];
    const i64 start = mine.first - PAST_STEPS * STEP;
#pragma unroll
    for (int hh = 0; hh < 2; ++hh) {
        const i64 d = mine.channel[hh], offset = mine.b * x_batch + d * x_channel;
        rows[0][hh] = k + offset, rows[1][hh] = v + offset, rows[2][hh] = q + offset;
        skip[hh] = HAS_SKIP ? load(skip_gain, d) : 0.0f;
#pragma unroll
        for (int s = 0; s < 3; ++s) {
            // a stretch at the beginning meets the tail when it comes to token 0, others read what lies before them
            last[s][hh] = at.t == 3 && start > 0 ? pair_before(rows[s][hh], start, seqlen, nullptr) : 0u;
        }
    }
    if (mine.first < seqlen) {
#pragma unroll
        for (int s = 0; s < STREAMS; ++s) slots.fetch(0, s, rows[s], mine.are_rows, start, seqlen, at);
    }
    commit_copies();
    load_filter(shared.h, filter, mine.group);
    load_row_taps(shared.taps, featurizer, mine, at, row_stream, row_channel);
    make_table(shared.table, shared.h, at, false);
    barrier();
    if (mine.first >= seqlen) return;

    Block ring[RING] = {};
    int stage = 0;
    for (i64 first = start; first < mine.end; first += STEP, stage = 1 - stage) {
        if (first + STEP < mine.end)
#pragma unroll
            for (int s = 0; s < STREAMS; ++s) slots.fetch(1 - stage, s, rows[s], mine.are_rows, first + STEP, seqlen, at);
        commit_copies();
        wait_for_copies<1>();
#if HAS_TAIL
        if (first == 0 && at.t == 3)
#pragma unroll
            for (int s = 0; s < 6; ++s) {
                const i64 stream = mine.channel[s % 2] * row_channel + (s / 2 == 0 ? 1 : s / 2 == 1 ? 2 : 0) * row_stream;
                last[s / 2][s % 2] = pair_before(rows[s / 2][s % 2], 0, seqlen, tail + (mine.b * 3 * channels + stream) * (F - 1));
            }
#endif
        move_ring<false>(ring);
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
#if HAS_TAIL
        if (first < 0)  // what the filter remembers: the K - 1 gated inputs before token 0
#pragma unroll
            for (int s = 0; s < 16; ++s) {
                const int hh = s / 8, ch = s / 4 % 2, p = s % 4;
                const i64 t = first + 32 * ch + 8 * at.t + 2 * p + K - 1;
                const Element* row = past + (mine.b * channels + mine.channel[hh]) * (K - 1);
                const u32 low = t >= 0 && mine.are_rows[hh] ? row[t].bits : 0u;
                const u32 high = t + 1 >= 0 && mine.are_rows[hh] ? row[t + 1].bits : 0u;
                ring[RING - 2 + ch][hh][p] = low | high << 16;
            }
#endif
        Words xq;
        slots.read(stage, 2, at, xq);
        if (first >= mine.first) {
            float out[8][4];
            times_filter<false>(out, ring, shared.table, at.lane);
            u32 before_q[2][2];
            pairs_before(xq, last[2], at, before_q);
#pragma unroll
            for (int s = 0; s < 4; ++s) {
                const int hh = s / 2, ch = s % 2;
                float z[8], tq[3];
                u32 words[4];
                row_taps(shared.taps, 2, hh, at, tq);
                featurized(xq[hh][ch], before_q[hh][ch], tq, z);
#pragma unroll
                for (int p = 0; p < 4; ++p) {
                    const u32 m = ring[RING - 2 + ch][hh][p];
                    const float low = fmaf(skip[hh], low_of(m), out[4 * ch + p][2 * hh]);
                    const float high = fmaf(skip[hh], high_of(m), out[4 * ch + p][2 * hh + 1]);
                    words[p] = pack(low * z[2 * p], high * z[2 * p + 1]);
                }
                const i64 t = first + 32 * ch + 8 * at.t;
                if (t < mine.end && mine.are_rows[hh])
                    store_streaming(y + (mine.b * channels + mine.channel[hh]) * seqlen + t,
                                    make_uint4(words[0], words[1], words[2], words[3]));
            }
        }
        last[2][0] = xq[0][1][3], last[2][1] = xq[1][1][3];
    }
}
