// Transforms that are kept: as the spectrum of a filter, or in sums of products.
//
// Defined by the caller: P, W, CLUSTER.
#pragma once

// Brings the largest magnitude of all words to 1/2 to 1, and returns what to multiply them by; 0 if they are zeros
DEVICE float normalize(const Row& row, Words& re, Words& im, float down) {
    u32 pair = 0u;
#pragma unroll
    for (int j = 0; j < P; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) pair = half_max_abs(half_max_abs(pair, re[j][i]), im[j][i]);
    const float most = row.largest(fmaxf(low_fp16(pair), high_fp16(pair)));
    if (most == 0.0f) return 0.0f;
    // by a factor that fp16 can hold: only numbers at the end of fp32's range, whose row was scaled by less, need a larger one
    const Scale scale(fmaxf(most, 1.0f / 16384.0f), -1);
    const u32 factor = pack_fp16(scale.up, scale.up);
#pragma unroll
    for (int j = 0; j < P; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) re[j][i] = half_mul(re[j][i], factor), im[j][i] = half_mul(im[j][i], factor);
    return down * scale.down * sqrtf(float(N));
}

// STEP vectors from one to the next of a thread
template <int STEP> DEVICE void keep(const Tile& re, const Tile& im, uint4* kept, int j) {
    kept[2 * j * STEP] = make_uint4(re[0], re[1], re[2], re[3]);
    kept[(2 * j + 1) * STEP] = make_uint4(im[0], im[1], im[2], im[3]);
}
template <int STEP> DEVICE void keep(const Words& re, const Words& im, uint4* kept) {
#pragma unroll
    for (int j = 0; j < P; ++j) keep<STEP>(re[j], im[j], kept, j);
}
template <int STEP> DEVICE void read_kept(Tile& re, Tile& im, const uint4* kept, int j) {
    const uint4 v = kept[2 * j * STEP], w = kept[(2 * j + 1) * STEP];
    re[0] = v.x, re[1] = v.y, re[2] = v.z, re[3] = v.w;
    im[0] = w.x, im[1] = w.y, im[2] = w.z, im[3] = w.w;
}

// Normalized words, and behind them what to multiply them by
DEVICE void leave_normalized(const Row& row, const Words& re, const Words& im, u32* spectrum, float down) {
    keep<32>(re, im, reinterpret_cast<uint4*>(spectrum) + row.q * P * 64 + row.at.lane);
    if (row.rank == 0 && thread_index() < WORDS - N)
        reinterpret_cast<float*>(spectrum + N)[thread_index()] = thread_index() > 0 ? 0.0f : down > 0.0f ? down : 1.0f;
}
// `down` is what the transform is to be multiplied by
DEVICE void leave_spectrum(const Row& row, Words& re, Words& im, u32* spectrum, float down) {
    leave_normalized(row, re, im, spectrum, normalize(row, re, im, down));
}

// Sums, in fp32, of a transform times the conjugate of one that is kept
struct Products {
    float sr[P][8], si[P][8];
    DEVICE Products() {
#pragma unroll
        for (int i = 0; i < 8 * P; ++i) sr[i / 8][i % 8] = si[i / 8][i % 8] = 0.0f;
    }
    template <int STEP> DEVICE void add(const Words& re, const Words& im, const uint4* kept, float down) {
#pragma unroll
        for (int j = 0; j < P; ++j) {
            Tile ur, ui;
            read_kept<STEP>(ur, ui, kept, j);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                u32 r = re[j][i], c = im[j][i];
                times<true>(r, c, ur[i], ui[i]);
                sr[j][2 * i] = fmaf(down, low_fp16(r), sr[j][2 * i]);
                sr[j][2 * i + 1] = fmaf(down, high_fp16(r), sr[j][2 * i + 1]);
                si[j][2 * i] = fmaf(down, low_fp16(c), si[j][2 * i]);
                si[j][2 * i + 1] = fmaf(down, high_fp16(c), si[j][2 * i + 1]);
            }
        }
    }
    // as words, scaled; what to multiply them by is returned
    DEVICE float leave(const Row& row, Words& re, Words& im, int top) const {
        float most = 0.0f;
#pragma unroll
        for (int i = 0; i < 8 * P; ++i) most = fmaxf(most, fmaxf(fabsf(sr[i / 8][i % 8]), fabsf(si[i / 8][i % 8])));
        const Scale scale(row.largest(most), top);
#pragma unroll
        for (int j = 0; j < P; ++j)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                re[j][i] = pack_fp16(scale.up * sr[j][2 * i], scale.up * sr[j][2 * i + 1]);
                im[j][i] = pack_fp16(scale.up * si[j][2 * i], scale.up * si[j][2 * i + 1]);
            }
        return scale.down;
    }
};
