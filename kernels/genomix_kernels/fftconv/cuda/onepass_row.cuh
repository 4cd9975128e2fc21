// Fourier transforms of a row of N = 256 P W real numbers by W warps, for products of polynomials modulo x^N = -i.
//
// Padding a row with as many zeros and taking its transform gives 2 N real numbers more than are needed. Modulo x^N = -i
// a causal convolution stays in the real part, and all that passes the end of the row falls into the imaginary part,
// which is dropped: a real row needs N complex points, with no zeros, no pairing of frequencies k and -k, and nothing of
// another row. The roots of x^N = -i are the N-th roots of unity shifted by a quarter: X[k] = sum x[n] exp(-2 pi i n (k +
// 1/4) / N). A correlation is the product with the conjugate.
//
// n = N / W s + m: each thread first takes the real transforms over s of what it loaded (W <= 8 numbers). Frequency q over
// s leaves a transform over m at frequencies shifted by f = (q + 1/4) / W, which warp q takes. The shift costs nothing: it
// changes the tables of a warp. Between the two, values pass through shared memory, and each thread reads back what it
// wrote. Where W = 1 rows do not touch shared memory at all, and a block holds several of them.
//
// Each row is scaled by a power of two to make good use of fp16, so that the bits of a row depend on it alone.
//
// Defined by the caller: P, W, TWISTS (if W > 1; of `twists` in onepass_tables.py).
#pragma once

constexpr int SHARED_SLOTS = W > 1 ? 64 * P * W : 0;  // of 16 bytes

DEVICE int reversed(int i, int n) {
    int r = 0;
    for (int bit = 1; bit < n; bit *= 2) r = 2 * r + (i / bit) % 2;
    return r;
}

struct Row {
    Lane at;
    Tables tables;
    uint4* slots;   // of this row: [W][2][P / 4][2][2][32]
    float* maxima;  // of this row: [W]
    int q;          // this warp among those of the row

    DEVICE Row(const uint4* all_tables, unsigned char* shared)
        : tables(all_tables, W > 1 ? Lane().warp : 0, Lane().lane), slots(reinterpret_cast<uint4*>(shared)),
          maxima(reinterpret_cast<float*>(slots + SHARED_SLOTS)), q(W > 1 ? at.warp : 0) {}

    DEVICE float largest(float x) const {
#pragma unroll
        for (int mask = 16; mask; mask /= 2) x = fmaxf(x, shuffle_xor(x, mask));
        if (W == 1) return x;
        if (at.lane == 0) maxima[q] = x;
        barrier();
#pragma unroll
        for (int i = 0; i < W; ++i) x = fmaxf(x, maxima[i]);
        return x;
    }

    // Where W > 1: unit `u` of a thread is the pair of columns `pair`, row n2 and four tiles from 4 j4 on
    DEVICE int pair(int u) const { return P == 8 ? q + W * u : 2 * (q + W * u) + at.lane / 16; }
    DEVICE int n2() const { return P == 8 ? at.lane / 2 : at.lane % 16; }
    DEVICE int j4() const { return P == 8 ? at.lane % 2 : 0; }
    DEVICE int first(int u, int s, int e) const { return N / W * s + P * (16 * (2 * pair(u) + e) + n2()) + 4 * j4(); }
    // lanes of a pass differ in their banks, whether they differ in g or in t
    DEVICE uint4* slot(int warp, int c, int j4, int nb, int hh, int g, int t) const {
        return slots + (((warp * 2 + c) * (P / 4) + j4) * 4 + 2 * nb + hh) * 32 + 4 * g + (t ^ (g / 2) ^ (2 * j4));
    }
    DEVICE uint4* slot_of_unit(int u, int warp, int c) const {
        return slot(warp, c, j4(), pair(u) / 4, n2() / 8, n2() % 8, pair(u) % 4);
    }
    // Where W = 1: the first token of word i = 2 hh + nb
    DEVICE int first(int i, int e) const { return P * (16 * (2 * at.t + 8 * (i % 2) + e) + at.g + 8 * (i / 2)); }

    // Ask for a row before it is needed.
    DEVICE void ask_for(const Element* x, i64 seqlen) const {
        const i64 from = reinterpret_cast<i64>(x), start = (from + 15) / 16 * 16, end = (from + 2 * seqlen) / 16 * 16;
        if (end > start)
            prefetch_bytes(reinterpret_cast<const void*>(start), u32(end - start), W > 1 ? thread_index() : at.lane, 32 * W);
    }

    // The transform, times the scale whose inverse is returned.
    template <class Source> DEVICE float load(Words& re, Words& im, const Source& source, int top) const;
    // Backward, of which the real part goes to `sink`.
    template <class Sink> DEVICE void store(Words& re, Words& im, const Sink& sink) const;
};

#if W == 1
template <class Source> DEVICE float Row::load(Words& re, Words& im, const Source& source, int top) const {
    float x[4][2][P], most = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            source.load(first(i, e), x[i][e]);
#pragma unroll
            for (int j = 0; j < P; ++j) most = fmaxf(most, fabsf(x[i][e][j]));
        }
    const Scale scale(largest(most), top);
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < P; ++j) re[j][i] = pack_fp16(scale.up * x[i][0][j], scale.up * x[i][1][j]), im[j][i] = 0;
    transform<true>(re, im, tables);
    return scale.down;
}
template <class Sink> DEVICE void Row::store(Words& re, Words& im, const Sink& sink) const {
    transform_back<true>(re, im, tables);
    constexpr int STEP = Sink::IS_LARGE && P == 8 ? 2 : 4;
#pragma unroll
    for (int start = 0; start < 4; start += STEP) {
        typename Sink::template Aside<P> aside[STEP][2];
#pragma unroll
        for (int i = 0; i < 2 * STEP; ++i) sink.fetch(first(start + i / 2, i % 2), aside[i / 2][i % 2]);
#pragma unroll
        for (int i = start; i < start + STEP; ++i)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                float y[P];
#pragma unroll
                for (int j = 0; j < P; ++j) y[j] = e ? high_fp16(re[j][i]) : low_fp16(re[j][i]);
                sink.store(first(i, e), y, aside[i - start][e]);
            }
    }
}
#else
template <class Source> DEVICE float Row::load(Words& re, Words& im, const Source& source, int top) const {
    constexpr int UNITS = P / W;
    const u32 factors[W / 2][8] = TWISTS;
    float x[UNITS][W][2][4], most = 0.0f;
#pragma unroll
    for (int u = 0; u < UNITS; ++u)
#pragma unroll
        for (int s = 0; s < W; ++s)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                source.load(first(u, s, e), x[u][s][e]);
#pragma unroll
                for (int j = 0; j < 4; ++j) most = fmaxf(most, fabsf(x[u][s][e][j]));
            }
    const Scale scale(largest(most), top);
#pragma unroll
    for (int u = 0; u < UNITS; ++u) {
        u32 r[4][W], i[4][W];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
#pragma unroll
            for (int s = 0; s < W / 2; ++s) {
                const float (&a)[2][4] = x[u][s], (&b)[2][4] = x[u][s + W / 2];
                const u32 v = pack_fp16(scale.up * a[0][j], scale.up * a[1][j]);
                const u32 w = pack_fp16(scale.up * b[0][j], scale.up * b[1][j]);
                const u32 (&f)[8] = factors[s];
                r[j][s] = half_fma(w, f[2], half_mul(v, f[0]));
                i[j][s] = half_fma(w, f[3], half_mul(v, f[1]));
                r[j][s + W / 2] = half_fma(w, f[6], half_mul(v, f[4]));
                i[j][s + W / 2] = half_fma(w, f[7], half_mul(v, f[5]));
            }
#pragma unroll
            for (int half = 0; half < W; half += W / 2) butterflies<false, W / 2>(r[j] + half, i[j] + half);
        }
#pragma unroll
        for (int s = 0; s < W; ++s) {
            *slot_of_unit(u, reversed(s, W), 0) = make_uint4(r[0][s], r[1][s], r[2][s], r[3][s]);
            *slot_of_unit(u, reversed(s, W), 1) = make_uint4(i[0][s], i[1][s], i[2][s], i[3][s]);
        }
    }
    barrier();
#pragma unroll
    for (int j4 = 0; j4 < P / 4; ++j4)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const uint4 r = *slot(q, 0, j4, i % 2, i / 2, at.g, at.t), c = *slot(q, 1, j4, i % 2, i / 2, at.g, at.t);
            re[4 * j4][i] = r.x, re[4 * j4 + 1][i] = r.y, re[4 * j4 + 2][i] = r.z, re[4 * j4 + 3][i] = r.w;
            im[4 * j4][i] = c.x, im[4 * j4 + 1][i] = c.y, im[4 * j4 + 2][i] = c.z, im[4 * j4 + 3][i] = c.w;
        }
    transform<false>(re, im, tables);
    return scale.down;
}
template <class Sink> DEVICE void Row::store(Words& re, Words& im, const Sink& sink) const {
    transform_back<false>(re, im, tables);
#pragma unroll
    for (int j = 0; j < P; j += 4)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            *slot(q, 0, j / 4, i % 2, i / 2, at.g, at.t) = make_uint4(re[j][i], re[j + 1][i], re[j + 2][i], re[j + 3][i]);
            *slot(q, 1, j / 4, i % 2, i / 2, at.g, at.t) = make_uint4(im[j][i], im[j + 1][i], im[j + 2][i], im[j + 3][i]);
        }
    barrier();
    const u32 factors[W / 2][8] = TWISTS;
#pragma unroll
    for (int u = 0; u < P / W; ++u) {
        u32 r[4][W], i[4][W];
#pragma unroll
        for (int s = 0; s < W; ++s) {
            const uint4 x = *slot_of_unit(u, reversed(s, W), 0), y = *slot_of_unit(u, reversed(s, W), 1);
            r[0][s] = x.x, r[1][s] = x.y, r[2][s] = x.z, r[3][s] = x.w;
            i[0][s] = y.x, i[1][s] = y.y, i[2][s] = y.z, i[3][s] = y.w;
        }
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int half = 0; half < W; half += W / 2) butterflies<true, W / 2>(r[j] + half, i[j] + half);
constexpr int STEP = Sink::IS_LARGE && W == 8 ? 2 : W;
#pragma unroll
        for (int start = 0; start < W; start += STEP) {
            typename Sink::template Aside<4> aside[STEP][2];
#pragma unroll
            for (int s = 0; s < 2 * STEP; ++s) sink.fetch(first(u, start + s / 2, s % 2), aside[s / 2][s % 2]);
#pragma unroll
            for (int s = start; s < start + STEP; ++s) {
                float y[2][4];
                const u32 (&f)[8] = factors[s % (W / 2)];
                const int o = s < W / 2 ? 0 : 2, a = s % (W / 2), b = a + W / 2;
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    const u32 first_half = half_fma(i[j][a], f[o + 1], half_mul(r[j][a], f[o]));
                    const u32 v = half_fma(i[j][b], f[o + 5], half_fma(r[j][b], f[o + 4], first_half));
                    y[0][j] = low_fp16(v), y[1][j] = high_fp16(v);
                }
                sink.store(first(u, s, 0), y[0], aside[s - start][0]);
                sink.store(first(u, s, 1), y[1], aside[s - start][1]);
            }
        }
    }
}
#endif
