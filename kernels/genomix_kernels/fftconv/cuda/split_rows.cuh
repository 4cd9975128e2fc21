// Rows of complex numbers in memory, transformed in place by a block or a cluster: what onepass_row.cuh does with real ones.
//
// A row of N words: word n, where n % (2 HALF) < HALF, holds the real parts of numbers n and n + HALF, word n + HALF their
// imaginary parts. So words are as a thread has them: where HALF is 16 P, a pair of columns and TOGETHER tiles are neighbours in
// memory, those of a warp follow one another, and a thread writes where it has read. Rows of 16^3 have HALF = 256.
//
// The blocks of a cluster take a complex transform over s with a shift of the row's own, as the warps of a block do. Where a
// block has a row to itself, each thread does the latter with what it has read.
//
// Defined by the caller, besides what onepass_row.cuh asks for: COLUMNS (words that split_columns.cuh scales as one).
#pragma once

// what a word is multiplied by before a transform over blocks, which multiplies the root of the mean square by sqrt(CLUSTER)
constexpr u32 SHRINK = CLUSTER > 4 ? 0x34003400u : CLUSTER > 1 ? 0x38003800u : 0x3c003c00u;  // 1/4, 1/2 or 1, twice
constexpr float GROWTH = CLUSTER == 2 || CLUSTER == 8 ? 1.41421356237f : 1.0f;  // undoes both
constexpr int ROOTS_OF_ROW = CLUSTER / 2;

// The largest magnitude of some neighbouring words, and what they are to be multiplied by
typedef float2 Loudness;

// that of a thread's first word, of a row's
DEVICE const Loudness* loudness_of(const Loudness* row, int n) {
    return row + (n / (2 * HALF) * HALF + n % HALF) / COLUMNS;
}

// The row's largest magnitude: each warp looks for itself.
DEVICE float loudest_of_row(const Loudness* loudness) {
    float most = 0.0f;
#pragma unroll
    for (int i = Lane().lane; i < N / 2 / COLUMNS; i += 32) most = fmaxf(most, loudness[i].x);
    return greatest(most);
}

// A residue's tables; those of rows of 16^3 come behind what all residues have in common (`cube_tables` in split_plan.py).
constexpr int VECTORS_OF_ALL = 36, VECTORS_OF_CUBE = 12;
DEVICE const uint4* tables_of(const uint4* tables, i64 residue) {
    return tables + 32 * (IS_CUBE ? VECTORS_OF_ALL + VECTORS_OF_CUBE * residue : W * CLUSTER * VECTORS * residue);
}

// Ask for what this block has of a row, half a row's work before it is needed: all blocks together ask for as much as the
// second-level cache holds, and what they ask for earlier has left it again when they come to read it.
DEVICE void prefetch_row(const u32* z, const Row& row) { prefetch_bytes(z + M * row.rank, 4 * M, thread_index(), 32 * W); }

#if CLUSTER > 1
// All threads of a row wait for one another between two of `largest` that nothing else keeps apart. (In a block with a row to
// itself only `normalize` has one.)
DEVICE void keep_apart(const Row& row) {
    row.meetings.say_ready();
    row.meetings.wait_until_ready();
    barrier();
}
#else
DEVICE void keep_apart(const Row& row) {}
#endif

#if CLUSTER > 1
template <bool IS_BACKWARD, int SIZE>
DEVICE void over_blocks_level(u32 (&r)[TOGETHER][CLUSTER], u32 (&i)[TOGETHER][CLUSTER], const uint2* roots) {
    constexpr int COUNT = CLUSTER / SIZE;
#pragma unroll
    for (int group = 0; group < COUNT; ++group) {
        const uint2 root = roots[COUNT / 2 + group / 2];
#pragma unroll
        for (int s = group * SIZE; s < group * SIZE + SIZE / 2; ++s)
#pragma unroll
            for (int j = 0; j < TOGETHER; ++j)
                twisted<IS_BACKWARD>(r[j][s], i[j][s], r[j][s + SIZE / 2], i[j][s + SIZE / 2], root.x, root.y, group % 2 == 1);
    }
}
// Forward from natural to bit-reversed order, backward the reverse; roots are those of `roots_of_rows` in split_plan.py.
template <bool IS_BACKWARD>
DEVICE void over_blocks(u32 (&r)[TOGETHER][CLUSTER], u32 (&i)[TOGETHER][CLUSTER], const uint2* roots) {
    if constexpr (IS_BACKWARD) over_blocks_level<IS_BACKWARD, 2>(r, i, roots);
    if constexpr (IS_BACKWARD && CLUSTER >= 8) over_blocks_level<IS_BACKWARD, 4>(r, i, roots);
    if constexpr (IS_BACKWARD && CLUSTER >= 16) over_blocks_level<IS_BACKWARD, 8>(r, i, roots);
    if constexpr (CLUSTER > 2) over_blocks_level<IS_BACKWARD, CLUSTER>(r, i, roots);
    if constexpr (!IS_BACKWARD && CLUSTER >= 16) over_blocks_level<IS_BACKWARD, 8>(r, i, roots);
    if constexpr (!IS_BACKWARD && CLUSTER >= 8) over_blocks_level<IS_BACKWARD, 4>(r, i, roots);
    if constexpr (!IS_BACKWARD) over_blocks_level<IS_BACKWARD, 2>(r, i, roots);
}

DEVICE void read_words(const u32* from, u32 (&x)[TOGETHER][CLUSTER], int s) {
    if constexpr (TOGETHER == 4) {
        const uint4 y = *reinterpret_cast<const uint4*>(from);
        x[0][s] = y.x, x[1][s] = y.y, x[2][s] = y.z, x[3][s] = y.w;
    } else {
        const uint2 y = *reinterpret_cast<const uint2*>(from);
        x[0][s] = y.x, x[1][s] = y.y;
    }
}
DEVICE void write_words(u32* to, const u32 (&x)[TOGETHER][CLUSTER], int s) {
    if constexpr (TOGETHER == 4) *reinterpret_cast<uint4*>(to) = make_uint4(x[0][s], x[1][s], x[2][s], x[3][s]);
    else *reinterpret_cast<uint2*>(to) = make_uint2(x[0][s], x[1][s]);
}

// The transform, times the scale whose inverse is returned
DEVICE float load_row(
    const Row& row, Words& re, Words& im, const u32* z, const Loudness* loudness, const uint2* roots, int top) {
    const int n = row.first();
    loudness = loudness_of(loudness, n);
    u32 r[SLICES][TOGETHER][CLUSTER], i[SLICES][TOGETHER][CLUSTER];
    float most = 0.0f;
#pragma unroll
    for (int u = 0; u < SLICES; ++u)
#pragma unroll
        for (int s = 0; s < CLUSTER; ++s) {
            read_words(z + n + Row::further(u, s, 0), r[u], s);
            read_words(z + n + Row::further(u, s, 1), i[u], s);
            most = fmaxf(most, loudness[Row::further(u, s, 0) / (2 * COLUMNS)].x);
        }
    const Scale scale(row.largest(most), top);
    row.meetings.expect();
#pragma unroll
    for (int u = 0; u < SLICES; ++u) {
#pragma unroll
        for (int s = 0; s < CLUSTER; ++s) {
            const float up = scale.up * loudness[Row::further(u, s, 0) / (2 * COLUMNS)].y;
            const u32 factor = half_mul(pack_fp16(up, up), SHRINK);
#pragma unroll
            for (int j = 0; j < TOGETHER; ++j)
                r[u][j][s] = half_mul(r[u][j][s], factor), i[u][j][s] = half_mul(i[u][j][s], factor);
        }
        over_blocks<false>(r[u], i[u], roots);
        row.send_slice(r[u], i[u], u);
    }
    row.meetings.wait_for_sent();
    row.over_slots<false>();
    barrier();
    row.read_tiles(re, im);
    transform<false>(re, im, row.tables);
    return scale.down;
}
// Backward, in the scale that it has
DEVICE void store_row(const Row& row, Words& re, Words& im, u32* z, const uint2* roots) {
    transform_back<false>(re, im, row.tables);
    row.write_tiles(re, im);
    const int n = row.first();
    barrier();
    row.over_slots<true>();
    row.meetings.say_ready();
    row.meetings.wait_until_ready();
#pragma unroll
    for (int u = 0; u < SLICES; ++u) {
        u32 r[TOGETHER][CLUSTER], i[TOGETHER][CLUSTER];
        row.fetch_slice(r, i, u);
#pragma unroll
        for (int s = 0; s < CLUSTER; ++s)
#pragma unroll
            for (int j = 0; j < TOGETHER; ++j) r[j][s] = half_mul(r[j][s], SHRINK), i[j][s] = half_mul(i[j][s], SHRINK);
        over_blocks<true>(r, i, roots);
#pragma unroll
        for (int s = 0; s < CLUSTER; ++s) {
            write_words(z + n + Row::further(u, s, 0), r, s);
            write_words(z + n + Row::further(u, s, 1), i, s);
        }
    }
}
#endif
