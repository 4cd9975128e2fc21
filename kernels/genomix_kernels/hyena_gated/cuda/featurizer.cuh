// The featurizer, up to 3 taps, on segments of 8 tokens: who holds the tokens before and after, and the adjoint.
#pragma once

// taps[0] is that of the current token
template <class Parameter> DEVICE void load_taps(float (&taps)[3], const Parameter* h, i64 row) {
#pragma unroll
    for (int i = 0; i < 3; ++i) taps[i] = i < F ? load(h, row * F + (IS_FEATURIZER_REVERSED ? F - 1 - i : i)) : 0.0f;
}

// The two tokens before each segment; `first` are those before the warp's.
DEVICE void pairs_before(const Words& x, u32 first, const Place& at, u32 (&before)[2][2]) {
#pragma unroll
    for (int hh = 0; hh < 2; ++hh) {
        // lane 31 has the row before that of lane 0 in the other half
        u32 same = at.t == 3 ? (hh == 1 && at.lane == 31 ? x[0][1][3] : x[hh][1][3]) : x[hh][0][3];
        u32 other = at.t == 3 ? x[hh][0][3] : x[hh][1][3];
        before[hh][0] = shuffle(same, (at.lane - 1) & 31);
        before[hh][1] = shuffle(other, at.t ? at.lane - 1 : at.lane + 3);
    }
    if (at.lane == 0) before[0][0] = first;
}

// The two tokens before the first of a warp: of the sequence, of the state before it, or none.
DEVICE u32 pair_before(const Element* row, i64 t, i64 seqlen, const Element* tail) {
    if (t >= 2) return t - 2 < seqlen ? *reinterpret_cast<const u32*>(row + t - 2) : 0u;
#if HAS_TAIL
    if (F == 3) return u32(tail[0].bits) | u32(tail[1].bits) << 16;
    if (F == 2) return u32(tail[0].bits) << 16;
#endif
    return 0u;
}

DEVICE void featurized(const u32 (&x)[4], u32 before, const float (&taps)[3], float (&z)[8]) {
    float x2 = low_of(before), x1 = high_of(before);
#pragma unroll
    for (int p = 0; p < 4; ++p) {
        float x0 = low_of(x[p]), next = high_of(x[p]);
        z[2 * p] = taps[0] * x0;
        z[2 * p + 1] = taps[0] * next;
        if (F > 1) z[2 * p] += taps[1] * x1, z[2 * p + 1] += taps[1] * x0;
        if (F > 2) z[2 * p] += taps[2] * x2, z[2 * p + 1] += taps[2] * x1;
        x2 = x0, x1 = next;
    }
}

// of the first two tokens of a segment
DEVICE void featurized_pair(u32 x, u32 before, const float (&taps)[3], float (&z)[2]) {
    z[0] = taps[0] * low_of(x);
    z[1] = taps[0] * high_of(x);
    if (F > 1) z[0] += taps[1] * high_of(before), z[1] += taps[1] * low_of(x);
    if (F > 2) z[0] += taps[2] * low_of(before), z[1] += taps[2] * high_of(before);
}

// The first two values after each segment; those after the warp's last are zeros.
DEVICE void pairs_after(const float (&first)[2][2][2], const Place& at, float (&after)[2][2][2]) {
#pragma unroll
    for (int hh = 0; hh < 2; ++hh)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            float own = at.t == 0 ? first[hh][1][e] : first[hh][0][e];
            float next = at.t == 0 ? (hh == 0 && at.lane == 0 ? first[1][0][e] : first[hh][0][e]) : first[hh][1][e];
            after[hh][0][e] = shuffle(own, at.t < 3 ? at.lane + 1 : at.lane - 3);
            after[hh][1][e] = shuffle(next, (at.lane + 1) & 31);
        }
    if (at.lane == 31) after[1][1][0] = after[1][1][1] = 0.0f;
}

DEVICE void adjoint(const float (&dz)[8], const float (&after)[2], const float (&taps)[3], float (&dx)[8]) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
        dx[j] = taps[0] * dz[j];
        if (F > 1) dx[j] += taps[1] * (j < 7 ? dz[j + 1] : after[0]);
        if (F > 2) dx[j] += taps[2] * (j < 6 ? dz[j + 2] : after[j - 6]);
    }
}

// gradients of the taps
DEVICE void add_to_taps(float (&sums)[3], const float (&dz)[8], const u32 (&x)[4], u32 before) {
    float x2 = low_of(before), x1 = high_of(before);
#pragma unroll
    for (int p = 0; p < 4; ++p) {
        float x0 = low_of(x[p]), next = high_of(x[p]);
        sums[0] = fmaf(dz[2 * p], x0, fmaf(dz[2 * p + 1], next, sums[0]));
        if (F > 1) sums[1] = fmaf(dz[2 * p], x1, fmaf(dz[2 * p + 1], x0, sums[1]));
        if (F > 2) sums[2] = fmaf(dz[2 * p], x2, fmaf(dz[2 * p + 1], x1, sums[2]));
        x2 = x0, x1 = next;
    }
}
