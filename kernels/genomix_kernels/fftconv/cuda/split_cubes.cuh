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
    // The rest of the transform, of the tiles of ROWS rows
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

// What a thread reads of a row: of two pairs of s, both halves, four columns
struct CubeWords {
    u32 re[2][2][4], im[2][2][4];
    DEVICE static void read(const u32* from, u32 (&x)[4]) {
        const uint4 y = load_once(reinterpret_cast<const uint4*>(from));
        x[0] = y.x, x[1] = y.y, x[2] = y.z, x[3] = y.w;
    }
    DEVICE void read(const Cube& cube, const u32* z) {
        z += cube.first_in();
#pragma unroll
        for (int pair = 0; pair < 2; ++pair)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                read(z + 2048 * pair + 32 * half, re[pair][half]);
                read(z + 2048 * pair + 32 * half + HALF, im[pair][half]);
            }
    }
    // times the scale whose inverse is returned
    DEVICE float scale(const Cube& cube, const Loudness* loudness, int top) {
        const Scale scale(loudest_of_row(loudness), top);
        loudness += HALF / COLUMNS * cube.at.t + 2 * cube.at.warp;
#pragma unroll
        for (int pair = 0; pair < 2; ++pair)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const float up = scale.up * loudness[4 * HALF / COLUMNS * pair + half].y;
                const u32 factor = pack_fp16(up, up);
#pragma unroll
                for (int j = 0; j < 4; ++j)
                    re[pair][half][j] = half_mul(re[pair][half][j], factor), im[pair][half][j] = half_mul(im[pair][half][j], factor);
            }
        return scale.down;
    }
    // The product over s, in place: q and q + 8 take the places of the pairs
    DEVICE void over_s(const Factor& by) {
        const Tile &r = by.r, &i = by.i, &n = by.n;
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                u32 x[2], y[2];
                product_alone_in_half(x, r, re[0][half][j], re[1][half][j]);
                product_alone_in_half(y, i, re[0][half][j], re[1][half][j]);
                product_in_half(x, n, im[0][half][j], im[1][half][j]);
                product_in_half(y, r, im[0][half][j], im[1][half][j]);
                re[0][half][j] = x[0], re[1][half][j] = x[1], im[0][half][j] = y[0], im[1][half][j] = y[1];
            }
    }
    DEVICE static void write(const Cube& cube, const u32 (&x)[2][2][4], int part) {
#pragma unroll
        for (int j = 0; j < 4; ++j)
            *cube.ahead(part, cube.at.g, 4 * cube.at.t + j, cube.at.warp) = make_uint4(x[0][0][j], x[1][0][j], x[0][1][j], x[1][1][j]);
    }
};
// The product over q, from the slots to the row. Its left factors have as rows columns m and m + 1, of q and q + 1, q + 8 and q + 9.
DEVICE void read_factors(const Cube& cube, Tile (&x)[2][2], int part) {
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
            const uint4 y = *cube.back(part, cube.at.t, 2 * (cube.at.g % 4) + pair, cube.at.warp, half, cube.at.g / 4);
            x[half][pair][0] = y.x, x[half][pair][1] = y.y, x[half][pair][2] = y.z, x[half][pair][3] = y.w;
        }
}
DEVICE void write_row(const Cube& cube, const Factor& by, const Tile (&re)[2][2], const Tile (&im)[2][2], u32* z) {
    const Tile &r = by.r, &i = by.i, &n = by.n;
    z += cube.first_out();
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int b = 0; b < 2; ++b) {
            u32 x[2][2], y[2][2];
#pragma unroll
            for (int pair = 0; pair < 2; ++pair) {
                product_alone_in_half(x[pair], re[half][pair], r[2 * b], r[2 * b + 1]);
                product_alone_in_half(y[pair], re[half][pair], i[2 * b], i[2 * b + 1]);
                product_in_half(x[pair], im[half][pair], n[2 * b], n[2 * b + 1]);
                product_in_half(y[pair], im[half][pair], r[2 * b], r[2 * b + 1]);
            }
            u32* to = z + 2048 * b + 32 * half;
            *reinterpret_cast<uint4*>(to) = make_uint4(x[0][0], x[0][1], x[1][0], x[1][1]);
            *reinterpret_cast<uint4*>(to + HALF) = make_uint4(y[0][0], y[0][1], y[1][0], y[1][1]);
        }
}

DEVICE float load_cube(const Row& row, Words& re, Words& im, const u32* z, const Loudness* loudness, int top) {
    const Cube cube(row);
    CubeWords x;
    x.read(cube, z);
    const float down = x.scale(cube, loudness, top);
    x.over_s(Factor(cube.tables, CubeTables::OVER_S));
    warp_barrier();  // the warp has read what was in its slots before
    x.write(cube, x.re, 0);
    if (PARTS == 2) x.write(cube, x.im, 1);
    barrier();
    cube.read_tiles(re, 0);
    if (PARTS == 1) {
        barrier();
        x.write(cube, x.im, 1);
        barrier();
    }
    cube.read_tiles(im, 1);
    cube.transform<1>(re, im);
    return down;
}
DEVICE void store_cube(const Row& row, Words& re, Words& im, u32* z) {
    const Cube cube(row);
    cube.transform_back<1>(re, im);
    Tile r[2][2], i[2][2];
    cube.write_tiles(re, 0);
    if (PARTS == 1) {
        barrier();
        read_factors(cube, r, 0);
        barrier();
    }
    cube.write_tiles(im, 1);
    barrier();
    if (PARTS == 2) read_factors(cube, r, 0);
    read_factors(cube, i, 1);
    write_row(cube, Factor(cube.tables, CubeTables::OVER_S_BACK), r, i, z);
}

// Two rows at once: what is in memory for both is read once, and a transform that another is multiplied by waits in registers. The
// second has slots of its own, behind those of the first.
#if PARTS == 2
typedef Tile Both[8];  // the tiles of one, then those of the other
DEVICE Words& words_of(Both& x, int which) { return *reinterpret_cast<Words*>(x + which * P); }

struct TwoRows {
    const u32* z[2];
    const Loudness* loudness[2];
    int top[2];
};
// The transforms, times the scales whose inverses are returned
DEVICE float2 load_cubes(const Row& row, Both& re, Both& im, const TwoRows& from) {
    const Cube cube(row), other(row, 1);
    CubeWords x, y;
    x.read(cube, from.z[0]), y.read(cube, from.z[1]);
    const float down = x.scale(cube, from.loudness[0], from.top[0]), down2 = y.scale(cube, from.loudness[1], from.top[1]);
    {
        const Factor by(cube.tables, CubeTables::OVER_S);
        x.over_s(by), y.over_s(by);
    }
    warp_barrier();
    x.write(cube, x.re, 0), x.write(cube, x.im, 1), y.write(other, y.re, 0), y.write(other, y.im, 1);
    barrier();
    cube.read_tiles(re, 0), cube.read_tiles(im, 1), other.read_tiles(re + 4, 0), other.read_tiles(im + 4, 1);
    cube.transform<2>(re, im);
    return make_float2(down, down2);
}
DEVICE void store_cubes(const Row& row, Both& re, Both& im, u32* z, u32* z2) {
    const Cube cube(row), other(row, 1);
    cube.transform_back<2>(re, im);
    cube.write_tiles(re, 0), cube.write_tiles(im, 1), other.write_tiles(re + 4, 0), other.write_tiles(im + 4, 1);
    const Factor by(cube.tables, CubeTables::OVER_S_BACK);
    barrier();
#pragma unroll
    for (int which = 0; which < 2; ++which) {
        Tile r[2][2], i[2][2];
        const Cube& from = which ? other : cube;
        read_factors(from, r, 0), read_factors(from, i, 1);
        write_row(cube, by, r, i, which ? z2 : z);
    }
}
// One of them
DEVICE void store_cube_of(const Row& row, int which, Both& re, Both& im, u32* z) {
    const Cube cube(row, which);
    cube.transform_back<1>(re + 4 * which, im + 4 * which);
    cube.write_tiles(re + 4 * which, 0), cube.write_tiles(im + 4 * which, 1);
    barrier();
    Tile r[2][2], i[2][2];
    read_factors(cube, r, 0), read_factors(cube, i, 1);
    write_row(cube, Factor(cube.tables, CubeTables::OVER_S_BACK), r, i, z);
}
#endif
#else
// not there
DEVICE float load_cube(const Row&, Words&, Words&, const u32*, const Loudness*, int) { return 0.0f; }
DEVICE void store_cube(const Row&, Words&, Words&, u32*) {}
#endif
