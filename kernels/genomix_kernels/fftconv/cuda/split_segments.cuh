// A long row as SEGMENTS = 2^LEVELS ODD shorter ones: n = N s + m becomes the residue q = k mod SEGMENTS of its frequencies,
//
//     z_q[m] = sum_s x[N s + m] exp(-2 pi i s (q + 1/4) / SEGMENTS)
//
// which is a transform over s for each m; X[q + SEGMENTS k'] is that of z_q at frequencies shifted by (q + 1/4) / SEGMENTS. A
// thread has TOKENS neighbouring columns m of the first half of a tile of 32 P, and those that are 16 P further: see
// split_rows.cuh. Sums are in fp32, and planes of words in fp16, with a power of two for each warp.
//
// A transform at frequencies shifted by f halves as those over tiles do: a + c b and a - c b for c = exp(-pi i f), which go on
// with shifts f / 2 and (f + 1) / 2. What is left of an odd number of points is done by a matrix.
//
// Defined by the caller: P, W, CLUSTER, LEVELS, ODD, TOKENS, HALVES (a root for each group of each level), MATRICES (for each
// group, ODD x ODD); see split_plan.py.
#pragma once

constexpr int SEGMENTS = ODD << LEVELS, THREADS = 128, COLUMNS = 32 * TOKENS;
typedef float Points[SEGMENTS];

// q of place i
DEVICE constexpr int residue_of(int i) {
    int q = i % ODD;
    for (int level = 0; level < LEVELS; ++level) q = 2 * q + (i / ODD >> level) % 2;
    return q;
}

template <bool IS_BACKWARD> DEVICE void by_matrices(Points& re, Points& im) {
    const float matrices[][2] = MATRICES;
#pragma unroll
    for (int group = 0; group < SEGMENTS / ODD; ++group) {
        float r[ODD], i[ODD];
#pragma unroll
        for (int to = 0; to < ODD; ++to) {
            r[to] = i[to] = 0.0f;
#pragma unroll
            for (int from = 0; from < ODD; ++from) {
                const float (&w)[2] = matrices[(group * ODD + (IS_BACKWARD ? from : to)) * ODD + (IS_BACKWARD ? to : from)];
                const float a = re[group * ODD + from], b = im[group * ODD + from], sine = IS_BACKWARD ? -w[1] : w[1];
                r[to] = fmaf(-b, sine, fmaf(a, w[0], r[to]));
                i[to] = fmaf(a, sine, fmaf(b, w[0], i[to]));
            }
        }
#pragma unroll
        for (int to = 0; to < ODD; ++to) re[group * ODD + to] = r[to], im[group * ODD + to] = i[to];
    }
}
// complex points of the real ones in `re`, in the order of `residue_of`
DEVICE void over_segments(Points& re, Points& im) {
    const float halves[][2] = HALVES;
#pragma unroll
    for (int s = 0; s < SEGMENTS; ++s) im[s] = 0.0f;
#pragma unroll
    for (int level = 0; level < LEVELS; ++level) {
        const int half = SEGMENTS >> (level + 1);
#pragma unroll
        for (int i = 0; i < SEGMENTS / 2; ++i) {
            const int group = i / half, a = i + group * half, b = a + half;
            const float (&c)[2] = halves[(1 << level) - 1 + group];
            const float x = re[a], y = im[a], v = re[b], w = im[b];
            if (level == 0) {
                re[a] = fmaf(c[0], v, x), im[a] = c[1] * v;
                re[b] = fmaf(-c[0], v, x), im[b] = -c[1] * v;
            } else {
                re[a] = fmaf(-c[1], w, fmaf(c[0], v, x)), im[a] = fmaf(c[1], v, fmaf(c[0], w, y));
                re[b] = fmaf(2.0f, x, -re[a]), im[b] = fmaf(2.0f, y, -im[a]);
            }
        }
    }
    if (ODD > 1) by_matrices<false>(re, im);
}
// back, of which only the real part is wanted: left in `re`
DEVICE void over_residues(Points& re, Points& im) {
    const float halves[][2] = HALVES;
    if (ODD > 1) by_matrices<true>(re, im);
#pragma unroll
    for (int level = LEVELS - 1; level >= 0; --level) {
        const int half = SEGMENTS >> (level + 1);
#pragma unroll
        for (int i = 0; i < SEGMENTS / 2; ++i) {
            const int group = i / half, a = i + group * half, b = a + half;
            const float (&c)[2] = halves[(1 << level) - 1 + group];
            const float v = re[a] - re[b], w = im[a] - im[b];
            re[a] += re[b], im[a] += im[b];
            re[b] = fmaf(c[1], w, c[0] * v), im[b] = fmaf(-c[1], v, c[0] * w);
        }
    }
}

// Of this thread: its first word, and how far the other halves of its tile are from there
DEVICE int first_word() {
    const int column = TOKENS * (int(block_index()) * THREADS + thread_index());
    return column / (16 * P) * (32 * P) + column % (16 * P);
}
DEVICE i64 warp_of_row() { return block_index() * (THREADS / 32) + thread_index() / 32; }

DEVICE void read_words(const u32* from, u32 (&x)[TOKENS]) {
    if constexpr (TOKENS == 4) {
        const uint4 y = *reinterpret_cast<const uint4*>(from);
        x[0] = y.x, x[1] = y.y, x[2] = y.z, x[3] = y.w;
    } else {
        const uint2 y = *reinterpret_cast<const uint2*>(from);
        x[0] = y.x, x[1] = y.y;
    }
}
DEVICE void write_words(u32* to, const u32 (&x)[TOKENS]) {
    if constexpr (TOKENS == 4) *reinterpret_cast<uint4*>(to) = make_uint4(x[0], x[1], x[2], x[3]);
    else *reinterpret_cast<uint2*>(to) = make_uint2(x[0], x[1]);
}
