// Rows of split_rows.cuh where a block has one to itself.
//
// Defined by the caller: as for split_rows.cuh.
#pragma once

#if CLUSTER == 1
constexpr int UNITS = P / W;

DEVICE void read_tile(const u32* from, Tile& x) {
    const uint4 y = load_once(reinterpret_cast<const uint4*>(from));
    x[0] = y.x, x[1] = y.y, x[2] = y.z, x[3] = y.w;
}
DEVICE void write_tile(u32* to, const Tile& x) { *reinterpret_cast<uint4*>(to) = make_uint4(x[0], x[1], x[2], x[3]); }

// What a thread reads of a row: its part of the transform over warps
struct Units {
    Tile r[UNITS][W], i[UNITS][W];
    DEVICE void read(const Row& row, const u32* z) {
        const int n = row.first();
#pragma unroll
        for (int u = 0; u < UNITS; ++u)
#pragma unroll
            for (int s = 0; s < W; ++s) {
                read_tile(z + n + Row::further(u, s, 0), r[u][s]);
                read_tile(z + n + Row::further(u, s, 1), i[u][s]);
            }
    }
    // Through that transform to the slots, of the imaginary part only if PARTS is 2, times the scale whose inverse is returned
    DEVICE float spread(const Row& row, const Loudness* loudness, const RootsOfBlock& roots, int top) {
        const Scale scale(loudest_of_row(loudness), top);
        loudness = loudness_of(loudness, row.first());
#pragma unroll
        for (int u = 0; u < UNITS; ++u) {
#pragma unroll
            for (int s = 0; s < W; ++s) {
                const float up = scale.up * loudness[Row::further(u, s, 0) / (2 * COLUMNS)].y;
                const u32 factor = pack_fp16(up, up);
#pragma unroll
                for (int j = 0; j < 4; ++j) r[u][s][j] = half_mul(r[u][s][j], factor), i[u][s][j] = half_mul(i[u][s][j], factor);
            }
            over_tiles<false, W>(r[u], i[u], roots);
            row.write_unit<true>(u, r[u], 0);
            if (PARTS == 2) row.write_unit<true>(u, i[u], 1);
        }
        return scale.down;
    }
    // Back: from the slots, of the real part only if PARTS is 2, to the row
    DEVICE void collect(const Row& row, const RootsOfBlock& roots, u32* z) {
        const int n = row.first();
#pragma unroll
        for (int u = 0; u < UNITS; ++u) {
            if (PARTS == 2) row.read_unit<true>(u, r[u], 0);
            row.read_unit<true>(u, i[u], 1);
            over_tiles<true, W>(r[u], i[u], roots);
#pragma unroll
            for (int s = 0; s < W; ++s)
                write_tile(z + n + Row::further(u, s, 0), r[u][s]), write_tile(z + n + Row::further(u, s, 1), i[u][s]);
        }
    }
};

DEVICE float load_row(
    const Row& row, Words& re, Words& im, const u32* z, const Loudness* loudness, const uint2* roots, int top) {
    if constexpr (IS_CUBE) return load_cube(row, re, im, z, loudness, top);
    Units x;
    x.read(row, z);
    RootsOfBlock of_block;
    row.tables.read(BLOCK_ROOTS, of_block.r, of_block.i);
    const float down = x.spread(row, loudness, of_block, top);
    const First first(row.tables);
    barrier();
    row.read_tiles(re, 0);
    if (PARTS == 1) {
        barrier();
#pragma unroll
        for (int u = 0; u < UNITS; ++u) row.write_unit<true>(u, x.i[u], 1);
        barrier();
    }
    row.read_tiles(im, 1);
    transform<false>(re, im, row.tables, first);
    return down;
}
DEVICE void store_row(const Row& row, Words& re, Words& im, u32* z, const uint2* roots) {
    if constexpr (IS_CUBE) return store_cube(row, re, im, z);
    Units x;
    transform_back<false>(re, im, row.tables);
    row.write_tiles(re, 0);
    if (PARTS == 1) {
        barrier();
#pragma unroll
        for (int u = 0; u < UNITS; ++u) row.read_unit<true>(u, x.r[u], 0);
        barrier();
    }
    row.write_tiles(im, 1);
    RootsOfBlock of_block;
    row.tables.read(BLOCK_ROOTS, of_block.r, of_block.i);
    barrier();
    x.collect(row, of_block, z);
}

#endif
