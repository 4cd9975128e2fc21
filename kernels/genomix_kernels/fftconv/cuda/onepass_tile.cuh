// Fourier transforms of 256 P points held by one warp, without shared memory.
//
// Points m = P (16 n1 + n2) + j become frequencies k = k1 + 16 k2 + 256 k3: over n1 and n2 by products with matrices of
// 16 x 16 on tensor cores (a tile of 256 points for each j), over j by butterflies. A word holds two neighbouring values
// of fp16, real and imaginary parts apart. Word 2 h + b of a tile holds rows g + 8 h and columns 2 t + 8 b, + 1. Taken as
// the right factor of a product, a tile gives up its columns and has its rows as the new columns; as the left factor it
// gives up its columns and keeps its rows. So (n2, n1) -> (k1, n2) -> (k1, k2), and back by the same two steps:
// (k1, k2) -> (n2, k1) -> (n2, n1), with nothing moved between lanes.
//
// Frequencies are shifted by a fraction: exp(-2 pi i m (k + f) / (256 P)). See onepass_row.cuh for the reason.
//
// Defined by the caller: P (1, 2, 4 or 8), CLUSTER, IS_COMPLEX (what rows consist of). Scaled so that a transform keeps the
// sum of squares.
#pragma once

typedef u32 Tile[4];
typedef u32 Words[P][4];

constexpr u32 SIGNS = 0x80008000u;
constexpr u32 TWO = 0x40004000u;  // both of them

struct Lane {
    int lane, warp, g, t;
    DEVICE Lane() : lane(thread_index() % 32), warp(thread_index() / 32), g(lane / 4), t(lane % 4) {}
};

// What a warp needs of the tables of `tables` in onepass_tables.py: vectors of four words for each lane.
constexpr int ROOTS = P == 8 ? 4 : P / 2;
enum Vector { M1, TWIDDLE = 2, N1 = 4, TWIDDLE_BACK = 6, M2 = 8, FIRST_ROOT = 10, BLOCK_ROOTS = 10 + 2 * ROOTS };
constexpr int SHIFTS = BLOCK_ROOTS + (CLUSTER > 1 || IS_COMPLEX ? 2 : 0);
constexpr int VECTORS = SHIFTS + (IS_COMPLEX ? 2 : 0);

// Where rows are complex, roots too are the same for all warps of a row, but for a factor: tables differ from residue to
// residue there, and few blocks of a multiprocessor have the same.
struct Tables {
    const uint4 *vectors, *shared;  // of this warp and lane, and of those that are the same for all warps
    const uint4* constants;         // this warp's, which are the same for all lanes
    const u32* shifts;              // of these the factors of the roots
    DEVICE Tables(const uint4* tables, int warp, int lane)
        : vectors(tables + warp * VECTORS * 32 + lane), shared(tables + lane),
          constants(tables + (warp * VECTORS + BLOCK_ROOTS) * 32), shifts(reinterpret_cast<const u32*>(constants + 64)) {}
    DEVICE void read(int index, Tile& re, Tile& im) const {
        const bool is_shared = index == M2 || (IS_COMPLEX && index >= FIRST_ROOT && index < BLOCK_ROOTS);
        // what is the same for all lanes is read from the first one's place
        const uint4* from = index >= BLOCK_ROOTS ? constants : (is_shared ? shared : vectors) + index * 32;
        uint4 x = from[0], y = from[32];
        re[0] = x.x, re[1] = x.y, re[2] = x.z, re[3] = x.w;
        im[0] = y.x, im[1] = y.y, im[2] = y.z, im[3] = y.w;
    }
};

DEVICE void negate(const Tile& x, Tile& y) {
#pragma unroll
    for (int i = 0; i < 4; ++i) y[i] = x[i] ^ SIGNS;
}

// (re, im) *= (wr, wi), or its conjugate
template <bool IS_CONJUGATE> DEVICE void times(u32& re, u32& im, u32 wr, u32 wi) {
    u32 x = re, y = im;
    re = IS_CONJUGATE ? half_fma(y, wi, half_mul(x, wr)) : half_fnma(y, wi, half_mul(x, wr));
    im = IS_CONJUGATE ? half_fnma(x, wi, half_mul(y, wr)) : half_fma(x, wi, half_mul(y, wr));
}
template <bool IS_CONJUGATE> DEVICE void times(Tile& re, Tile& im, const Tile& wr, const Tile& wi) {
#pragma unroll
    for (int i = 0; i < 4; ++i) times<IS_CONJUGATE>(re[i], im[i], wr[i], wi[i]);
}

// Products are summed in fp16: sums in fp32 take off no more than a twentieth of the error.

// M X^T, where the tile X may be real; `ni` is -mi
template <bool IS_REAL>
DEVICE void from_left(Tile& re, Tile& im, const Tile& mr, const Tile& mi, const Tile& ni) {
    Tile x, y;
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = re[i], y[i] = IS_REAL ? 0u : im[i];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
        u32 r[2], i[2];
        product_alone_in_half(r, mr, x[2 * h], x[2 * h + 1]);
        product_alone_in_half(i, mi, x[2 * h], x[2 * h + 1]);
        if (!IS_REAL) product_in_half(r, ni, y[2 * h], y[2 * h + 1]);
        if (!IS_REAL) product_in_half(i, mr, y[2 * h], y[2 * h + 1]);
        re[h] = r[0], re[2 + h] = r[1];
        im[h] = i[0], im[2 + h] = i[1];
    }
}

// X M, of which perhaps only the real part is asked for; words 2 b and 2 b + 1 of M serve columns 8 b .. 8 b + 7
template <bool IS_REAL>
DEVICE void from_right(Tile& re, Tile& im, const Tile& mr, const Tile& mi, const Tile& ni) {
    const Tile x = {re[0], re[2], re[1], re[3]}, y = {im[0], im[2], im[1], im[3]};
#pragma unroll
    for (int b = 0; b < 2; ++b) {
        u32 r[2], i[2];
        product_alone_in_half(r, x, mr[2 * b], mr[2 * b + 1]);
        product_in_half(r, y, ni[2 * b], ni[2 * b + 1]);
        re[b] = r[0], re[2 + b] = r[1];
        if (IS_REAL) continue;
        product_alone_in_half(i, x, mi[2 * b], mi[2 * b + 1]);
        product_in_half(i, y, mr[2 * b], mr[2 * b + 1]);
        im[b] = i[0], im[2 + b] = i[1];
    }
}

// Butterflies of N <= 8 words, unscaled. Forward from natural to bit-reversed order, backward the reverse.

template <bool IS_BACKWARD, bool TURNS> DEVICE void butterfly(u32& ar, u32& ai, u32& br, u32& bi) {
    // the second, where it turns, is multiplied by -i after the butterfly or by i before it
    const u32 x = ar, y = ai, v = IS_BACKWARD && TURNS ? half_neg(bi) : br, w = IS_BACKWARD && TURNS ? br : bi;
    ar = half_add(x, v), ai = half_add(y, w);
    br = half_sub(x, v), bi = half_sub(y, w);
    if (!IS_BACKWARD && TURNS) {
        const u32 r = br;
        br = bi, bi = half_neg(r);
    }
}
// times exp(-2 pi i / 8), or its conjugate
template <bool IS_BACKWARD> DEVICE void turn_by_an_eighth(u32& re, u32& im) {
    constexpr u32 HALF_ROOT = 0x39a839a8u;  // of 1/2
    const u32 sum = half_mul(half_add(re, im), HALF_ROOT), difference = half_mul(half_sub(im, re), HALF_ROOT);
    re = IS_BACKWARD ? half_neg(difference) : sum;
    im = IS_BACKWARD ? sum : difference;
}
template <bool IS_BACKWARD, int N> DEVICE void butterflies(u32* re, u32* im) {
    static_assert(N <= 8, "no other roots than the eighth ones");
    if constexpr (N == 8) {
        if (IS_BACKWARD) butterflies<IS_BACKWARD, 4>(re, im), butterflies<IS_BACKWARD, 4>(re + 4, im + 4);
        if (IS_BACKWARD) turn_by_an_eighth<IS_BACKWARD>(re[5], im[5]), turn_by_an_eighth<IS_BACKWARD>(re[7], im[7]);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            butterfly<IS_BACKWARD, false>(re[i], im[i], re[i + 4], im[i + 4]);
            butterfly<IS_BACKWARD, true>(re[i + 2], im[i + 2], re[i + 6], im[i + 6]);
        }
        if (!IS_BACKWARD) turn_by_an_eighth<IS_BACKWARD>(re[5], im[5]), turn_by_an_eighth<IS_BACKWARD>(re[7], im[7]);
        if (!IS_BACKWARD) butterflies<IS_BACKWARD, 4>(re, im), butterflies<IS_BACKWARD, 4>(re + 4, im + 4);
    }
    if constexpr (N == 2) butterfly<IS_BACKWARD, false>(re[0], im[0], re[1], im[1]);
    if constexpr (N == 4) {
        if (IS_BACKWARD) butterflies<IS_BACKWARD, 2>(re, im), butterflies<IS_BACKWARD, 2>(re + 2, im + 2);
        butterfly<IS_BACKWARD, false>(re[0], im[0], re[2], im[2]);
        butterfly<IS_BACKWARD, true>(re[1], im[1], re[3], im[3]);
        if (!IS_BACKWARD) butterflies<IS_BACKWARD, 2>(re, im), butterflies<IS_BACKWARD, 2>(re + 2, im + 2);
    }
}

// Transforms over COUNT tiles j at frequencies that are shifted by a fraction f: sums of x_j z^j w^(j k), where w = exp(-2 pi
// i / COUNT) and z = w^f. Forward, from natural to bit-reversed order, a pair becomes a + c b and a - c b; backward a + b
// and (a - b) times the conjugate of c. Roots are z^(COUNT / 2), ..., z^2, z and, if COUNT = 8, z w.

// `turns`: c is -i times what is given
template <bool IS_BACKWARD> DEVICE void twisted(u32& ar, u32& ai, u32& br, u32& bi, u32 cr, u32 ci, bool turns) {
    u32 x = ar, y = ai, r = turns ? ci : cr, c = turns ? cr : ci;  // then c is to be subtracted
    if (IS_BACKWARD) {
        u32 v = half_sub(x, br), w = half_sub(y, bi);
        ar = half_add(x, br), ai = half_add(y, bi);
        br = turns ? half_fnma(w, c, half_mul(v, r)) : half_fma(w, c, half_mul(v, r));
        bi = turns ? half_fma(v, c, half_mul(w, r)) : half_fnma(v, c, half_mul(w, r));
    } else {
        ar = half_fma(br, r, x), ai = half_fma(bi, r, y);
        ar = turns ? half_fma(bi, c, ar) : half_fnma(bi, c, ar);
        ai = turns ? half_fnma(br, c, ai) : half_fma(br, c, ai);
        br = half_fma(x, TWO, half_neg(ar)), bi = half_fma(y, TWO, half_neg(ai));
    }
}
template <bool IS_BACKWARD>
DEVICE void twisted(Tile& ar, Tile& ai, Tile& br, Tile& bi, const Tile& cr, const Tile& ci, bool turns) {
#pragma unroll
    for (int i = 0; i < 4; ++i) twisted<IS_BACKWARD>(ar[i], ai[i], br[i], bi[i], cr[i], ci[i], turns);
}
// of groups of SIZE tiles
template <bool IS_BACKWARD, int COUNT, int SIZE, class Roots>
DEVICE void twisted_level(Tile* re, Tile* im, const Roots& roots) {
#pragma unroll
    for (int wide = 0; wide < (COUNT == 8 && SIZE == 2 ? 2 : 1); ++wide) {
        Tile cr, ci;
        roots.read(SIZE == 8 ? 0 : SIZE == 4 ? COUNT / 8 : COUNT == 8 ? 2 + wide : COUNT / 2 - 1, cr, ci);
#pragma unroll
        for (int group = 0; group < COUNT / SIZE; ++group) {
            if (COUNT == 8 && SIZE == 2 && group / 2 != wide) continue;
#pragma unroll
            for (int j = group * SIZE; j < group * SIZE + SIZE / 2; ++j)
                twisted<IS_BACKWARD>(re[j], im[j], re[j + SIZE / 2], im[j + SIZE / 2], cr, ci, group % 2 == 1);
        }
    }
}
template <bool IS_BACKWARD, int COUNT, class Roots> DEVICE void over_tiles(Tile* re, Tile* im, const Roots& roots) {
    if constexpr (COUNT == 8 && !IS_BACKWARD) twisted_level<IS_BACKWARD, COUNT, 8>(re, im, roots);
    if constexpr (COUNT >= 2 && IS_BACKWARD) twisted_level<IS_BACKWARD, COUNT, 2>(re, im, roots);
    if constexpr (COUNT >= 4) twisted_level<IS_BACKWARD, COUNT, 4>(re, im, roots);
    if constexpr (COUNT >= 2 && !IS_BACKWARD) twisted_level<IS_BACKWARD, COUNT, 2>(re, im, roots);
    if constexpr (COUNT == 8 && IS_BACKWARD) twisted_level<IS_BACKWARD, COUNT, 8>(re, im, roots);
}
// those of a warp's tiles: a word's fraction is its own, (k1 + 16 k2 + f) / 256
struct RootsOfWords {
    const Tables& tables;
    DEVICE void read(int root, Tile& re, Tile& im) const {
        warp_barrier();  // loads stay behind it
        tables.read(FIRST_ROOT + 2 * root, re, im);
        if (!IS_COMPLEX) return;
        const u32 r = tables.shifts[root], i = tables.shifts[128 + root];
#pragma unroll
        for (int j = 0; j < 4; ++j) times<false>(re[j], im[j], r, i);
    }
};

// The transforms of a warp

// Each step is done for all tiles before the next, so that few matrices are in registers at once.

// What it begins with
struct First {
    Tile r, i, wr, wi;
    DEVICE First(const Tables& tables) { tables.read(M1, r, i), tables.read(TWIDDLE, wr, wi); }
};

template <bool IS_REAL> DEVICE void transform(Words& re, Words& im, const Tables& tables, const First& first) {
    {
        Tile n;
        const Tile &r = first.r, &i = first.i, &wr = first.wr, &wi = first.wi;
        negate(i, n);
#pragma unroll
        for (int j = 0; j < P; ++j) {
            if (j % 4 == 0) warp_barrier();  // loads stay behind it
            from_left<IS_REAL>(re[j], im[j], r, i, n);
            times<false>(re[j], im[j], wr, wi);
        }
    }
    {
        Tile x, y, n;
        tables.read(M2, x, y);
        // symmetric, so that the left factor's words are those of the right factor in another order
        const Tile r = {x[0], x[2], x[1], x[3]}, i = {y[0], y[2], y[1], y[3]};
        negate(i, n);
#pragma unroll
        for (int j = 0; j < P; ++j) {
            if (j % 4 == 0) warp_barrier();  // loads stay behind it
            from_right<false>(re[j], im[j], r, i, n);
        }
    }
    over_tiles<false, P>(re, im, RootsOfWords{tables});
}

template <bool IS_REAL> DEVICE void transform(Words& re, Words& im, const Tables& tables) {
    transform<IS_REAL>(re, im, tables, First(tables));
}

template <bool IS_REAL> DEVICE void transform_back(Words& re, Words& im, const Tables& tables) {
    over_tiles<true, P>(re, im, RootsOfWords{tables});
    {
        Tile r, i, n;
        tables.read(M2, r, i);
        negate(i, n);
#pragma unroll
        for (int j = 0; j < P; ++j) {
            if (j % 4 == 0) warp_barrier();  // loads stay behind it
            from_left<false>(re[j], im[j], r, n, i);
        }
    }
    {
        Tile r, i, n, wr, wi;
        tables.read(N1, r, i);
        tables.read(TWIDDLE_BACK, wr, wi);
        negate(i, n);
#pragma unroll
        for (int j = 0; j < P; ++j) {
            if (j % 4 == 0) warp_barrier();  // loads stay behind it
            times<false>(re[j], im[j], wr, wi);
            from_right<IS_REAL>(re[j], im[j], r, i, n);
        }
    }
}
