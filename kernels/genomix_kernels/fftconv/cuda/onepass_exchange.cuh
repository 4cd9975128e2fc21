// Rows of several warps (W > 1), through shared memory: of a block, or of the blocks of a cluster.
//
// In a block, n = N / W s + m: each thread takes the real transforms over s of the W numbers that it loaded, and writes
// frequency q to where warp q reads it. Backward it reads back what it wrote.
//
// In a cluster, n = M s + m and m = M / W s' + m': block c loads the tokens of its W / CLUSTER slices s', for all s. Threads
// take the real transforms over s and send frequency q to block q, to the thread of the same number there: that one goes on
// with a complex transform over s', whose shift (q + 1/4) / CLUSTER is that of the block, in place. So each token is read
// once and written once, and crosses from block to block once each way. Of more blocks than slices two share a slice.
//
// Defined by the caller: see onepass_row.cuh.
#pragma once

#if W > 1
constexpr int RADIX = CLUSTER > 1 ? CLUSTER : W;  // of the transform that takes real numbers

DEVICE int reversed(int i, int n) {
    int r = 0;
    for (int bit = 1; bit < n; bit *= 2) r = 2 * r + (i / bit) % 2;
    return r;
}

static_assert(P == 4 || P == 8, "a slot has four tiles");
static_assert(CLUSTER == 1 || P == W, "each thread has one unit of each slice");
static_assert(CLUSTER == 1 || W % CLUSTER == 0 || CLUSTER == 2 * W, "a block has whole slices, or half a one");

// Forward the real numbers x_s, pairs of them for TOGETHER tiles, give frequencies in bit-reversed order.
DEVICE void from_real(const float (&x)[RADIX][2][TOGETHER], float up, u32 (&r)[TOGETHER][RADIX], u32 (&i)[TOGETHER][RADIX]) {
    const u32 factors[RADIX / 2][8] = TWISTS;
#pragma unroll
    for (int j = 0; j < TOGETHER; ++j) {
#pragma unroll
        for (int s = 0; s < RADIX / 2; ++s) {
            const float (&a)[2][TOGETHER] = x[s], (&b)[2][TOGETHER] = x[s + RADIX / 2];
            const u32 v = pack_fp16(up * a[0][j], up * a[1][j]);
            const u32 w = pack_fp16(up * b[0][j], up * b[1][j]);
            const u32 (&f)[8] = factors[s];
            r[j][s] = half_fma(w, f[2], half_mul(v, f[0]));
            i[j][s] = half_fma(w, f[3], half_mul(v, f[1]));
            r[j][s + RADIX / 2] = half_fma(w, f[6], half_mul(v, f[4]));
            i[j][s + RADIX / 2] = half_fma(w, f[7], half_mul(v, f[5]));
        }
#pragma unroll
        for (int half = 0; half < RADIX; half += RADIX / 2) butterflies<false, RADIX / 2>(r[j] + half, i[j] + half);
    }
}
// Backward, up to the last step: that gives the real numbers.
DEVICE void to_real(u32 (&r)[TOGETHER][RADIX], u32 (&i)[TOGETHER][RADIX]) {
#pragma unroll
    for (int j = 0; j < TOGETHER; ++j)
#pragma unroll
        for (int half = 0; half < RADIX; half += RADIX / 2) butterflies<true, RADIX / 2>(r[j] + half, i[j] + half);
}
template <int STEP, class Sink>
DEVICE void fetch(int first, const Sink& sink, typename Sink::template Aside<TOGETHER> (&aside)[STEP][2], int u, int start) {
#pragma unroll
    for (int s = 0; s < STEP; ++s)
#pragma unroll
        for (int e = 0; e < 2; ++e) sink.fetch(first + Row::further(u, start + s, e), aside[s][e]);
}
template <int STEP, class Sink>
DEVICE void put(int first, const Sink& sink, const typename Sink::template Aside<TOGETHER> (&aside)[STEP][2],
                const u32 (&r)[TOGETHER][RADIX], const u32 (&i)[TOGETHER][RADIX], int u, int start) {
    const u32 factors[RADIX / 2][8] = TWISTS;
#pragma unroll
    for (int s = start; s < start + STEP; ++s) {
        float y[2][TOGETHER];
        const u32 (&f)[8] = factors[s % (RADIX / 2)];
        const int o = s < RADIX / 2 ? 0 : 2, a = s % (RADIX / 2), b = a + RADIX / 2;
#pragma unroll
        for (int j = 0; j < TOGETHER; ++j) {
            const u32 first_half = half_fma(i[j][a], f[o + 1], half_mul(r[j][a], f[o]));
            const u32 v = half_fma(i[j][b], f[o + 5], half_fma(r[j][b], f[o + 4], first_half));
            y[0][j] = low_fp16(v), y[1][j] = high_fp16(v);
        }
        sink.store(first + Row::further(u, s, 0), y[0], aside[s - start][0]);
        sink.store(first + Row::further(u, s, 1), y[1], aside[s - start][1]);
    }
}

// Those of a block's transform of complex numbers over its slots: the same for all words
struct RootsOfBlock {
    Tile r, i;
    DEVICE void read(int root, Tile& re, Tile& im) const {
#pragma unroll
        for (int j = 0; j < 4; ++j) re[j] = r[root], im[j] = i[root];
    }
};
template <bool IS_REVERSED> DEVICE void Row::read_unit(int u, Tile (&x)[W], int c) const {
#pragma unroll
    for (int s = 0; s < W; ++s) {
        const uint4 y = *slot_of_unit(u, IS_REVERSED ? reversed(s, W) : s, c);
        x[s][0] = y.x, x[s][1] = y.y, x[s][2] = y.z, x[s][3] = y.w;
    }
}
template <bool IS_REVERSED> DEVICE void Row::write_unit(int u, const Tile (&x)[W], int c) const {
#pragma unroll
    for (int s = 0; s < W; ++s)
        *slot_of_unit(u, IS_REVERSED ? reversed(s, W) : s, c) = make_uint4(x[s][0], x[s][1], x[s][2], x[s][3]);
}
DEVICE void Row::read_tiles(Words& x, int c) const {
#pragma unroll
    for (int j = 0; j < P; j += 4)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int pair = at.t + 4 * (i % 2), n2 = at.g + 8 * (i / 2);
            const uint4 y = *slot(at.warp, c, pair, n2, j / 4);
            x[j][i] = y.x, x[j + 1][i] = y.y, x[j + 2][i] = y.z, x[j + 3][i] = y.w;
        }
}
DEVICE void Row::write_tiles(const Words& x, int c) const {
#pragma unroll
    for (int j = 0; j < P; j += 4)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int pair = at.t + 4 * (i % 2), n2 = at.g + 8 * (i / 2);
            *slot(at.warp, c, pair, n2, j / 4) = make_uint4(x[j][i], x[j + 1][i], x[j + 2][i], x[j + 3][i]);
        }
}
#endif

#if W > 1 && CLUSTER == 1
template <class Source> DEVICE float Row::load(Words& re, Words& im, const Source& source, int top) const {
    constexpr int UNITS = P / W;
    const int n = first();
    float x[UNITS][W][2][4], most = 0.0f;
#pragma unroll
    for (int u = 0; u < UNITS; ++u)
#pragma unroll
        for (int s = 0; s < W; ++s)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                source.load(n + further(u, s, e), x[u][s][e]);
#pragma unroll
                for (int j = 0; j < 4; ++j) most = fmaxf(most, fabsf(x[u][s][e][j]));
            }
    const Scale scale(largest(most), top);
#pragma unroll
    for (int u = 0; u < UNITS; ++u) {
        u32 r[4][W], i[4][W];
        from_real(x[u], scale.up, r, i);
#pragma unroll
        for (int s = 0; s < W; ++s) {
            *slot_of_unit(u, reversed(s, W), 0) = make_uint4(r[0][s], r[1][s], r[2][s], r[3][s]);
            *slot_of_unit(u, reversed(s, W), 1) = make_uint4(i[0][s], i[1][s], i[2][s], i[3][s]);
        }
    }
    barrier();
    read_tiles(re, im);
    transform<false>(re, im, tables);
    return scale.down;
}
template <class Sink> DEVICE void Row::store(Words& re, Words& im, const Sink& sink) const {
    transform_back<false>(re, im, tables);
    write_tiles(re, im);
    const int n = first();
    barrier();
#pragma unroll
    for (int u = 0; u < P / W; ++u) {
        u32 r[4][W], i[4][W];
#pragma unroll
        for (int s = 0; s < W; ++s) {
            const uint4 x = *slot_of_unit(u, reversed(s, W), 0), y = *slot_of_unit(u, reversed(s, W), 1);
            r[0][s] = x.x, r[1][s] = x.y, r[2][s] = x.z, r[3][s] = x.w;
            i[0][s] = y.x, i[1][s] = y.y, i[2][s] = y.z, i[3][s] = y.w;
        }
        to_real(r, i);
        constexpr int STEP = Sink::IS_LARGE && W == 8 ? 2 : W;
#pragma unroll
        for (int start = 0; start < W; start += STEP) {
            typename Sink::template Aside<TOGETHER> aside[STEP][2];
            fetch<STEP>(n, sink, aside, u, start);
            put<STEP>(n, sink, aside, r, i, u, start);
        }
    }
}
#endif

#if CLUSTER > 1
constexpr int PLANE = 512 * P;  // bytes of the slots (s, c)

template <bool IS_BACKWARD> DEVICE void Row::over_slots() const {
    Tile re[W], im[W];
    RootsOfBlock roots;
    tables.read(BLOCK_ROOTS, roots.r, roots.i);
    read_unit<IS_BACKWARD>(0, re, 0), read_unit<IS_BACKWARD>(0, im, 1);
    over_tiles<IS_BACKWARD, W>(re, im, roots);
    write_unit<!IS_BACKWARD>(0, re, 0), write_unit<!IS_BACKWARD>(0, im, 1);
}
// words of frequency s for neighbouring tiles
template <int COUNT> DEVICE void send_words(ClusterAddress to, const u32 (&x)[COUNT][CLUSTER], int s, ClusterAddress b) {
    if constexpr (COUNT == 4) send(to, make_uint4(x[0][s], x[1][s], x[2][s], x[3][s]), b);
    else send(to, make_uint2(x[0][s], x[1][s]), b);
}
template <int COUNT> DEVICE void load_words(ClusterAddress from, u32 (&x)[COUNT][CLUSTER], int s) {
    if constexpr (COUNT == 4) {
        const uint4 y = load_there(from);
        x[0][s] = y.x, x[1][s] = y.y, x[2][s] = y.z, x[3][s] = y.w;
    } else {
        const uint2 y = load_two_there(from);
        x[0][s] = y.x, x[1][s] = y.y;
    }
}
DEVICE void Row::send_slice(const u32 (&r)[TOGETHER][CLUSTER], const u32 (&i)[TOGETHER][CLUSTER], int u) const {
    const uint2* mine = reinterpret_cast<const uint2*>(slot(slice(), 0, pair(0), my_n2(), my_j4())) + half();
#pragma unroll
    for (int s = 0; s < CLUSTER; ++s) {
        const ClusterAddress to = address_in_block(mine, reversed(s, CLUSTER)) + 2 * PLANE * u;
        const ClusterAddress sent = address_in_block(meetings.sent, reversed(s, CLUSTER));
        send_words(to, r, s, sent);
        send_words(to + PLANE, i, s, sent);
    }
}
DEVICE void Row::fetch_slice(u32 (&r)[TOGETHER][CLUSTER], u32 (&i)[TOGETHER][CLUSTER], int u) const {
    const uint2* mine = reinterpret_cast<const uint2*>(slot(slice(), 0, pair(0), my_n2(), my_j4())) + half();
#pragma unroll
    for (int s = 0; s < CLUSTER; ++s) {
        const ClusterAddress from = address_in_block(mine, reversed(s, CLUSTER)) + 2 * PLANE * u;
        load_words(from, r, s);
        load_words(from + PLANE, i, s);
    }
}
template <class Source> DEVICE float Row::load(Words& re, Words& im, const Source& source, int top) const {
    const int n = first();
    float x[SLICES][CLUSTER][2][TOGETHER], most = 0.0f;
#pragma unroll
    for (int u = 0; u < SLICES; ++u)
#pragma unroll
        for (int s = 0; s < CLUSTER; ++s)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                source.load(n + further(u, s, e), x[u][s][e]);
#pragma unroll
                for (int j = 0; j < TOGETHER; ++j) most = fmaxf(most, fabsf(x[u][s][e][j]));
            }
    const Scale scale(largest(most), top);  // from here on all blocks have read what was in the slots before
    meetings.expect();
#pragma unroll
    for (int u = 0; u < SLICES; ++u) {
        u32 r[TOGETHER][CLUSTER], i[TOGETHER][CLUSTER];
        from_real(x[u], scale.up, r, i);
        send_slice(r, i, u);
    }
    meetings.wait_for_sent();
    over_slots<false>();
    barrier();
    read_tiles(re, im);
    transform<false>(re, im, tables);
    return scale.down;
}
template <class Sink> DEVICE void Row::store(Words& re, Words& im, const Sink& sink) const {
    transform_back<false>(re, im, tables);
    write_tiles(re, im);
    const int n = first();
    barrier();
    over_slots<true>();
    meetings.say_ready();
    constexpr int EARLY = Sink::IS_LARGE ? 1 : SLICES;  // registers hold no more while values come from other blocks
    constexpr int STEP = Sink::IS_LARGE ? 2 : CLUSTER;
    typename Sink::template Aside<TOGETHER> aside[EARLY][STEP][2];
#pragma unroll
    for (int u = 0; u < EARLY; ++u) fetch<STEP>(n, sink, aside[u], u, 0);
    meetings.wait_until_ready();
#pragma unroll
    for (int u = 0; u < SLICES; ++u) {
        u32 r[TOGETHER][CLUSTER], i[TOGETHER][CLUSTER];
        fetch_slice(r, i, u);
        to_real(r, i);
#pragma unroll
        for (int start = 0; start < CLUSTER; start += STEP) {
            auto& ready = aside[Sink::IS_LARGE ? 0 : u];
            if (Sink::IS_LARGE && u + start > 0) fetch<STEP>(n, sink, ready, u, start);
            put<STEP>(n, sink, ready, r, i, u, start);
        }
    }
}
#endif
