// Where tokens lie in the fragments of products, a warp at a time.
//
// A warp holds 16 rows of 64 neighbouring tokens. The order of a fragment's columns is ours to choose, if both factors
// agree. A lane (g, t) holds rows g and g + 8, and of each the tokens 8 t .. 8 t + 7 and 32 + 8 t .. 32 + 8 t + 7, as they
// lie in memory: loads and stores are 16 bytes wide, inputs and outputs of a product have the same layout, and nothing
// goes through shared memory to be reordered. Word [hh][ch][p] holds tokens 32 ch + 8 t + 2 p and the next one, of row
// g + 8 hh. So column g of output block nb is token 32 (nb / 4) + 8 (g / 2) + 2 (nb % 4) + g % 2, and depth 2 t + e (or
// 8 + 2 t + e) of input block kb is token 32 (kb / 2) + 8 t + 4 (kb % 2) + e (or that + 2). A Toeplitz table then has 6
// distinct fragments of two words for each distance between blocks of 32 tokens, instead of 16.
#pragma once

constexpr int CHUNK = 64, ROWS = 16, WARPS = 4, WARP_TOKENS = ROWS * CHUNK, THREADS = 32 * WARPS;
constexpr int SHIFTS = 6;

typedef u32 Words[2][2][4];

struct Place {
    int lane, warp, g, t;
    DEVICE Place() : lane(thread_index() % 32), warp(thread_index() / 32), g(lane / 4), t(lane % 4) {}
    // the first token of a segment of 8, where a tile is 64 rows one after the other
    DEVICE int token(int hh, int ch) const { return warp * WARP_TOKENS + (g + 8 * hh) * CHUNK + 32 * ch + 8 * t; }
    // the first token of the row of a half
    DEVICE int row(int hh) const { return warp * WARP_TOKENS + (g + 8 * hh) * CHUNK; }
    // the mode of value i of 4, where columns are modes
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

// A fragment of a Toeplitz table for output column g and depths 2 t, 2 t + 1 and those 2 tokens on; the lag grows with the
// output token (or, transposed, with the input token). Fragment SHIFTS D + s serves blocks of 32 tokens that are D apart.
// As all tables: the two words of the high part, then those of what it left out.
DEVICE uint4 toeplitz_fragment(const float* h, int n_lags, const Place& at, int index, bool is_transposed) {
    int lag = 32 * (index / SHIFTS), shift = 2 * (index % SHIFTS) - 4, across = 8 * (at.g / 2 - at.t) + at.g % 2;
    float values[4];
    for (int e = 0; e < 4; ++e) {
        int l = is_transposed ? lag - shift - across + e : lag + shift + across - e;
        values[e] = l >= 0 && l < n_lags ? h[l] : 0.0f;
    }
    uint4 words;
    in_two(values[0], values[1], words.x, words.z);
    in_two(values[2], values[3], words.y, words.w);
    return words;
}
DEVICE void make_toeplitz(uint4* table, int distances, const float* h, int n_lags, const Place& at, bool is_transposed) {
    for (int i = at.warp; i < distances * SHIFTS; i += WARPS)
        table[i * 32 + at.lane] = toeplitz_fragment(h, n_lags, at, i, is_transposed);
}

// Inputs on their way to shared memory: a thread reads only what it copied itself, so that it need not wait for others

template <int STREAMS> struct Slots {
    uint4* slots;  // [2][STREAMS][WARPS][4][32]
    DEVICE uint4* at(int stage, int stream, const Place& place) const {
        return slots + ((stage * STREAMS + stream) * WARPS + place.warp) * 128 + place.lane;
    }
    // of 64 rows of one sequence, one after the other
    DEVICE void fetch(int stage, int stream, const Element* row, i64 first, i64 seqlen, const Place& place) const {
        uint4* to = at(stage, stream, place);
#pragma unroll
        for (int s = 0; s < 4; ++s) {
            i64 t = first + place.token(s / 2, s % 2);
            bool is_there = t < seqlen;
            copy_async(to + 32 * s, row + (is_there ? t : 0), is_there);
        }
    }
    // of 16 sequences, those of rows g and g + 8 given; zeros outside a sequence, and where there is none
    DEVICE void fetch(
        int stage, int stream, const Element* const (&rows)[2], const bool (&are_rows)[2], i64 first, i64 seqlen,
        const Place& place) const {
#pragma unroll
        for (int hh = 0; hh < 2; ++hh) fetch_row(stage, stream, hh, rows[hh] + first, are_rows[hh], first, seqlen, place);
    }
    // `from` is where token `first` would be
    DEVICE void fetch_row(
        int stage, int stream, int hh, const Element* from, bool is_row, i64 first, i64 seqlen, const Place& place) const {
#pragma unroll
        for (int ch = 0; ch < 2; ++ch) {
            const int t = 32 * ch + 8 * place.t;
            const bool is_there = first + t >= 0 && first + t < seqlen && is_row;
            copy_async(at(stage, stream, place) + 32 * (2 * hh + ch), is_there ? from + t : from - first, is_there);
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
