// Gated modal filters, backward, with what the forward pass did computed again. A block walks one channel's tokens from
// the last tile to the first. The formulas are those of modal_backward.py; with F = dy z_q the gradient of the filtered
// signal and A that of the state after a row,
//
//     dM = F T^T + A V^T,   A_before = exp(64 a) A + R P,   P = F E',   E'[i, n] = exp(a_n (i + 1)),
//     dR_n = sum_l g_l exp(a_n l) + sum S P,   g_l = the diagonal sums of sum M^T F,
//     da_n = sum_l g_l R_n l exp(a_n l) + sum R S Q + A (64 exp(64 a) S + X'),
//
// Q and X' being P and X = M V with each weight multiplied by its lag.
//
// Defined by the caller: FP16, HAS_Q, HAS_V, F and IS_FEATURIZER_REVERSED (F = 0: no featurizer; else HAS_Q and HAS_V),
// HAS_TAIL = 0, HAS_SKIP, HAS_END, FEATURIZER and SKIP (their types), BLOCKS (a multiprocessor), SHARED_SIZE.

KERNEL void __launch_bounds__(THREADS, BLOCKS) modal_backward(
    const Element* __restrict__ q, const Element* __restrict__ k, const Element* __restrict__ v,
    const Element* __restrict__ dy, Element* __restrict__ dq, Element* __restrict__ dk, Element* __restrict__ dv,
    const FEATURIZER* featurizer, const float* log_poles, const float* residues, const SKIP* skip_gain,
    const float* saved, const float* end_state, float* d_start, float* d_poles, float* d_residues, float* d_skip,
    float* d_taps, i64 channels, i64 seqlen, i64 n_modes, i64 q_batch, i64 q_channel, i64 k_batch, i64 k_channel,
    i64 v_batch, i64 v_channel, i64 dy_batch, i64 dy_channel, i64 dq_batch, i64 dq_channel, i64 dk_batch,
    i64 dk_channel, i64 dv_batch, i64 dv_channel, i64 row_stream, i64 row_channel) {
    SHARED_BYTES;
    Shared& shared = *reinterpret_cast<Shared*>(shared_bytes);
    const Place at;
    const i64 row = block_index(), b = row / channels, d = row % channels;
    const Element* rows[4];
    rows[0] = k + b * k_batch + d * k_channel;
    if (HAS_V) rows[1] = v + b * v_batch + d * v_channel;
    if (HAS_Q) rows[GATE] = q + b * q_batch + d * q_channel;
    rows[GRADIENT] = dy + b * dy_batch + d * dy_channel;
    Element* dk_row = dk + b * dk_batch + d * dk_channel;
    [[maybe_unused]] Element* dv_row = dv + b * dv_batch + d * dv_channel;
    [[maybe_unused]] Element* dq_row = dq + b * dq_batch + d * dq_channel;
    const u32 zero = u32(seqlen >> 32);
    const int n_tiles = (seqlen + TILE - 1) / TILE;
    const Slots<STREAMS> slots{shared.inputs};

#pragma unroll
    for (int s = 0; s < STREAMS; ++s) slots.fetch((n_tiles - 1) % 2, s, rows[s], i64(n_tiles - 1) * TILE, seqlen, at);
    commit_copies();
    const float skip = HAS_SKIP ? load(skip_gain, d) : 0.0f;
    make_filter(shared.modes, shared.h, log_poles + d * n_modes, residues + d * n_modes, n_modes, skip);
    const Modes& modes = shared.modes;
    auto to_end = [&](int n, int j) { return fast_exp(modes.a[n] * (CHUNK - 1 - j)); };
    auto from_start = [&](int n, int i) { return fast_exp(modes.a[n] * (i + 1)); };
    make_token_table(shared.tokens_to_modes, at, to_end);
    make_token_table(shared.after_to_modes, at, from_start);
    make_mode_table(shared.modes_to_after, at, to_end);
    make_lagged_table(shared.lagged_tokens, at, [&](int n, int j) { return (CHUNK - 1 - j) * to_end(n, j); });
    make_lagged_table(shared.lagged_after, at, [&](int n, int i) { return (i + 1) * from_start(n, i); });
    make_toeplitz(shared.transposed, 2, shared.h, CHUNK, at, true);
#if HAS_Q
    make_toeplitz(shared.toeplitz, 2, shared.h, CHUNK, at, false);
    make_mode_table(shared.modes_to_tokens, at, [&](int n, int i) { return modes.r[n] * from_start(n, i); });
#endif
    const Decays decays(modes, at, true);
    float later[4], of_poles[4] = {}, of_residues[4] = {}, diagonals[DIAGONALS][4] = {};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        later[i] = HAS_END && at.mode(i) < n_modes ? end_state[row * n_modes + at.mode(i)] : 0.0f;
    }
#if F
    float of_taps[3][3] = {};  // of k, v, q
    u32 first[3];
#pragma unroll
    for (int s = 0; s < 3; ++s) {
        float taps[3];
        load_taps(taps, featurizer, d * row_channel + (s == 0 ? 1 : s == 1 ? 2 : 0) * row_stream);
        if (thread_index() == 0)
            for (int i = 0; i < 3; ++i) shared.taps[s][i] = taps[i];
        first[s] = at.lane ? 0u : pair_before(rows[s], i64(n_tiles - 1) * TILE + at.warp * WARP_TOKENS, seqlen, nullptr);
    }
    if (thread_index() < 2 * WARPS * 6) (&shared.edges[0][0][0])[thread_index()] = 0.0f;
#endif
    barrier();

    for (int index = n_tiles - 1; index >= 0; --index) {
        const i64 first_token = i64(index) * TILE;
        const int stage = index % 2;
#pragma unroll
        for (int s = 0; s < STREAMS; ++s)
            if (index > 0) slots.fetch(1 - stage, s, rows[s], first_token - TILE, seqlen, at);
        commit_copies();
        float state[4];
#pragma unroll
        for (int i = 0; i < 4; ++i)
            state[i] = at.mode(i) < n_modes ? saved[(row * n_tiles + index) * n_modes + at.mode(i)] : 0.0f;
        wait_for_copies<1>();

        // m = z_k z_v and f = dy z_q
        Words m, f;
        slots.read(stage, 0, at, m, HAS_V ? 0u : zero);
        slots.read(stage, GRADIENT, at, f, HAS_Q ? 0u : zero);
#if F
        auto taps_of = [&](int stream, float (&taps)[3]) {
            for (int i = 0; i < 3; ++i) taps[i] = shared.taps[stream][i];
        };
        auto read_with_past = [&](int stream, Words& x, u32 (&before)[2][2]) {
            slots.read(stage, stream, at, x);
            pairs_before(x, first[stream], at, before);
#pragma unroll
            for (int s = 0; s < 4; ++s) shared.before[stream][s][thread_index()] = before[s / 2][s % 2];
        };
        {
            Words other;
            u32 before[2][2], other_before[2][2];
            float taps[3], other_taps[3];
            read_with_past(0, m, before);
            read_with_past(1, other, other_before);
            taps_of(0, taps);
            taps_of(1, other_taps);
#pragma unroll
            for (int s = 0; s < 4; ++s) {
                float zk[8], zv[8];
                featurized(m[s / 2][s % 2], before[s / 2][s % 2], taps, zk);
                featurized(other[s / 2][s % 2], other_before[s / 2][s % 2], other_taps, zv);
#pragma unroll
                for (int p = 0; p < 4; ++p)
                    m[s / 2][s % 2][p] = pack(zk[2 * p] * zv[2 * p], zk[2 * p + 1] * zv[2 * p + 1]);
            }
            read_with_past(GATE, other, other_before);
            taps_of(GATE, other_taps);
#pragma unroll
            for (int s = 0; s < 4; ++s) {
                float zq[8];
                featurized(other[s / 2][s % 2], other_before[s / 2][s % 2], other_taps, zq);
#pragma unroll
                for (int p = 0; p < 4; ++p) {
                    u32& word = f[s / 2][s % 2][p];
                    word = pack(low_of(word) * zq[2 * p], high_of(word) * zq[2 * p + 1]);
                }
            }
            if (at.lane == 0 && index > 0)
#pragma unroll
                for (int s = 0; s < 3; ++s)
                    first[s] = pair_before(rows[s], first_token - TILE + at.warp * WARP_TOKENS, seqlen, nullptr);
        }
#else
        if (HAS_V) {
            Words other;
            slots.read(stage, 1, at, other);
#pragma unroll
            for (int s = 0; s < 16; ++s) {
                u32 &word = m[s / 8][s / 4 % 2][s % 4], by = other[s / 8][s / 4 % 2][s % 4];
                word = pack(low_of(word) * low_of(by), high_of(word) * high_of(by));
            }
        }
        if (HAS_Q) {
            Words other;
            slots.read(stage, GATE, at, other);
#pragma unroll
            for (int s = 0; s < 16; ++s) {
                u32 &word = f[s / 8][s / 4 % 2][s % 4], by = other[s / 8][s / 4 % 2][s % 4];
                word = pack(low_of(word) * low_of(by), high_of(word) * high_of(by));
            }
        }
#endif
        add_diagonals(diagonals, m, f);

        float x[2][4], lagged_x[2][4], pulled[2][4], lagged_pulled[2][4];
        times_both_tables(x, lagged_x, m, shared.tokens_to_modes, shared.lagged_tokens, at.lane);
        times_both_tables(pulled, lagged_pulled, f, shared.after_to_modes, shared.lagged_after, at.lane);
        float states[2][4], afters[2][4], total[4], residue[4];
        of_modes(modes.r, at, residue);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            states[i / 4][i % 4] = x[i % 4 / 2][2 * (i / 4) + i % 2];
            afters[i / 4][i % 4] = residue[i % 4] * pulled[i % 4 / 2][2 * (i / 4) + i % 2];
        }
        scan_rows<false>(states, total, decays, at);
        leave_total(shared.totals[stage], total, at);
        scan_rows<true>(afters, total, decays, at);
        leave_total(shared.later_totals[stage], total, at);
        barrier();
        float start[4];
        chain_warps<false>(shared.totals[stage], state, start, modes, at);
        states_at_rows<false>(states, start, decays, at);
        // a mode that grows may be infinite beyond the sequence, where it would be multiplied by 0
#pragma unroll
        for (int i = 0; i < 8; ++i)
            if (first_token + at.row(i / 4) >= seqlen) states[i / 4][i % 4] = 0.0f;
        chain_warps<true>(shared.later_totals[stage], later, start, modes, at);
        states_at_rows<true>(afters, start, decays, at);
        of_modes(modes.r, at, residue);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            const int hh = i / 4, n = i % 4, word = 2 * hh + n % 2;
            const float s = states[hh][n];
            of_residues[n] += s * pulled[n / 2][word];
            of_poles[n] += residue[n] * s * lagged_pulled[n / 2][word] +
                           afters[hh][n] * (CHUNK * decays.row[n] * s + lagged_x[n / 2][word]);
        }

#if F
        // a segment as it came, and the pair of tokens before it
        auto segment_with_past = [&](int stream, int s, u32 (&x)[4], u32& before) {
            const uint4 words = slots.at(stage, stream, at)[32 * s];
            x[0] = words.x, x[1] = words.y, x[2] = words.z, x[3] = words.w;
            before = shared.before[stream][s][thread_index()];
        };
        // leave the gradients of the first two tokens of the warp to the warp, or tile, before
        auto leave_edge = [&](int stream, const float (&firsts)[2][2][2]) {
            if (at.lane != 0) return;
            shared.edges[stage][at.warp][2 * stream] = firsts[0][0][0];
            shared.edges[stage][at.warp][2 * stream + 1] = firsts[0][0][1];
        };
        // take a segment's gradient through the featurizer
        auto through_featurizer = [&](int stream, int s, Element* to, const float (&dz)[8], const float (&after)[2],
                                      const u32 (&x)[4], u32 before, const float (&taps)[3]) {
            float dx[8];
            adjoint(dz, after, taps, dx);
            add_to_taps(of_taps[stream], dz, x, before);
            if (s == 3 && at.lane == 31) shared.held[at.warp][2 * stream] = dx[6], shared.held[at.warp][2 * stream + 1] = dx[7];
            const i64 t = first_token + at.token(s / 2, s % 2);
            if (t < seqlen)
                store_streaming(to + t, make_uint4(pack(dx[0], dx[1]), pack(dx[2], dx[3]), pack(dx[4], dx[5]), pack(dx[6], dx[7])));
        };
#endif
        [[maybe_unused]] auto segment = [&](int stream, int s, float (&z)[8]) {
            const uint4 words = slots.at(stage, stream, at)[32 * s];
            const u32 x[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
            for (int p = 0; p < 4; ++p) z[2 * p] = low_of(x[p]), z[2 * p + 1] = high_of(x[p]);
        };
        auto value = [](const float (&y)[8][4], int s, int j) { return y[4 * (s % 2) + j / 2][2 * (s / 2) + j % 2]; };
        [[maybe_unused]] auto write = [&](Element* to, int s, const float (&x)[8]) {
            const i64 t = first_token + at.token(s / 2, s % 2);
            if (t < seqlen)
                store_streaming(to + t, make_uint4(pack(x[0], x[1]), pack(x[2], x[3]), pack(x[4], x[5]), pack(x[6], x[7])));
        };
#if HAS_Q
        {
            float y[8][4];
            times_toeplitz(y, m, shared.toeplitz, at.lane, false);
            times_mode_table(y, states, shared.modes_to_tokens, at.lane);
#if F
            float firsts[2][2][2], after[2][2][2], taps[3];
#pragma unroll
            for (int s = 0; s < 4; ++s) {
                const u32 word = slots.at(stage, GRADIENT, at)[32 * s].x;
                firsts[s / 2][s % 2][0] = value(y, s, 0) * low_of(word);
                firsts[s / 2][s % 2][1] = value(y, s, 1) * high_of(word);
            }
            pairs_after(firsts, at, after);
            leave_edge(GATE, firsts);
            taps_of(GATE, taps);
#endif
#pragma unroll
            for (int s = 0; s < 4; ++s) {
                float dz[8];
                segment(GRADIENT, s, dz);
#pragma unroll
                for (int j = 0; j < 8; ++j) dz[j] *= value(y, s, j);
#if F
                u32 x[4], before;
                segment_with_past(GATE, s, x, before);
                through_featurizer(GATE, s, dq_row, dz, after[s / 2][s % 2], x, before, taps);
#else
                write(dq_row, s, dz);
#endif
            }
        }
#endif
        float dm[8][4];
        times_toeplitz(dm, f, shared.transposed, at.lane, true);
        times_mode_table(dm, afters, shared.modes_to_after, at.lane);
#if F
        float k_firsts[2][2][2], v_firsts[2][2][2], k_after[2][2][2], v_after[2][2][2], k_taps[3], v_taps[3];
        taps_of(0, k_taps);
        taps_of(1, v_taps);
#pragma unroll
        for (int s = 0; s < 4; ++s) {
            float z[2];
            featurized_pair(slots.at(stage, 1, at)[32 * s].x, shared.before[1][s][thread_index()], v_taps, z);
            for (int e = 0; e < 2; ++e) k_firsts[s / 2][s % 2][e] = value(dm, s, e) * z[e];
            featurized_pair(slots.at(stage, 0, at)[32 * s].x, shared.before[0][s][thread_index()], k_taps, z);
            for (int e = 0; e < 2; ++e) v_firsts[s / 2][s % 2][e] = value(dm, s, e) * z[e];
        }
        pairs_after(k_firsts, at, k_after);
        pairs_after(v_firsts, at, v_after);
        leave_edge(0, k_firsts);
        leave_edge(1, v_firsts);
#pragma unroll
        for (int s = 0; s < 4; ++s) {
            u32 xk[4], xv[4], k_before, v_before;
            segment_with_past(0, s, xk, k_before);
            segment_with_past(1, s, xv, v_before);
            float dz[8];
            featurized(xv, v_before, v_taps, dz);
#pragma unroll
            for (int j = 0; j < 8; ++j) dz[j] *= value(dm, s, j);
            through_featurizer(0, s, dk_row, dz, k_after[s / 2][s % 2], xk, k_before, k_taps);
            featurized(xk, k_before, k_taps, dz);
#pragma unroll
            for (int j = 0; j < 8; ++j) dz[j] *= value(dm, s, j);
            through_featurizer(1, s, dv_row, dz, v_after[s / 2][s % 2], xv, v_before, v_taps);
        }
        barrier();
        if (at.lane == 31) {
            const float* next = at.warp < WARPS - 1 ? shared.edges[stage][at.warp + 1] : shared.edges[1 - stage][0];
            const i64 t = first_token + at.token(1, 1);
            if (t < seqlen)
#pragma unroll
                for (int s = 0; s < 3; ++s) {
                    Element* to = s == 0 ? dk_row : s == 1 ? dv_row : dq_row;
                    const float* taps = shared.taps[s];
                    float x6 = shared.held[at.warp][2 * s] + taps[2] * next[2 * s];
                    float x7 = shared.held[at.warp][2 * s + 1] + taps[1] * next[2 * s] + taps[2] * next[2 * s + 1];
                    *reinterpret_cast<u32*>(to + t + 6) = pack(x6, x7);
                }
        }
#else
#pragma unroll
        for (int s = 0; s < 4; ++s) {
            float dz[8];
#if HAS_V
            float by[8];
            segment(0, s, by);
#pragma unroll
            for (int j = 0; j < 8; ++j) dz[j] = value(dm, s, j) * by[j];
            write(dv_row, s, dz);
            segment(1, s, by);
#pragma unroll
            for (int j = 0; j < 8; ++j) dz[j] = value(dm, s, j) * by[j];
#else
#pragma unroll
            for (int j = 0; j < 8; ++j) dz[j] = value(dm, s, j);
#endif
            write(dk_row, s, dz);
        }
#endif
    }

    wait_for_copies<0>();
    leave_gradients(shared, at, diagonals, of_poles, of_residues, row, n_modes, d_poles, d_residues, d_skip);
    if (at.warp == 0 && at.g == 0)
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (at.mode(i) < n_modes) d_start[row * n_modes + at.mode(i)] = later[i];
#if F
    leave_gradients_of_taps(shared, at, of_taps, d_taps + row * 3 * F);
#endif
}
