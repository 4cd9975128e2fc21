// Modal filters: tables, and scans over rows. Four warps hold 4096 neighbouring tokens of one channel.
//
// The algebra is that of modal_tiles.py: with the state S before a row, Y = M T + S E, S' = exp(64 a) S + M V.
#pragma once

constexpr int MODES = 16, TILE = WARPS * WARP_TOKENS;

// Tables

struct Modes {
    float a[MODES], r[MODES];
    float warp[MODES], whole[MODES];  // how a mode decays over 16 rows, and over a tile
};

// h[lag], lags of one chunk; missing modes weigh nothing
DEVICE void make_filter(Modes& modes, float* h, const float* log_poles, const float* residues, int n_modes, float skip) {
    int i = thread_index();
    if (i < MODES) {
        float a = i < n_modes ? log_poles[i] : -1.0f;
        modes.a[i] = a;
        modes.r[i] = i < n_modes ? residues[i] : 0.0f;
        modes.warp[i] = expf(a * WARP_TOKENS);
        modes.whole[i] = expf(a * TILE);
    }
    barrier();
    // two threads a lag
    int lag = i / 2;
    float sum = 0.0f;
#pragma unroll
    for (int n = 0; n < MODES / 2; ++n) {
        int mode = n + (i % 2) * (MODES / 2);
        sum += modes.r[mode] * fast_exp(modes.a[mode] * lag);
    }
    sum += shuffle_xor(sum, 1);
    if (i % 2 == 0) h[lag] = i == 0 ? sum + skip : sum;
    barrier();
}

// Y = M T
DEVICE void times_toeplitz(float (&y)[8][4], const Words& m, const uint4* table, int lane, bool is_transposed) {
#pragma unroll
    for (int distance = 0; distance < 2; ++distance) {
        uint4 words[SHIFTS];
#pragma unroll
        for (int s = 0; s < SHIFTS; ++s) words[s] = table[(distance * SHIFTS + s) * 32 + lane];
#pragma unroll
        for (int kb = 0; kb < 4; ++kb) {
            u32 a[4];
            rows_of(m, kb, a);
#pragma unroll
            for (int nb = 0; nb < 8; ++nb) {
                int apart = is_transposed ? kb / 2 - nb / 4 : nb / 4 - kb / 2;
                if (apart != distance) continue;
                int s = nb % 4 - 2 * (kb % 2) + 2;
                if (distance == 0 && kb % 2 == 0) product_alone(y[nb], a, words[s].x, words[s].y);
                else product(y[nb], a, words[s].x, words[s].y);
                product(y[nb], a, words[s].z, words[s].w);
            }
        }
    }
}

// exp(a_n lag) times a factor, for depth = tokens and columns = modes: X = M V. Two parts of two words each.
template <class Value> DEVICE void make_token_table(uint4* table, const Place& at, Value value) {
    int kb = at.warp;
    for (int nb = 0; nb < 2; ++nb) {
        int n = 8 * nb + at.g;
        uint4 words;
        in_two(value(n, token_of_depth(at.t, kb, 0)), value(n, token_of_depth(at.t, kb, 1)), words.x, words.z);
        in_two(value(n, token_of_depth(at.t, kb, 2)), value(n, token_of_depth(at.t, kb, 3)), words.y, words.w);
        table[(kb * 2 + nb) * 32 + at.lane] = words;
    }
}
DEVICE void times_token_table(float (&x)[2][4], const Words& m, const uint4* table, int lane) {
#pragma unroll
    for (int kb = 0; kb < 4; ++kb) {
        u32 a[4];
        rows_of(m, kb, a);
#pragma unroll
        for (int nb = 0; nb < 2; ++nb) {
            uint4 words = table[(kb * 2 + nb) * 32 + lane];
            if (kb == 0) product_alone(x[nb], a, words.x, words.y);
            else product(x[nb], a, words.x, words.y);
            product(x[nb], a, words.z, words.w);
        }
    }
}

// the same for depth = modes and columns = tokens, in bf16: Y += S E
template <class Value> DEVICE void make_mode_table(uint4* table, const Place& at, Value value) {
    for (int nb = 2 * at.warp; nb < 2 * at.warp + 2; ++nb) {
        int i = token_of_column(at.g, nb);
        uint4 words;
        in_two_bf16(value(2 * at.t, i), value(2 * at.t + 1, i), words.x, words.z);
        in_two_bf16(value(2 * at.t + 8, i), value(2 * at.t + 9, i), words.y, words.w);
        table[nb * 32 + at.lane] = words;
    }
}
DEVICE void times_mode_table(float (&y)[8][4], const float (&s)[2][4], const uint4* table, int lane) {
    u32 high[4], low[4];
#pragma unroll
    for (int hh = 0; hh < 2; ++hh) {
        in_two_bf16(s[hh][0], s[hh][1], high[hh], low[hh]);
        in_two_bf16(s[hh][2], s[hh][3], high[hh + 2], low[hh + 2]);
    }
#pragma unroll
    for (int nb = 0; nb < 8; ++nb) {
        uint4 words = table[nb * 32 + lane];
        product_bf16(y[nb], high, words.x, words.y);
        product_bf16(y[nb], low, words.x, words.y);
        product_bf16(y[nb], high, words.z, words.w);
    }
}

// Scans over rows: value i of a lane belongs to mode `Place.mode(i)`

// sum + weight x, where an infinite weight of nothing is nothing. A pole that is being trained may become positive: over a
// short sequence such a mode is as good as any, but over the rest of a tile, where there is nothing, it exceeds fp32.
DEVICE float plus_weighted(float weight, float x, float sum) { return x == 0.0f ? sum : fmaf(weight, x, sum); }

struct Decays {
    float row[4];               // of one row
    float before[4], after[4];  // of the rows of a half before and after row g
    DEVICE Decays(const Modes& modes, const Place& at, bool is_both_ways) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            float a = modes.a[at.mode(i)] * CHUNK;
            row[i] = expf(a);
            before[i] = expf(a * at.g);
            after[i] = is_both_ways ? expf(a * (7 - at.g)) : 1.0f;
        }
    }
    template <bool IS_BACKWARD> DEVICE float rows(int i) const { return IS_BACKWARD ? after[i] : before[i]; }
};

// Turn what each row adds into the sums up to it within the warp; `total` is that of the last row.
// Backward from the last row to the first.
template <bool IS_BACKWARD> DEVICE void scan_rows(float (&x)[2][4], float (&total)[4], const Decays& decays, const Place& at) {
    constexpr int FIRST = IS_BACKWARD ? 1 : 0;
    int from_start = IS_BACKWARD ? 7 - at.g : at.g;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        float decay = decays.row[i];
#pragma unroll
        for (int step = 1; step < 8; step *= 2) {
            int source = (at.lane + (IS_BACKWARD ? 4 : -4) * step) & 31;
#pragma unroll
            for (int hh = 0; hh < 2; ++hh) {
                float other = shuffle(x[hh][i], source);
                x[hh][i] = plus_weighted(decay, from_start >= step ? other : 0.0f, x[hh][i]);
            }
            decay *= decay;
        }
        int end = IS_BACKWARD ? at.t : 28 + at.t;
        float half = shuffle(x[FIRST][i], end);
        x[1 - FIRST][i] = plus_weighted(decays.rows<IS_BACKWARD>(i) * decays.row[i], half, x[1 - FIRST][i]);
        total[i] = shuffle(x[1 - FIRST][i], end);
    }
}

// Turn those sums into the state before each row (after it, backward), given that before (after) the warp's rows.
template <bool IS_BACKWARD>
DEVICE void states_at_rows(float (&x)[2][4], const float (&start)[4], const Decays& decays, const Place& at) {
    constexpr int FIRST = IS_BACKWARD ? 1 : 0;
    int from_start = IS_BACKWARD ? 7 - at.g : at.g;
    int source = (at.lane + (IS_BACKWARD ? 4 : -4)) & 31;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        float d2 = decays.row[i] * decays.row[i], d4 = d2 * d2;
        float first = shuffle(x[FIRST][i], source), second = shuffle(x[1 - FIRST][i], source);
        // the first row of the second half comes after the last of the first half, which the wrapped shuffle gave
        second = from_start == 0 ? first : second;
        first = from_start == 0 ? 0.0f : first;
        x[FIRST][i] = plus_weighted(decays.rows<IS_BACKWARD>(i), start[i], first);
        x[1 - FIRST][i] = plus_weighted(decays.rows<IS_BACKWARD>(i) * d4 * d4, start[i], second);
    }
}

// what belongs to a lane's four modes
DEVICE void of_modes(const float* values, const Place& at, float (&x)[4]) {
    float2 low = *reinterpret_cast<const float2*>(values + 2 * at.t), high = *reinterpret_cast<const float2*>(values + 8 + 2 * at.t);
    x[0] = low.x, x[1] = low.y, x[2] = high.x, x[3] = high.y;
}

// Given the totals of all warps, return the state before (after) this warp's rows, and move on by a tile.
template <bool IS_BACKWARD>
DEVICE void chain_warps(const float* totals, float (&state)[4], float (&start)[4], const Modes& modes, const Place& at) {
    float running[4], sum[4] = {0.0f, 0.0f, 0.0f, 0.0f}, decay[4], whole[4];
    of_modes(modes.warp, at, decay);
    of_modes(modes.whole, at, whole);
#pragma unroll
    for (int i = 0; i < 4; ++i) start[i] = running[i] = state[i];
#pragma unroll
    for (int step = 0; step < WARPS; ++step) {
        int warp = IS_BACKWARD ? WARPS - 1 - step : step;
        float total[4];
        of_modes(totals + warp * MODES, at, total);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            start[i] = warp == at.warp ? running[i] : start[i];
            running[i] = plus_weighted(decay[i], running[i], total[i]);
            sum[i] = plus_weighted(decay[i], sum[i], total[i]);
        }
    }
    // decayed at once, not warp by warp: over a million tokens the rounding of each step would add up
#pragma unroll
    for (int i = 0; i < 4; ++i) state[i] = plus_weighted(whole[i], state[i], sum[i]);
}
DEVICE void leave_total(float* totals, const float (&total)[4], const Place& at) {
    if (at.g != 0) return;
#pragma unroll
    for (int i = 0; i < 4; ++i) totals[at.warp * MODES + at.mode(i)] = total[i];
}
