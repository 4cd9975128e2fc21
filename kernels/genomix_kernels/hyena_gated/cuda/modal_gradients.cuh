// What the backward pass of modal filters needs beside the walk itself: its shared memory, tables with lags, and the sums of
// a block at its end.
#pragma once

constexpr int STREAMS = 2 + HAS_V + HAS_Q;
constexpr int GRADIENT = STREAMS - 1, GATE = 1 + HAS_V;  // of the streams k, v, q, dy
constexpr int DIAGONALS = 2 * SHIFTS;

struct Shared {
    uint4 inputs[Slots<STREAMS>::BYTES / 16];
    uint4 tokens_to_modes[8 * 32], after_to_modes[8 * 32], modes_to_after[8 * 32];
    uint2 lagged_tokens[8 * 32], lagged_after[8 * 32];
    uint4 transposed[2 * SHIFTS * 32];
#if F
    u32 before[3][4][THREADS];  // the pairs of tokens before the segments of each thread
    float taps[3][4];
#endif
#if HAS_Q
    uint4 modes_to_tokens[8 * 32];
    uint4 toeplitz[2 * SHIFTS * 32];
#endif
    alignas(16) float totals[2][WARPS * MODES], later_totals[2][WARPS * MODES], edges[2][WARPS][6], held[WARPS][6];
    float h[CHUNK], by_lag[CHUNK], sums[WARPS][2 * MODES + 12];
    alignas(16) Modes modes;
};
static_assert(sizeof(Shared) <= SHARED_SIZE, "the launch reserves too little shared memory");
static_assert(sizeof(float) * WARPS * DIAGONALS * 4 * PADDED <= Slots<STREAMS>::BYTES, "sums along diagonals go where inputs were");

// as make_token_table and times_token_table, with one part only: sums over a sequence average its rounding
template <class Value> DEVICE void make_lagged_table(uint2* table, const Place& at, Value value) {
    int kb = at.warp;
    for (int nb = 0; nb < 2; ++nb) {
        int n = 8 * nb + at.g;
        table[(kb * 2 + nb) * 32 + at.lane] = make_uint2(
            pack(value(n, token_of_depth(at.t, kb, 0)), value(n, token_of_depth(at.t, kb, 1))),
            pack(value(n, token_of_depth(at.t, kb, 2)), value(n, token_of_depth(at.t, kb, 3))));
    }
}
DEVICE void times_both_tables(
    float (&x)[2][4], float (&lagged)[2][4], const Words& m, const uint4* table, const uint2* lagged_table, int lane) {
#pragma unroll
    for (int kb = 0; kb < 4; ++kb) {
        u32 a[4];
        rows_of(m, kb, a);
#pragma unroll
        for (int nb = 0; nb < 2; ++nb) {
            uint4 words = table[(kb * 2 + nb) * 32 + lane];
            uint2 with_lag = lagged_table[(kb * 2 + nb) * 32 + lane];
            if (kb == 0) {
                product_alone(x[nb], a, words.x, words.y);
                product_alone(lagged[nb], a, with_lag.x, with_lag.y);
            } else {
                product(x[nb], a, words.x, words.y);
                product(lagged[nb], a, with_lag.x, with_lag.y);
            }
            product(x[nb], a, words.z, words.w);
        }
    }
}

// Sums of M^T F whose blocks lie equally far from the diagonal.
DEVICE void add_diagonals(float (&sums)[DIAGONALS][4], const Words& m, const Words& f) {
    u32 ft[2][2][4];
#pragma unroll
    for (int i = 0; i < 16; ++i) ft[i / 8][i / 4 % 2][i % 4] = transposed(f[i / 8][i / 4 % 2][i % 4]);
#pragma unroll
    for (int ch = 0; ch < 2; ++ch)
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
            const u32 a[4] = {transposed(m[0][ch][2 * pair]), transposed(m[0][ch][2 * pair + 1]),
                              transposed(m[1][ch][2 * pair]), transposed(m[1][ch][2 * pair + 1])};
#pragma unroll
            for (int to = ch; to < 2; ++to)
#pragma unroll
                for (int p = 0; p < 4; ++p)
                    product(sums[diagonal_of(to - ch, pair, p)], a, ft[0][to][p], ft[1][to][p]);
        }
}

// Sums over the block of the gradients of poles, residues and skip, in an order that does not change.
DEVICE void leave_gradients(
    Shared& shared, const Place& at, const float (&diagonals)[DIAGONALS][4], float (&of_poles)[4], float (&of_residues)[4],
    i64 row, i64 n_modes, float* d_poles, float* d_residues, float* d_skip) {
    const Modes& modes = shared.modes;
    float* left = reinterpret_cast<float*>(shared.inputs);
    gather_diagonals(left, diagonals, at);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int mask = 4; mask < 32; mask *= 2) {
            of_poles[i] += shuffle_xor(of_poles[i], mask);
            of_residues[i] += shuffle_xor(of_residues[i], mask);
        }
        if (at.g == 0) {
            shared.sums[at.warp][at.mode(i)] = of_poles[i];
            shared.sums[at.warp][MODES + at.mode(i)] = of_residues[i];
        }
    }
    if (thread_index() < CHUNK) shared.by_lag[thread_index()] = sum_of_lag(left, thread_index(), 0, 2);
    barrier();
    const int n = thread_index() / 8, part = thread_index() % 8;
    float of_a = 0.0f, of_r = 0.0f;
    for (int i = 0; i < CHUNK / 8; ++i) {
        const int lag = part * (CHUNK / 8) + i;
        const float reach = shared.by_lag[lag] * fast_exp(modes.a[n] * lag);
        of_a += lag * reach;
        of_r += reach;
    }
    of_a *= modes.r[n];
#pragma unroll
    for (int mask = 1; mask < 8; mask *= 2) of_a += shuffle_xor(of_a, mask), of_r += shuffle_xor(of_r, mask);
    if (part == 0 && n < n_modes) {
        for (int w = 0; w < WARPS; ++w) of_a += shared.sums[w][n], of_r += shared.sums[w][MODES + n];
        d_poles[row * n_modes + n] = of_a;
        d_residues[row * n_modes + n] = of_r;
    }
    if (thread_index() == 0) d_skip[row] = shared.by_lag[0];
}

#if F
// Those of the featurizer's taps: of the streams q, k and v, the tap of the current input first.
DEVICE void leave_gradients_of_taps(Shared& shared, const Place& at, const float (&of_taps)[3][3], float* d_taps) {
#pragma unroll
    for (int i = 0; i < 9; ++i) {
        float sum = of_taps[i / 3][i % 3];
#pragma unroll
        for (int mask = 1; mask < 32; mask *= 2) sum += shuffle_xor(sum, mask);
        if (at.lane == 0) shared.sums[at.warp][2 * MODES + i] = sum;
    }
    barrier();
    if (thread_index() >= 3 * F) return;
    const int stream = thread_index() / F, tap = thread_index() % F, ours = stream == 0 ? 2 : stream - 1;
    float sum = 0.0f;
    for (int w = 0; w < WARPS; ++w) sum += shared.sums[w][2 * MODES + 3 * ours + tap];
    d_taps[thread_index()] = sum;
}
#endif
