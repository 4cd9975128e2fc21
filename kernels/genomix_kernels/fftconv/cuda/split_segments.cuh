// A long row as SEGMENTS shorter ones: n = N s + m becomes the residue q = k mod SEGMENTS of its frequencies,
//
//     z_q[m] = sum_s x[N s + m] exp(-2 pi i s (q + 1/4) / SEGMENTS)
//
// which is a transform over s for each m; X[q + SEGMENTS k'] is that of z_q at frequencies shifted by (q + 1/4) / SEGMENTS.
// It is a product with a matrix, of any number of segments, on tensor cores: so small beside what is read and written that
// butterflies would gain nothing. Values are in fp16, sums in fp32.
//
// A warp has WIDTH columns m of the first half of 2 HALF, and those that are HALF further (see split_rows.cuh), of all
// segments and residues; it shares nothing with others. Columns of a product are dealt out so that each lane reads and writes
// neighbours: forward, column 2 t + e of product i is word 8 t + i, half e of its tile; backward, column g of product (i, e) is
// word 4 g + i.
//
// Defined by the caller: P, W, CLUSTER, SEGMENTS (at most 64).
#pragma once

constexpr int THREADS = 128, TOKENS = 8, WIDTH = 4 * TOKENS;  // TOKENS: neighbours of a lane
constexpr int COUNT = TOKENS / 2;                             // words of a lane that puts rows together
constexpr int BY_SEGMENTS = (SEGMENTS + 15) / 16, BY_RESIDUES = (SEGMENTS + 7) / 8;  // steps of 16 rows

// A left factor of 16 rows and 16 columns, from a table of them
DEVICE void read_matrix(const uint4* from, int index, u32 (&a)[4]) {
    const uint4 x = from[index * 32 + thread_index() % 32];
    a[0] = x.x, a[1] = x.y, a[2] = x.z, a[3] = x.w;
}

DEVICE i64 warp_of_row() { return block_index() * (THREADS / 32) + thread_index() / 32; }
// The warp's first word
DEVICE int first_word() {
    const int column = WIDTH * int(warp_of_row());
    return column / HALF * (2 * HALF) + column % HALF;
}

// Four words, which are neighbours
DEVICE void read_words(const u32* from, u32 (&x)[4]) {
    const uint4 y = load_once(reinterpret_cast<const uint4*>(from));
    x[0] = y.x, x[1] = y.y, x[2] = y.z, x[3] = y.w;
}
DEVICE void write_words(u32* to, const u32 (&x)[4]) { *reinterpret_cast<uint4*>(to) = make_uint4(x[0], x[1], x[2], x[3]); }

// Of a step over residues a lane has two: real and imaginary parts are neighbouring rows of a right factor.
DEVICE int residue_of_lane(int k, int i) { return 8 * k + thread_index() % 4 + 4 * i; }
// Real and imaginary parts of one of them, or zeros
DEVICE void read_residue(const u32* from, u32 (&words)[2][COUNT], bool is_one) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
        if (is_one) read_words(from + HALF * part, words[part]);
        else
#pragma unroll
            for (int j = 0; j < COUNT; ++j) words[part][j] = 0u;
    }
}
// times a factor, as part i of the right factors of each word's two halves
DEVICE void as_factors(const u32 (&words)[2][COUNT], float by, u32 (&right)[COUNT][2][2], int i) {
    const u32 factor = pack_fp16(by, by);
#pragma unroll
    for (int j = 0; j < COUNT; ++j) {
        const u32 re = half_mul(words[0][j], factor), im = half_mul(words[1][j], factor);
        right[j][0][i] = low_halves(re, im), right[j][1][i] = high_halves(re, im);
    }
}

// Those of four lanes from `to` on
DEVICE void write_words(u32* to, const u32 (&x)[TOKENS], bool is_one) {
    const int t = thread_index() % 4, chunk = 4 * (t / 2) + t % 2;
    u32 first[4], second[4];
    as_sectors(x, first, second);
    if (!is_one) return;
    write_words(to + 4 * chunk_of_line(chunk, first_word()), first);
    write_words(to + 4 * chunk_of_line(chunk + 2, first_word()), second);
}
