// Rows of 16^3 numbers from memory to their transforms and back (split_cubes.cuh): one at a time, or two at once.
//
// Defined by the caller: as for split_rows.cuh.
#pragma once

#if CLUSTER == 1 && P == 4 && W == 4
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
