// Modal filters, a warp at a time: where tokens lie in fragments, tables, and scans over rows.
//
// A warp holds 16 rows of 64 neighbouring tokens of one channel, four warps hold 4096. The algebra is that of
// modal_tiles.py: with the state S before a row, Y = M T + S E, S' = exp(64 a) S + M V.
//
// The order of a fragment's columns is ours to choose, if both factors agree. A lane (g, t) holds rows g and g + 8, and of
// each the tokens 8 t .. 8 t + 7 and 32 + 8 t .. 32 + 8 t + 7, as they lie in memory: loads and stores are 16 bytes wide,
// inputs and outputs of a product have the same layout, and nothing goes through shared memory to be reordered. Word
// [hh][ch][p] holds tokens 32 ch + 8 t + 2 p and the next one, of row g + 8 hh. So column g of output block nb is token
// 32 (nb / 4) + 8 (g / 2) + 2 (nb % 4) + g % 2, and depth 2 t + e (or 8 + 2 t + e) of input block kb is token
// 32 (kb / 2) + 8 t + 4 (kb % 2) + e (or that + 2). A Toeplitz table then has 12 distinct fragments of
// two words instead of 32.
#pragma once

constexpr int MODES = 16, CHUNK = 64, ROWS = 16, WARPS = 4, WARP_TOKENS = ROWS * CHUNK, TILE = WARPS * WARP_TOKENS;
constexpr int THREADS = 32 * WARPS;
constexpr int SHIFTS = 6;  // fragments of a Toeplitz table, for each of two distances between blocks of 32 tokens

typedef u32 Words[2][2][4];

struct Place {
    int lane, warp, g, t;
    DEVICE Place() : lane(thread_index() % 32), warp(thread_index() / 32), g(lane / 4), t(lane % 4) {}
    // the first token of a segment of 8, within a tile
    DEVICE int token(int hh, int ch) const { return warp * WARP_TOKENS + (g + 8 * hh) * CHUNK + 32 * ch + 8 * t; }
    // the mode of value i of 4
    DEVICE int mode(int i) const { return 8 * (i / 2) + 2 * t + i % 2; }
};

DEVICE int token_of_column(int g, int nb) { return 32 * (nb / 4) + 8 * (g / 2) + 2 * (nb % 4) + g % 2; }
DEVICE int token_of_depth(int t, int kb, int e) { return 32 * (kb / 2) + 8 * t + 4 * (kb % 2) + e; }

DEVICE void rows_of(const Words& m, int kb, u32 (&a)[4]) {
    a[0] = m[0][kb / 2][2 * (kb % 2)];
    a[1] = m[1][kb / 2][2 * (kb % 2)];
    a[2] = m[0][kb / 2][2 * (kb % 2) + 1];
    a[3] = m[1][kb / 2][2 * (kb % 2) + 1];
}

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

// A fragment of a Toeplitz table for output column g and depths 2 t, 2 t + 1 and those 2 tokens on; the lag grows with the
// output token (or, transposed, with the input token). Fragment SHIFTS D + s serves blocks of 32 tokens that are D apart.
// As all tables: the two words of the high part, then those of what it left out.
DEVICE uint4 toeplitz_fragment(const float* h, const Place& at, int index, bool is_transposed) {
    int lag = 32 * (index / SHIFTS), shift = 2 * (index % SHIFTS) - 4, across = 8 * (at.g / 2 - at.t) + at.g % 2;
    float values[4];
    for (int e = 0; e < 4; ++e) {
        int l = is_transposed ? lag - shift - across + e : lag + shift + across - e;
        values[e] = l >= 0 && l < CHUNK ? h[l] : 0.0f;
    }
    uint4 words;
    in_two(values[0], values[1], words.x, words.z);
    in_two(values[2], values[3], words.y, words.w);
    return words;
}
DEVICE void make_toeplitz(uint4* table, const float* h, const Place& at, bool is_transposed) {
    for (int i = at.warp; i < 2 * SHIFTS; i += WARPS) table[i * 32 + at.lane] = toeplitz_fragment(h, at, i, is_transposed);
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
            float weight = from_start >= step ? decay : 0.0f;
#pragma unroll
            for (int hh = 0; hh < 2; ++hh) x[hh][i] = fmaf(weight, shuffle(x[hh][i], source), x[hh][i]);
            decay *= decay;
        }
        int end = IS_BACKWARD ? at.t : 28 + at.t;
        float half = shuffle(x[FIRST][i], end);
        x[1 - FIRST][i] = fmaf(decays.rows<IS_BACKWARD>(i) * decays.row[i], half, x[1 - FIRST][i]);
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
        x[FIRST][i] = fmaf(decays.rows<IS_BACKWARD>(i), start[i], first);
        x[1 - FIRST][i] = fmaf(decays.rows<IS_BACKWARD>(i) * d4 * d4, start[i], second);
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
            running[i] = fmaf(decay[i], running[i], total[i]);
            sum[i] = fmaf(decay[i], sum[i], total[i]);
        }
    }
    // decayed at once, not warp by warp: over a million tokens the rounding of each step would add up
#pragma unroll
    for (int i = 0; i < 4; ++i) state[i] = fmaf(whole[i], state[i], sum[i]);
}
DEVICE void leave_total(float* totals, const float (&total)[4], const Place& at) {
    if (at.g != 0) return;
#pragma unroll
    for (int i = 0; i < 4; ++i) totals[at.warp * MODES + at.mode(i)] = total[i];
}

// Inputs: every thread copies what it reads itself, two tiles ahead of nobody else

template <int STREAMS> struct Slots {
    uint4* slots;  // [2][STREAMS][WARPS][4][32]
    DEVICE uint4* at(int stage, int stream, const Place& place) const {
        return slots + ((stage * STREAMS + stream) * WARPS + place.warp) * 128 + place.lane;
    }
    DEVICE void fetch(int stage, int stream, const Element* row, i64 first, i64 seqlen, const Place& place) const {
        uint4* to = at(stage, stream, place);
#pragma unroll
        for (int s = 0; s < 4; ++s) {
            i64 t = first + place.token(s / 2, s % 2);
            bool is_there = t >= 0 && t < seqlen;
            copy_async(to + 32 * s, row + (is_there ? t : 0), is_there);
        }
    }
    // `zero` is one that the compiler does not know: words that come out of an operation are put in place for products
    // once, while it would copy loaded ones for each product again
    DEVICE void read(int stage, int stream, const Place& place, Words& x, u32 zero = 0u) const {
        const uint4* from = at(stage, stream, place);
#pragma unroll
        for (int s = 0; s < 4; ++s) {
            uint4 words = from[32 * s];
            x[s / 2][s % 2][0] = words.x ^ zero;
            x[s / 2][s % 2][1] = words.y ^ zero;
            x[s / 2][s % 2][2] = words.z ^ zero;
            x[s / 2][s % 2][3] = words.w ^ zero;
        }
    }
    static constexpr int BYTES = 2 * STREAMS * WARPS * 128 * 16;
};
