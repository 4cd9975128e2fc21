// A long row as 256 shorter ones: what split_segments.cuh does for fewer by one product, in two stages of 16.
//
// Segment 16 n1 + n2 becomes residue k1 + 16 k2: over n1 by a product with a matrix of 16 x 16 at shifted frequencies, times
// exp(-2 pi i n2 (k1 + 1/4) / 256), over n2 by another. A warp has the tiles (n2, n1) of 8 columns m of the first half
// of a tile of 32 P, and of those that are 16 P further: two neighbouring segments of a column are a word until both columns
// are through, then two columns of a residue are one.
//
// The four warps of a block are neighbours, and share what is as wide as they are together: a scale, and sectors of outputs.
//
// Defined by the caller: P, W, CLUSTER, SEGMENTS (256).
#pragma once

constexpr int THREADS = 128, TOKENS = 8, WIDTH = 4 * TOKENS;
constexpr float GAIN = 1.0f / 16, GAIN_BACK = 1.0f / 256;  // of both stages: powers of two, which no table rounds

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
    DEVICE int residue(int i, int pair) const { return row(i) + 16 * column(i, pair); }
};
// both words' lower halves, and both upper ones
DEVICE void take_halves(u32 a, u32 b, u32& low, u32& high) { low = low_halves(a, b), high = high_halves(a, b); }

// Each stage is done for all tiles before the next, so that few matrices are in registers at once.

typedef Tile Tiles[2 * TOKENS];  // of columns, both halves

DEVICE void forward(Tiles& re, Tiles& im, const uint4* tables) {
    {
        Tile r, i, n, wr, wi;
        read_factor(tables, 0, r, i), read_factor(tables, 1, wr, wi);
        negate(i, n);
#pragma unroll
        for (int k = 0; k < 2 * TOKENS; ++k) from_left<true>(re[k], im[k], r, i, n), times<false>(re[k], im[k], wr, wi);
    }
    warp_barrier();  // loads stay behind it
    Tile x, y, n;
    read_factor(tables, 2, x, y);
    // symmetric, so that the left factor's words are those of the right factor in another order
    const Tile r = {x[0], x[2], x[1], x[3]}, i = {y[0], y[2], y[1], y[3]};
    negate(i, n);
#pragma unroll
    for (int k = 0; k < 2 * TOKENS; ++k) from_right<false>(re[k], im[k], r, i, n);
}
// of which the real part is left
DEVICE void backward(Tiles& re, Tiles& im, const uint4* tables) {
    {
        Tile r, i, n;
        read_factor(tables, 0, r, i);
        negate(i, n);
#pragma unroll
        for (int k = 0; k < 2 * TOKENS; ++k) from_left<false>(re[k], im[k], r, n, i);
    }
    warp_barrier();
    Tile r, i, n, wr, wi;
    read_factor(tables, 1, wr, wi), read_factor(tables, 2, r, i);
    negate(i, n);
#pragma unroll
    for (int k = 0; k < 2 * TOKENS; ++k) times<false>(re[k], im[k], wr, wi), from_right<true>(re[k], im[k], r, i, n);
}

// Lines in shared memory, of chunks of 16 bytes: of a segment, or of a part of a residue. What eight lanes read or write at
// once, chunks of the same number of different lines, are in different banks.
DEVICE int turn(int n) { return n / 32 % 4 + 4 * (n % 2); }

// Rows of a long one put together, without a gain but GAIN_BACK, in shared memory as fp16: of each segment a line of 32 tokens
// from the block's first on and of 32 that are 16 P further. Their factor, which all residues have in common, is returned.
DEVICE float put_together(const u32* planes, const float* scales, const uint4* tables, uint4* shared) {
    const Spot at;
    const int warp = thread_index() / 32;
    for (int k = thread_index(); k < 16 * SEGMENTS; k += THREADS) {
        const int q = k / 16, part = k / 8 % 2, c = k % 8;
        copy_async(shared + 16 * q + 8 * part + (c ^ turn(q)), planes + i64(q) * N + first_of_block() + 16 * P * part + 4 * c, true);
    }
    commit_copies();
    float scale[4][2], most = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) most = fmaxf(most, scale[i / 2][i % 2] = scales[at.residue(i / 2, i % 2)]);
    most = greatest(most);
    wait_for_copies<0>();
    barrier();
    Tiles re, im;
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int part = 0; part < 2; ++part) {
            u32 x[2][TOKENS];
#pragma unroll
            for (int pair = 0; pair < 2; ++pair) {
                // scales are powers of two times what all of them have in common, which may be too small to have an inverse
                const float share = most > 0.0f ? scale[i][pair] / most : 0.0f;
                const u32 factor = pack_fp16(share, share);
                const int q = at.residue(i, pair);
#pragma unroll
                for (int j = 0; j < TOKENS; j += 4) {
                    const uint4 y = shared[16 * q + 8 * part + ((2 * warp + j / 4) ^ turn(q))];
                    x[pair][j] = half_mul(y.x, factor), x[pair][j + 1] = half_mul(y.y, factor);
                    x[pair][j + 2] = half_mul(y.z, factor), x[pair][j + 3] = half_mul(y.w, factor);
                }
            }
#pragma unroll
            for (int j = 0; j < TOKENS; ++j)
                if (part) take_halves(x[0][j], x[1][j], im[j][i], im[TOKENS + j][i]);
                else take_halves(x[0][j], x[1][j], re[j][i], re[TOKENS + j][i]);
        }
    barrier();
    backward(re, im, tables);
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            u32 x[2][TOKENS / 2];  // neighbouring tokens of each segment
#pragma unroll
            for (int j = 0; j < TOKENS / 2; ++j)
                take_halves(re[TOKENS * half + 2 * j][i], re[TOKENS * half + 2 * j + 1][i], x[0][j], x[1][j]);
#pragma unroll
            for (int pair = 0; pair < 2; ++pair) {
                const int s = at.segment(i, pair);
                shared[8 * s + ((4 * half + warp) ^ turn(s))] = make_uint4(x[pair][0], x[pair][1], x[pair][2], x[pair][3]);
            }
        }
    barrier();
    return most;
}
// Where chunk c of segment s is: warp c % 4's 8 tokens of half c / 4
DEVICE const uint4* chunk(const uint4* lines, int s, int c) { return lines + 8 * s + (c ^ turn(s)); }
