// Gated modal filters, forward: y = q (h * k v + skip k v). A block walks one channel's tokens, 4096 at a time.
//
// Defined by the caller: FP16, HAS_Q, HAS_V, F and IS_FEATURIZER_REVERSED (F = 0: no featurizer), HAS_TAIL, HAS_SKIP,
// HAS_START, HAS_FINAL, HAS_SAVED, ROUNDS, FEATURIZER and SKIP (their types), BLOCKS (a multiprocessor), SHARED_SIZE.

constexpr int STREAMS = 1 + HAS_V + HAS_Q;

struct Shared {
    uint4 inputs[Slots<STREAMS>::BYTES / 16];
    uint4 tokens_to_modes[8 * 32], modes_to_tokens[8 * 32];
    uint4 toeplitz[2 * SHIFTS * 32];
    alignas(16) float totals[2][WARPS * MODES], h[CHUNK];
    alignas(16) Modes modes;
};
static_assert(sizeof(Shared) <= SHARED_SIZE, "the launch reserves too little shared memory");

KERNEL void __launch_bounds__(THREADS, BLOCKS) modal_forward(
    const Element* __restrict__ q, const Element* __restrict__ k, const Element* __restrict__ v, Element* __restrict__ y,
    const FEATURIZER* featurizer, const float* log_poles, const float* residues, const SKIP* skip_gain, const Element* tail,
    const float* start_state, float* final_state, float* saved, i64 channels, i64 seqlen, i64 n_modes, i64 q_batch,
    i64 q_channel, i64 k_batch, i64 k_channel, i64 v_batch, i64 v_channel, i64 row_stream, i64 row_channel) {
    SHARED_BYTES;
    Shared& shared = *reinterpret_cast<Shared*>(shared_bytes);
    const Place at;
    const i64 row = block_index(), b = row / channels, d = row % channels;
    const Element* rows[3] = {k + b * k_batch + d * k_channel, v + b * v_batch + d * v_channel, q + b * q_batch + d * q_channel};
    if (!HAS_V) rows[1] = rows[2];
    const u32 zero = u32(seqlen >> 32);
    const int n_tiles = (seqlen + TILE - 1) / TILE;
    const Slots<STREAMS> slots{shared.inputs};

#pragma unroll
    for (int s = 0; s < STREAMS; ++s) slots.fetch(0, s, rows[s], 0, seqlen, at);
    commit_copies();
    const float skip = HAS_SKIP ? load(skip_gain, d) : 0.0f;
    make_filter(shared.modes, shared.h, log_poles + d * n_modes, residues + d * n_modes, n_modes, ROUNDS ? 0.0f : skip);
    const Modes& modes = shared.modes;
    make_token_table(shared.tokens_to_modes, at, [&](int n, int j) { return fast_exp(modes.a[n] * (CHUNK - 1 - j)); });
    make_mode_table(shared.modes_to_tokens, at, [&](int n, int i) { return modes.r[n] * fast_exp(modes.a[n] * (i + 1)); });
    const Decays decays(modes, at, false);
    make_toeplitz(shared.toeplitz, 2, shared.h, CHUNK, at, false);
    float state[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
        state[i] = HAS_START && at.mode(i) < n_modes ? start_state[row * n_modes + at.mode(i)] : 0.0f;
#if F
    float taps[3][3];  // of k, v, q
    u32 first[3];
    const Element* tails[3];
#pragma unroll
    for (int s = 0; s < 3; ++s) {
        const i64 stream = d * row_channel + (s == 0 ? 1 : s == 1 ? 2 : 0) * row_stream;
        load_taps(taps[s], featurizer, stream);
        tails[s] = tail + (b * 3 * channels + stream) * (F - 1);
        first[s] = at.lane ? 0u : pair_before(rows[s], at.warp * WARP_TOKENS, seqlen, tails[s]);
    }
#endif
    barrier();

    for (int index = 0; index < n_tiles; ++index) {
        const i64 first_token = i64(index) * TILE;
        const int stage = index % 2;
#pragma unroll
        for (int s = 0; s < STREAMS; ++s)
            if (index + 1 < n_tiles) slots.fetch(1 - stage, s, rows[s], first_token + TILE, seqlen, at);
        commit_copies();
        wait_for_copies<1>();

        Words m;
        slots.read(stage, 0, at, m, HAS_V ? 0u : zero);
#if F
        u32 q_first = first[2];
        {
            Words other;
            slots.read(stage, 1, at, other);
            u32 before[2][2], other_before[2][2];
            pairs_before(m, first[0], at, before);
            pairs_before(other, first[1], at, other_before);
#pragma unroll
            for (int s = 0; s < 4; ++s) {
                float zk[8], zv[8];
                featurized(m[s / 2][s % 2], before[s / 2][s % 2], taps[0], zk);
                featurized(other[s / 2][s % 2], other_before[s / 2][s % 2], taps[1], zv);
#pragma unroll
                for (int p = 0; p < 4; ++p)
                    m[s / 2][s % 2][p] = pack(zk[2 * p] * zv[2 * p], zk[2 * p + 1] * zv[2 * p + 1]);
            }
            if (at.lane == 0 && index + 1 < n_tiles)
#pragma unroll
                for (int s = 0; s < 3; ++s)
                    first[s] = pair_before(rows[s], first_token + TILE + at.warp * WARP_TOKENS, seqlen, tails[s]);
        }
#elif HAS_V
        {
            Words other;
            slots.read(stage, 1, at, other);
#pragma unroll
            for (int s = 0; s < 16; ++s) {
                u32 &word = m[s / 8][s / 4 % 2][s % 4], by = other[s / 8][s / 4 % 2][s % 4];
                word = pack(low_of(word) * low_of(by), high_of(word) * high_of(by));
            }
        }
#endif
        float x[2][4];
        times_token_table(x, m, shared.tokens_to_modes, at.lane);
        float states[2][4], total[4], start[4];
#pragma unroll
        for (int i = 0; i < 8; ++i) states[i / 4][i % 4] = x[i % 4 / 2][2 * (i / 4) + i % 2];
        scan_rows<false>(states, total, decays, at);
        leave_total(shared.totals[stage], total, at);

        float out[8][4];
        times_toeplitz(out, m, shared.toeplitz, at.lane, false);

        barrier();
        if (at.warp == 0 && at.g == 0) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                if (at.mode(i) >= n_modes) continue;
                if (HAS_SAVED) saved[(row * n_tiles + index) * n_modes + at.mode(i)] = state[i];
                // from here the tokens of the last, incomplete tile remain to be added
                if (HAS_FINAL && index == n_tiles - 1) final_state[row * n_modes + at.mode(i)] = state[i];
            }
        }
        chain_warps<false>(shared.totals[stage], state, start, modes, at);
        states_at_rows<false>(states, start, decays, at);
        times_mode_table(out, states, shared.modes_to_tokens, at.lane);

#if HAS_Q
        Words gate;
        slots.read(stage, STREAMS - 1, at, gate);
#if F
        u32 before[2][2];
        pairs_before(gate, q_first, at, before);
#endif
#endif
#pragma unroll
        for (int s = 0; s < 4; ++s) {
            const int hh = s / 2, ch = s % 2;
            u32 words[4];
#if F
            float z[8];
            featurized(gate[hh][ch], before[hh][ch], taps[2], z);
#endif
#pragma unroll
            for (int p = 0; p < 4; ++p) {
                float low = out[4 * ch + p][2 * hh], high = out[4 * ch + p][2 * hh + 1];
#if ROUNDS
                u32 rounded = pack(low, high);
                low = low_of(rounded) + skip * low_of(m[hh][ch][p]);
                high = high_of(rounded) + skip * high_of(m[hh][ch][p]);
#endif
#if F
                low *= z[2 * p], high *= z[2 * p + 1];
#elif HAS_Q
                low *= low_of(gate[hh][ch][p]), high *= high_of(gate[hh][ch][p]);
#endif
                words[p] = pack(low, high);
            }
            const i64 t = first_token + at.token(hh, ch);
            if (t < seqlen) store_streaming(y + row * seqlen + t, make_uint4(words[0], words[1], words[2], words[3]));
        }
    }
    if (HAS_FINAL && seqlen % TILE == 0 && at.warp == 0 && at.g == 0)
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (at.mode(i) < n_modes) final_state[row * n_modes + at.mode(i)] = state[i];
}
