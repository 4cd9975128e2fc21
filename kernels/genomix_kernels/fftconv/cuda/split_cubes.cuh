// Rows of 4,096 = 16^3 complex numbers, by products with matrices of 16 x 16 alone: no butterflies, whose half-precision
// arithmetic a multiprocessor has less of than of products.
//
// n = 256 s + 16 n1 + n2 and k = q + 16 k1 + 256 k2, at frequencies shifted by f:
//
//     n (k + f) / 4096 = s (q + f) / 16 + m q / 4096 + n1 (k1 / 16 + f / 256) + n2 (k1 / 256 + f / 4096) + n2 k2 / 16
//
// up to whole numbers, with m = 16 n1 + n2. So there are three matrices and two twiddle factors between them; that of m q is the
// same for all residues, and all that depends on f, a residue's own, is the same for the four warps.
//
// First a warp has a quarter of the columns m, w = m / 64, for all s; two neighbouring s of a column are a word. A lane (g, t) reads
// four neighbouring columns of s = 2 t, 2 t + 1 and of 2 t + 8, 2 t + 9 in each half of 32. The product over s gives rows q = g and
// g + 8, and words of n1 and n1 + 1. Then a warp has four tiles (n2, n1), those of q = 2 w, 2 w + 1, 2 w + 8 and 2 w + 9: row g + 8 h
// is n2 = 2 g + h, column 2 t + 8 b + e is n1 = 4 t + 2 b + e. Back, words of a tile become words of q and q + 1, which are the
// factors of the last product as they come from the slots; its results lie as the row does in memory.
//
// Between the two, slots of four words, which one lane writes and one reads: by the tiles' warp and lane, and two bits that tell
// the four apart. Back, a thread writes those that it has read, and a warp reads those that it had written.
//
// Defined by the caller: as for split_rows.cuh.
#pragma once

#if CLUSTER == 1 && P == 4 && W == 4
struct CubeTables {
    enum Common { M2_RIGHT, M2_LEFT = 2, TURNS = 4 };                                           // of `cube_tables` in split_plan.py
    enum Own { OVER_S, M1 = 2, TWIDDLE = 4, TWIDDLE_BACK = 6, M1_BACK = 8, OVER_S_BACK = 10 };  // of the residue
    const uint4 *common, *own;
    DEVICE static void read(const uint4* from, Tile& re, Tile& im) {
        const uint4 x = from[0], y = from[32];
        re[0] = x.x, re[1] = x.y, re[2] = x.z, re[3] = x.w;
        im[0] = y.x, im[1] = y.y, im[2] = y.z, im[3] = y.w;
    }
    DEVICE void read(Common index, Tile& re, Tile& im, int further = 0) const { read(common + 32 * (index + further), re, im); }
    DEVICE void read(Own index, Tile& re, Tile& im) const { read(own + 32 * index, re, im); }
};

// A matrix, and its imaginary part's negative
struct Factor {
    Tile r, i, n;
    DEVICE Factor(const CubeTables& tables, CubeTables::Own index) { tables.read(index, r, i), negate(i, n); }
};

constexpr int SLOTS_OF_ANOTHER = SHARED_SLOTS + CONTROL_BYTES / 16;

struct Cube {
    Lane at;
    CubeTables tables;
    uint4* slots;
    // Places are found anew for each row: if they were kept over a loop they would not leave registers enough.
    // `which`: of the slots, where a block has two rows at once
    DEVICE Cube(const Row& row, int which = 0)
        : at(row.at), tables{row.common + at.lane, row.own + at.lane}, slots(row.slots + which * SLOTS_OF_ANOTHER) {
        at.g = fresh(at.g), at.t = fresh(at.t);
    }

    // Slots: of the tiles' warp, their lane (g, t), and two bits
    DEVICE static int place(int warp, int g, int t, int high, int low) {
        return 128 * warp + 64 * high + 8 * g + 4 * low + t;
    }
    // so that eight lanes that read or write at once do it in different banks
    DEVICE static int turned(int place, int warp, int g, int more) { return place ^ warp ^ g / 2 ^ 4 * more; }
    DEVICE uint4* slot(int part, int warp, int g, int t, int high, int low, int more) const {
        return slots + (PARTS == 2 ? 512 * part : 0) + turned(place(warp, g, t, high, low), warp, g, more % 2);
    }
    // on the way to the tiles: of q = `couple` and q + 8, both of `half`; n2; the columns' warp
    DEVICE uint4* ahead(int part, int couple, int n2, int warp) const {
        return slot(part, couple / 2, n2 / 2, warp, couple % 2, n2 % 2, couple + n2 / 2);
    }
    // back: of a lane's rows n2, both; of columns n1 = 4 t + 2 high + low
    DEVICE uint4* back(int part, int warp, int g, int t, int high, int low) const {
        return slot(part, warp, g, t, high, low, g + g / 2);
    }

    // The lane's first word of a half of 32 columns, on the way in and out
    DEVICE int first(int chunk) const { return 512 * at.t + 64 * at.warp + 4 * chunk_of_line(chunk, 512 * at.t); }
    DEVICE int first_in() const { return first(4 * (at.g % 2) + at.g / 2); }
    DEVICE int first_out() const { return first(at.g); }

    DEVICE void read_tiles(Tile* x, int part) const {
#pragma unroll
        for (int k = 0; k < 2; ++k)
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                const uint4 y = *ahead(part, 2 * at.warp + k, 2 * at.g + h, at.t);
                x[k][2 * h] = y.x, x[k + 2][2 * h] = y.y, x[k][2 * h + 1] = y.z, x[k + 2][2 * h + 1] = y.w;
            }
    }
    DEVICE void write_tiles(const Tile* x, int part) const {
#pragma unroll
        for (int b = 0; b < 2; ++b) {
            *back(part, at.warp, at.g, at.t, b, 0) = make_uint4(
                low_halves(x[0][b], x[1][b]), low_halves(x[0][2 + b], x[1][2 + b]), low_halves(x[2][b], x[3][b]),
                low_halves(x[2][2 + b], x[3][2 + b]));
            *back(part, at.warp, at.g, at.t, b, 1) = make_uint4(
                high_halves(x[0][b], x[1][b]), high_halves(x[0][2 + b], x[1][2 + b]), high_halves(x[2][b], x[3][b]),
                high_halves(x[2][2 + b], x[3][2 + b]));
        }
    }
    // What a tile's numbers are multiplied by for m q; those of the next tile come while one is worked on.
    DEVICE void read_turns(Tile (&re)[2], Tile (&im)[2], int tile) const {
        warp_barrier();  // loads stay behind it
        if (tile < 4) tables.read(CubeTables::TURNS, re[tile % 2], im[tile % 2], 8 * at.warp + 2 * tile);
    }
    // The rest of the transform, of the tiles of ROWS rows, which follow one another
    template <int ROWS> DEVICE void transform(Tile* re, Tile* im) const {
        {
            Tile r, i, n, wr, wi;
            tables.read(CubeTables::M1, r, i), tables.read(CubeTables::TWIDDLE, wr, wi);
            negate(i, n);
            Tile tr[2], ti[2];
            read_turns(tr, ti, 0);
#pragma unroll
            for (int tile = 0; tile < 4; ++tile) {
                read_turns(tr, ti, tile + 1);
#pragma unroll
                for (int j = tile; j < 4 * ROWS; j += 4) {
                    times<false>(re[j], im[j], tr[tile % 2], ti[tile % 2]);
                    from_left<false>(re[j], im[j], r, i, n);
                    times<false>(re[j], im[j], wr, wi);
                }
            }
        }
        Tile r, i, n;
        tables.read(CubeTables::M2_RIGHT, r, i);
        negate(i, n);
#pragma unroll
        for (int j = 0; j < 4 * ROWS; ++j) {
            if (j % 4 == 0) warp_barrier();
            from_right<false>(re[j], im[j], r, i, n);
        }
    }
    // Back, up to the product over q
    template <int ROWS> DEVICE void transform_back(Tile* re, Tile* im) const {
        {
            Tile r, i, n;
            tables.read(CubeTables::M2_LEFT, r, i);
            negate(i, n);
#pragma unroll
            for (int j = 0; j < 4 * ROWS; ++j) {
                if (j % 4 == 0) warp_barrier();
                from_left<false>(re[j], im[j], r, i, n);
            }
        }
        Tile r, i, n, wr, wi;
        tables.read(CubeTables::M1_BACK, r, i), tables.read(CubeTables::TWIDDLE_BACK, wr, wi);
        negate(i, n);
        Tile tr[2], ti[2];
        read_turns(tr, ti, 0);
#pragma unroll
        for (int tile = 0; tile < 4; ++tile) {
            read_turns(tr, ti, tile + 1);
#pragma unroll
            for (int j = tile; j < 4 * ROWS; j += 4) {
                times<false>(re[j], im[j], wr, wi);
                from_right<false>(re[j], im[j], r, i, n);
                times<true>(re[j], im[j], tr[tile % 2], ti[tile % 2]);
            }
        }
    }
};
#endif
