// Transforms that are kept: as the spectrum of a filter, or in sums of products.
//
// Defined by the caller: P, W, CLUSTER.
#pragma once

// fp16 words as onepass_tile.cuh leaves them, of which the largest magnitude is between 1/2 and 1, and behind them what to
// multiply them by; `down` is what the transform is to be multiplied by
DEVICE void leave_spectrum(const Row& row, const Words& re, const Words& im, u32* spectrum, float down) {
    float most = 0.0f;
#pragma unroll
    for (int j = 0; j < P; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            most = fmaxf(most, fmaxf(fabsf(low_fp16(re[j][i])), fabsf(high_fp16(re[j][i]))));
            most = fmaxf(most, fmaxf(fabsf(low_fp16(im[j][i])), fabsf(high_fp16(im[j][i]))));
        }
    most = row.largest(most);
    const Scale scale(most, -1);
    uint4* to = reinterpret_cast<uint4*>(spectrum) + row.q * P * 64 + row.at.lane;
#pragma unroll
    for (int j = 0; j < P; ++j)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
            const Tile& x = c ? im[j] : re[j];
            u32 words[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) words[i] = pack_fp16(scale.up * low_fp16(x[i]), scale.up * high_fp16(x[i]));
            to[(2 * j + c) * 32] = make_uint4(words[0], words[1], words[2], words[3]);
        }
    if (row.rank == 0 && thread_index() == 0) {
        float* last = reinterpret_cast<float*>(spectrum + N);
        last[0] = most > 0.0f ? down * scale.down * sqrtf(float(N)) : 1.0f;
        last[1] = last[2] = last[3] = 0.0f;
    }
}

// in shared memory, STEP vectors from one to the next of a thread
template <int STEP> DEVICE void keep(const Words& re, const Words& im, uint4* kept) {
#pragma unroll
    for (int j = 0; j < P; ++j) {
        kept[2 * j * STEP] = make_uint4(re[j][0], re[j][1], re[j][2], re[j][3]);
        kept[(2 * j + 1) * STEP] = make_uint4(im[j][0], im[j][1], im[j][2], im[j][3]);
    }
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
            const uint4 v = kept[2 * j * STEP], w = kept[(2 * j + 1) * STEP];
            const Tile ur = {v.x, v.y, v.z, v.w}, ui = {w.x, w.y, w.z, w.w};
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
