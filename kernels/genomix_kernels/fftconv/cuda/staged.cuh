// A long row as 256 shorter ones: what split_segments.cuh does for fewer by one product, in two stages of 16.
//
// Segment 16 n1 + n2 becomes residue k1 + 16 k2: over n1 by a product with a matrix of 16 x 16 at shifted frequencies, times
// exp(-2 pi i n2 (k1 + 1/4) / 256), over n2 by another. A warp has the tiles (n2, n1) of 4 columns m of the first half
// of 2 HALF, and of those that are HALF further: two neighbouring segments of a column are a word until both columns
// are through, then two columns of a residue are one.
//
// The eight warps of a block are neighbours, and share what is as wide as they are together: a scale, and lines of memory, which
// pass through shared memory on their way in and out. (Sectors of 32 bytes keep the second-level cache as busy as lines of 128.)
//
// Defined by the caller: P, W, CLUSTER, SEGMENTS (256).
#pragma once

constexpr int THREADS = 256, WARPS = THREADS / 32, TOKENS = 4, WIDTH = WARPS * TOKENS;
constexpr float GAIN = 1.0f / 16, GAIN_BACK = 1.0f / 256;  // of both stages: powers of two, which no table rounds

// The block's first word
DEVICE int first_of_block() {
    const int column = WIDTH * int(block_index());
    return column / HALF * (2 * HALF) + column % HALF;
}

// The largest of a block; `of_warps` is in shared memory, and not what the last call had
DEVICE float greatest_of_block(float x, float* of_warps) {
    x = greatest(x);
    if (thread_index() % 32 == 0) of_warps[thread_index() / 32] = x;
    barrier();
#pragma unroll
    for (int i = 0; i < WARPS; ++i) x = fmaxf(x, of_warps[i]);
    return x;
}

// A matrix of a stage or what comes between: two vectors of four words for each lane
DEVICE void read_factor(const uint4* tables, int index, Tile& re, Tile& im) {
    const uint4 x = tables[64 * index + thread_index() % 32], y = tables[64 * index + 32 + thread_index() % 32];
    re[0] = x.x, re[1] = x.y, re[2] = x.z, re[3] = x.w;
    im[0] = y.x, im[1] = y.y, im[2] = y.z, im[3] = y.w;
}

// Where a lane's values are. Word i of a tile of segments holds n1 and n1 + 1; of residues, k2 and k2 + 1. Both tiles have rows of
// n2 or k1 and columns of n1 or k2, and a line in shared memory is a segment, 16 n1 + n2, or a residue, k1 + 16 k2.
struct Spot {
    int warp, line, turn;
    DEVICE Spot() : warp(thread_index() / 32) {
        const Lane at;
        line = at.g + 32 * at.t, turn = turn_of(line);
    }
    // how many lines from the lane's first one the other of a word is
    DEVICE static constexpr int further(int i, int pair) { return 8 * (i / 2) + 128 * (i % 2) + 16 * pair; }

    // Lines consist of chunks of 16 bytes. What eight lanes read or write at once, chunks of the same number of different lines, are
    // in different banks; the lines of one lane all turn by the same.
    DEVICE static int turn_of(int n) { return n / 32 % 4 + 4 * (n % 2); }
    // a warp's four words of a part of a residue, whose line has eight chunks of each part
    DEVICE uint4* words(uint4* lines, int i, int pair, int part) const {
        return lines + 16 * line + (warp ^ turn) + 16 * further(i, pair) + 8 * part;
    }
    // a warp's four tokens of a half of a segment, whose line has four chunks of each half
    DEVICE uint2* tokens(uint4* lines, int i, int pair, int half) const {
        return reinterpret_cast<uint2*>(lines + 8 * line + (4 * half + warp / 2 ^ turn) + 8 * further(i, pair)) + warp % 2;
    }
    // the same of a filter, whose line has eight
    DEVICE uint4* taps(uint4* lines, int i, int pair, int half) const {
        return lines + 16 * line + (warp ^ turn) + 16 * further(i, pair) + 8 * half;
    }
};

// Which chunks a thread copies to lines of CHUNKS, or from them: one in each of some of them, which follow at the same distance.
// Neighbouring threads have neighbouring chunks.
template <int CHUNKS> struct Copies {
    static constexpr int STEP = THREADS / CHUNKS, COUNT = SEGMENTS / STEP;
    int line, chunk;
    DEVICE Copies() : line(thread_index() / CHUNKS), chunk(thread_index() % CHUNKS) {}
    DEVICE uint4* place(uint4* lines, int k) const {
        // the turn of line + STEP k
        return lines + CHUNKS * line + (chunk ^ 4 * (line % 2) ^ STEP * k / 32 % 4) + CHUNKS * STEP * k;
    }
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

// Rows of a long one put together, without a gain but GAIN_BACK, in shared memory as fp16: of each segment a line of 32 tokens
// from the block's first on and of 32 that are HALF further. Their factor, which all residues have in common, is returned.
DEVICE float put_together(const u32* planes, const float* scales, const uint4* tables, uint4* lines) {
    const Spot at;
    const Copies<16> copies;
    planes += N * copies.line + first_of_block() + HALF * (copies.chunk / 8) + 4 * chunk_of_line(copies.chunk % 8, first_of_block());
#pragma unroll
    for (int k = 0; k < copies.COUNT; ++k) copy_async(copies.place(lines, k), planes + i64(N * copies.STEP) * k, true);
    commit_copies();
    float scale[4][2], most = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) most = fmaxf(most, scale[i / 2][i % 2] = scales[at.line + Spot::further(i / 2, i % 2)]);
    most = greatest(most);
    // scales are powers of two times what all of them have in common; if that is too small to have an inverse both are made larger
    const float enough = most < 1e-30f ? 1e30f : 1.0f, inverse = most > 0.0f ? 1.0f / (most * enough) : 0.0f;
    wait_for_copies<0>();
    barrier();
    Tiles re, im;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        u32 x[2][2][TOKENS];
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
            const float share = scale[i][pair] * enough * inverse;
            const u32 factor = pack_fp16(share, share);
#pragma unroll
            for (int part = 0; part < 2; ++part) {
                const uint4 y = *at.words(lines, i, pair, part);
                x[part][pair][0] = half_mul(y.x, factor), x[part][pair][1] = half_mul(y.y, factor);
                x[part][pair][2] = half_mul(y.z, factor), x[part][pair][3] = half_mul(y.w, factor);
            }
        }
#pragma unroll
        for (int j = 0; j < TOKENS; ++j) {
            take_halves(x[0][0][j], x[0][1][j], re[j][i], re[TOKENS + j][i]);
            take_halves(x[1][0][j], x[1][1][j], im[j][i], im[TOKENS + j][i]);
        }
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
            for (int pair = 0; pair < 2; ++pair) *at.tokens(lines, i, pair, half) = make_uint2(x[pair][0], x[pair][1]);
        }
    barrier();
    return most;
}
