// Rows of a long transform: 256 SPAN points, SPAN = 4, 8 or 16. A team of four warps holds 16 / SPAN rows, 4096 points.
//
// A row's n2 = 16 SPAN alpha + SPAN beta + gamma. A chunk of 16 bytes holds four gammas of one (alpha, beta), and warp
// w of a team the gammas w % W of row w / W, W = SPAN / 4. First come alpha and beta, in a warp's registers; the chunks
// then change hands, so that each lane has four gammas (its t in place of w) for the transform over gamma, where
// shorter rows are blocks of a block-diagonal table. The way back mirrors it; each warp writes where it has read.
#pragma once

constexpr int W = SPAN / 4, ROWS = 4 / W, CHUNKS = 1024, TEAMS = UNITS / 4;

// The place of chunk (i, j, w): any 8 lanes of a quarter-warp in different banks, be it i and j that differ or w
DEVICE int chunk(int i, int j, int w) {
    return ((16 * i + j) * 4 + w) ^ (((i ^ j) >> 1 & 3) | (i & 1) << 2);
}
// Bits 3 of i and j take no part in the exchange of places, so places that differ in them differ by constants:
constexpr int FAR_I = 8 * 64, FAR_J = 8 * 4;
// chunk number + 128 k
DEVICE int chunk_of_number(int number, int k) {
    return (chunk(number >> 6, number >> 2 & 15, number & 3) ^ (k & 3)) + 128 * k;
}
// where chunk `number` of a team lies in the rows' memory
DEVICE int row_of_number(int number) { return (number & 3) / W; }
DEVICE int place_of_number(int number) { return (number >> 2) * W + (number & (W - 1)); }

// of each row of planes: alpha, alpha on the way back, twiddles of (alpha, beta), the same transposed, each [2][32];
// then twiddles of gamma [256][W]
constexpr int ROW_TABLES = 4 * 64 + 256 * W;
struct Tables {
    uint4 alpha[64], alpha_back[64], turns[64], turns_back[64];
    uint4 gamma_turns[256 * W];
    uint4 beta[64], gamma[64];
};
struct Team {
    uint4 chunks[CHUNKS];
    float loudest[4][4];
};

DEVICE void fetch_tables(Tables& tables, const uint4* of_row, const uint4* common) {
    uint4* to = reinterpret_cast<uint4*>(&tables);
    for (int k = thread_index(); k < ROW_TABLES + 128; k += THREADS)
        copy_async(to + k, k < ROW_TABLES ? of_row + k : common + (k - ROW_TABLES), true);
    commit_copies();
}

// teams go on alone once the block has its tables
DEVICE void team_barrier() { barrier_of(thread_index() >> 7, 128); }

struct Lane {
    int lane, warp, g, t, number;  // its number within the team
    DEVICE Lane()
        : lane(thread_index() & 31), warp(thread_index() >> 5 & 3), g(lane >> 2), t(lane & 3),
          number(thread_index() & 127) {}
};

// rows first .. first + ROWS - 1 of planes [row][k1][n2]; zeros beyond the last one
DEVICE void fetch_rows(Team& team, const uint4* planes, int first, int n_rows, i64 stride, const Lane& at) {
    int row = first + row_of_number(at.number);
    bool is_there = row < n_rows;
    const uint4* from = planes + (is_there ? row : 0) * stride;
#pragma unroll
    for (int k = 0; k < CHUNKS / 128; ++k)
        copy_async(
            team.chunks + chunk_of_number(at.number, k), from + place_of_number(at.number) + k * 32 * W, is_there);
    commit_copies();
}
DEVICE void store_rows(const Team& team, uint4* planes, int first, int n_rows, i64 stride, const Lane& at) {
    int row = first + row_of_number(at.number);
    if (row >= n_rows) return;
#pragma unroll
    for (int k = 0; k < CHUNKS / 128; ++k)
        planes[row * stride + place_of_number(at.number) + k * 32 * W] = team.chunks[chunk_of_number(at.number, k)];
}

// The scales of a row's column tiles at this lane's chunks, relative to the greatest, which is returned
DEVICE float read_ratios(u32 (&ratios)[8], const float* scales, bool is_there, const Lane& at) {
    float mine[8], most = 0.0f;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
        int alpha = 2 * at.t + k / 4 * 8 + k / 2 % 2, beta = at.g + k % 2 * 8;
        mine[k] = is_there ? load_fresh(scales + (16 * SPAN * alpha + SPAN * beta) / TILE) : 0.0f;
        most = fmaxf(most, mine[k]);
    }
    most = power_below(greatest(most));
    float inverse = inverse_power(most) * 0.03125f;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
        float ratio = mine[k] * inverse;
        ratios[k] = pack_fp16(ratio, ratio);
    }
    return most;
}

// alpha and beta: chunks of (real, imaginary) of four gammas become chunks (real 01, real 23, imaginary 01, 23)
DEVICE void transform_two(Team& team, const Tables& tables, const u32 (&ratios)[8], const Lane& at) {
    u32 x[8][4];
    const uint4* from[2] = {
        team.chunks + chunk(2 * at.t, at.g, at.warp), team.chunks + chunk(2 * at.t + 1, at.g, at.warp)};
#pragma unroll
    for (int k = 0; k < 8; ++k) {
        take(x[k], from[k / 2 % 2][k / 4 * FAR_I + k % 2 * FAR_J]);
#pragma unroll
        for (int v = 0; v < 4; ++v) x[k][v] = half_mul(x[k][v], ratios[k]);
    }
    warp_barrier();
    Complex alpha, beta, turns;
    u32 minus_alpha[4], minus_beta[4];
    take(alpha, tables.alpha, at.lane);
    take(beta, tables.beta, at.lane);
    take(turns, tables.turns, at.lane);
    negated(minus_alpha, alpha.i);
    negated(minus_beta, beta.i);
    u32 words[8][4];
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
        Sums c[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            int v = 2 * pair + e;
            Complex z;  // rows beta, columns alpha
#pragma unroll
            for (int kk = 0; kk < 2; ++kk)
#pragma unroll
                for (int nt = 0; nt < 2; ++nt) {
                    z.r[nt + 2 * kk] = low_halves(x[4 * kk + nt][v], x[4 * kk + 2 + nt][v]);
                    z.i[nt + 2 * kk] = high_halves(x[4 * kk + nt][v], x[4 * kk + 2 + nt][v]);
                }
            pack_table_by_data(z, alpha.r, alpha.i, minus_alpha, z);
            twiddle<false>(z, turns);
            data_by_table(c[e], z, beta.r, beta.i, minus_beta);
        }
#pragma unroll
        for (int k = 0; k < 8; ++k) {
            words[k][pair] = pack_fp16(c[0].r[k / 4][k % 4], c[1].r[k / 4][k % 4]);
            words[k][2 + pair] = pack_fp16(c[0].i[k / 4][k % 4], c[1].i[k / 4][k % 4]);
        }
    }
    uint4* to[2] = {
        team.chunks + chunk(at.g, 2 * at.t, at.warp), team.chunks + chunk(at.g, 2 * at.t + 1, at.warp)};
#pragma unroll
    for (int k = 0; k < 8; ++k)
        to[k % 2][k / 2 % 2 * FAR_I + k / 4 * FAR_J] = make_uint4(words[k][0], words[k][1], words[k][2], words[k][3]);
}

// the way back, of beta and alpha
DEVICE void transform_two_back(Team& team, const Tables& tables, const Lane& at) {
    u32 x[8][4];
    const uint4* from[2] = {
        team.chunks + chunk(at.g, 2 * at.t, at.warp), team.chunks + chunk(at.g, 2 * at.t + 1, at.warp)};
#pragma unroll
    for (int k = 0; k < 8; ++k) take(x[k], from[k % 2][k / 2 % 2 * FAR_I + k / 4 * FAR_J]);
    warp_barrier();
    Complex alpha, beta, turns;
    u32 minus_alpha[4], minus_beta[4];
    take(alpha, tables.alpha_back, at.lane);
    take(beta, tables.beta, at.lane);
    take(turns, tables.turns_back, at.lane);
    negated(minus_alpha, alpha.i);
    negated(minus_beta, beta.i);
    u32 words[8][4];
#pragma unroll
    for (int v = 0; v < 4; ++v) {
        Complex z;  // rows k_alpha, columns k_beta
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            int first = k / 2 * 4 + k % 2 * 2, r = v / 2, i = 2 + v / 2;
            z.r[k] = v % 2 ? high_halves(x[first][r], x[first + 1][r]) : low_halves(x[first][r], x[first + 1][r]);
            z.i[k] = v % 2 ? high_halves(x[first][i], x[first + 1][i]) : low_halves(x[first][i], x[first + 1][i]);
        }
        Sums c;
        pack_table_by_data(z, beta.r, minus_beta, beta.i, z);  // the conjugated table
        twiddle<false>(z, turns);
        data_by_table(c, z, alpha.r, alpha.i, minus_alpha);
#pragma unroll
        for (int k = 0; k < 8; ++k) words[k][v] = pack_fp16(c.r[k / 4][k % 4], c.i[k / 4][k % 4]);
    }
    // rows beta, columns alpha
    uint4* to[2] = {
        team.chunks + chunk(2 * at.t, at.g, at.warp), team.chunks + chunk(2 * at.t + 1, at.g, at.warp)};
#pragma unroll
    for (int k = 0; k < 8; ++k)
        to[k % 2][k / 4 * FAR_I + k / 2 % 2 * FAR_J] = make_uint4(words[k][0], words[k][1], words[k][2], words[k][3]);
}

// gamma, for k_alpha = 4 warp + m: value [nt][2 hh + e] is of k_beta = g + 8 hh and gamma slot 4 t + 2 nt + e
struct Gamma {
    Complex table;
    u32 minus[4];
    int first;
    const uint4* turns_at;
    DEVICE Gamma(const Tables& tables, const Lane& at)
        : first(chunk(4 * at.warp, at.g, at.t)), turns_at(tables.gamma_turns + (64 * at.warp + at.g) * W + at.t % W) {
        take(table, tables.gamma, at.lane);
        negated(minus, table.i);
    }
    // chunk (4 warp + m, g + 8 hh, t)
    DEVICE int own(int m, int hh) const { return (first ^ (m >> 1 | (m & 1) << 2)) + 64 * m + FAR_J * hh; }
    DEVICE void transform(Sums& c, const Team& team, int m) const {
        Complex x;
        read(x, team, m);
        data_by_table(c, x, table.r, table.i, minus);
    }
    DEVICE void transform(Complex& z, const Team& team, int m) const {
        Complex x;
        read(x, team, m);
        pack_data_by_table(z, x, table.r, table.i, minus);
    }
    DEVICE void read(Complex& x, const Team& team, int m) const {
#pragma unroll
        for (int hh = 0; hh < 2; ++hh) {
            uint4 words = team.chunks[own(m, hh)], turns = turns_at[(16 * m + 8 * hh) * W];
            x.r[hh] = words.x, x.r[hh + 2] = words.y, x.i[hh] = words.z, x.i[hh + 2] = words.w;
            twiddle<false>(x.r[hh], x.i[hh], turns.x, turns.z);
            twiddle<false>(x.r[hh + 2], x.i[hh + 2], turns.y, turns.w);
        }
    }
    DEVICE void transform_back(Team& team, const Complex& x, int m) const {
        Complex z;
        pack_data_by_table(z, x, table.r, minus, table.i);
#pragma unroll
        for (int hh = 0; hh < 2; ++hh) {
            uint4 turns = turns_at[(16 * m + 8 * hh) * W];
            twiddle<true>(z.r[hh], z.i[hh], turns.x, turns.z);
            twiddle<true>(z.r[hh + 2], z.i[hh + 2], turns.y, turns.w);
            team.chunks[own(m, hh)] = make_uint4(z.r[hh], z.r[hh + 2], z.i[hh], z.i[hh + 2]);
        }
    }
    // of a spectrum's row
    DEVICE static int place(int m, int hh, const Lane& at) {
        return ((4 * at.warp + m) * 16 + at.g + 8 * hh) * W + at.t % W;
    }
};

// the greatest |value| of this lane's row, over the team, which meets
DEVICE float row_max(Team& team, float most, const Lane& at) {
#pragma unroll
    for (int mask = 4; mask < 32; mask *= 2) most = fmaxf(most, shuffle_xor(most, mask));
    for (int mask = 1; mask < W; mask *= 2) most = fmaxf(most, shuffle_xor(most, mask));
    if (at.g == 0) team.loudest[at.warp][at.t] = most;
    team_barrier();
#pragma unroll
    for (int w = 0; w < 4; ++w) most = fmaxf(most, team.loudest[w][at.t]);
    return most;
}
DEVICE float max_of(float most, const Sums& c) {
#pragma unroll
    for (int k = 0; k < 8; ++k) most = fmaxf(most, fmaxf(fabsf(c.r[k / 4][k % 4]), fabsf(c.i[k / 4][k % 4])));
    return most;
}
// values times a factor as the words of a tile
DEVICE void pack_scaled(Complex& x, const Sums& c, float factor) {
#pragma unroll
    for (int nt = 0; nt < 2; ++nt)
#pragma unroll
        for (int hh = 0; hh < 2; ++hh) {
            x.r[hh + 2 * nt] = pack_fp16(c.r[nt][2 * hh] * factor, c.r[nt][2 * hh + 1] * factor);
            x.i[hh + 2 * nt] = pack_fp16(c.i[nt][2 * hh] * factor, c.i[nt][2 * hh + 1] * factor);
        }
}
