// A long row as SEGMENTS = 16 S shorter ones, S <= 16: what split_segments.cuh does by one product, in two stages of 16.
//
// Segment 16 n1 + n2 becomes residue k1 + S k2: over n1 by a product with a matrix of S x S at shifted frequencies, times
// exp(-2 pi i n2 (k1 + 1/4) / SEGMENTS), over n2 by one of 16 x 16. A warp has the tiles (n2, n1) of 8 columns m of the first half
// of a tile of 32 P, and of those that are 16 P further: two neighbouring segments of a column are a word until both columns
// are through, then two columns of a residue are one.
//
// The four warps of a block are neighbours, and share what is as wide as they are together: a scale, and sectors of outputs.
//
// Defined by the caller: P, W, CLUSTER, SEGMENTS (a multiple of 16, at most 256).
#pragma once

constexpr int THREADS = 128, TOKENS = 8, WIDTH = 4 * TOKENS, S = SEGMENTS / 16;
constexpr float GAIN = 1.0f / 16, GAIN_BACK = 1.0f / 256;  // of both stages: powers of two, which no table rounds

typedef u32 Octet[TOKENS];  // words of neighbouring columns

// The block's first word, and the warp's
DEVICE int first_of_block() {
    const int column = WIDTH * int(block_index());
    return column / (16 * P) * (32 * P) + column % (16 * P);
}
DEVICE int first_of_warp() { return first_of_block() + TOKENS * (thread_index() / 32); }

// The largest of a block; `of_warps` is in shared memory, and not what the last call had
DEVICE float greatest_of_block(float x, float* of_warps) {
    x = greatest(x);
    if (thread_index() % 32 == 0) of_warps[thread_index() / 32] = x;
    barrier();
#pragma unroll
    for (int i = 0; i < THREADS / 32; ++i) x = fmaxf(x, of_warps[i]);
    return x;
}

// A matrix of a stage or what comes between: two vectors of four words for each lane
DEVICE void read_factor(const uint4* tables, int index, Tile& re, Tile& im) {
    const uint4 x = tables[64 * index + thread_index() % 32], y = tables[64 * index + 32 + thread_index() % 32];
    re[0] = x.x, re[1] = x.y, re[2] = x.z, re[3] = x.w;
    im[0] = y.x, im[1] = y.y, im[2] = y.z, im[3] = y.w;
}

// Word i of a tile of segments holds n1 and n1 + 1 of its lane; of residues, k2 and k2 + 1.
struct Spot {
    int g, t;
    DEVICE Spot() : g(thread_index() % 32 / 4), t(thread_index() % 4) {}
    DEVICE int row(int i) const { return g + 8 * (i / 2); }                    // n2, or k1
    DEVICE int column(int i, int pair) const { return 2 * t + 8 * (i % 2) + pair; }  // n1, or k2
    DEVICE int segment(int i, int pair) const { return 16 * column(i, pair) + row(i); }
    DEVICE int residue(int i, int pair) const { return row(i) + S * column(i, pair); }
};
DEVICE bool is_segment(int s) { return S == 16 || s < SEGMENTS; }
DEVICE bool is_row_of_residues(int k1) { return S == 16 || k1 < S; }

struct Forward {
    Tile ar, ai, an, wr, wi, br, bi, bn;
    DEVICE Forward(const uint4* tables) {
        Tile x, y;
        read_factor(tables, 0, ar, ai), read_factor(tables, 1, wr, wi), read_factor(tables, 2, x, y);
        // symmetric, so that the left factor's words are those of the right factor in another order
        br[0] = x[0], br[1] = x[2], br[2] = x[1], br[3] = x[3], bi[0] = y[0], bi[1] = y[2], bi[2] = y[1], bi[3] = y[3];
        negate(ai, an), negate(bi, bn);
    }
    DEVICE void apply(Tile& re, Tile& im) const {
        from_left<true>(re, im, ar, ai, an);
        times<false>(re, im, wr, wi);
        from_right<false>(re, im, br, bi, bn);
    }
};
struct Backward {
    Tile ar, ai, an, wr, wi, br, bi, bn;
    DEVICE Backward(const uint4* tables) {
        read_factor(tables, 0, ar, ai), read_factor(tables, 1, wr, wi), read_factor(tables, 2, br, bi);
        negate(ai, an), negate(bi, bn);
    }
    // the real part
    DEVICE void apply(Tile& re, Tile& im) const {
        from_left<false>(re, im, ar, an, ai);
        times<false>(re, im, wr, wi);
        from_right<true>(re, im, br, bi, bn);
    }
};

// Rows of a long one put together, without a gain but GAIN_BACK, in shared memory as fp16: of each segment a line of 32 tokens
// from the block's first on and of 32 that are 16 P further. Their factor, which all residues have in common, is returned.
DEVICE float put_together(const u32* planes, const float* scales, const uint4* tables, uint4* lines) {
    const Spot at;
    const int warp = thread_index() / 32;
    u32 words[4][2][2][TOKENS];
    float scale[4][2], most = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
            const bool is_one = is_row_of_residues(at.row(i));
            const int q = at.residue(i, pair);
            scale[i][pair] = is_one ? scales[q] : 0.0f;
            most = fmaxf(most, scale[i][pair]);
#pragma unroll
            for (int part = 0; part < 2; ++part)
#pragma unroll
                for (int j = 0; j < TOKENS; j += 4) {
                    uint4 x = {0u, 0u, 0u, 0u};
                    if (is_one) x = *reinterpret_cast<const uint4*>(planes + i64(q) * N + first_of_warp() + 16 * P * part + j);
                    words[i][pair][part][j] = x.x, words[i][pair][part][j + 1] = x.y;
                    words[i][pair][part][j + 2] = x.z, words[i][pair][part][j + 3] = x.w;
                }
        }
    most = greatest(most);
    const float down = most > 0.0f ? 1.0f / most : 0.0f;  // scales are powers of two times what all of them have in common
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
            const u32 factor = pack_fp16(scale[i][pair] * down, scale[i][pair] * down);
#pragma unroll
            for (int k = 0; k < 2 * TOKENS; ++k) words[i][pair][k / TOKENS][k % TOKENS] = half_mul(words[i][pair][k / TOKENS][k % TOKENS], factor);
        }
    const Backward backward(tables);
    u32 tokens[2][4][2][TOKENS / 2];  // of a half of the tile and a segment
#pragma unroll
    for (int j = 0; j < TOKENS; j += 2)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            Tile y[2];
#pragma unroll
            for (int k = 0; k < 2; ++k) {
                Tile im;
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const u32 (&a)[2][TOKENS] = words[i][0], (&b)[2][TOKENS] = words[i][1];
                    y[k][i] = half ? high_halves(a[0][j + k], b[0][j + k]) : low_halves(a[0][j + k], b[0][j + k]);
                    im[i] = half ? high_halves(a[1][j + k], b[1][j + k]) : low_halves(a[1][j + k], b[1][j + k]);
                }
                backward.apply(y[k], im);
            }
#pragma unroll
            for (int i = 0; i < 4; ++i)
                tokens[half][i][0][j / 2] = low_halves(y[0][i], y[1][i]), tokens[half][i][1][j / 2] = high_halves(y[0][i], y[1][i]);
        }
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
            const int s = at.segment(i, pair);
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const u32 (&x)[TOKENS / 2] = tokens[half][i][pair];
                if (is_segment(s)) lines[8 * s + ((4 * half + warp) ^ (s / 32 % 4 + 4 * (s % 2)))] = make_uint4(x[0], x[1], x[2], x[3]);
            }
        }
    barrier();
    return most;
}
// Where chunk c of segment s is: warp c % 4's 8 tokens of half c / 4
DEVICE const uint4* chunk(const uint4* lines, int s, int c) { return lines + 8 * s + (c ^ (s / 32 % 4 + 4 * (s % 2))); }
