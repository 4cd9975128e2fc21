// Gradients of taps: sums along the diagonals of M^T F, for matrices whose fragments lie as in fragments.cuh.
//
// A product of transposed words has tokens of M as rows and tokens of F as columns. All products whose blocks lie equally
// far from the diagonal add to one accumulator: 32 D + 2 shift tokens apart there are six shifts for each distance D.
#pragma once

constexpr int PADDED = 33;  // words between the values of neighbouring accumulators, so that lanes hit different banks

// of the pair of words of M and the word of F within their blocks of 32 tokens
DEVICE int diagonal_of(int distance, int pair, int word) { return SHIFTS * distance + word - 2 * pair + 2; }

template <int N> DEVICE void leave_diagonals(float* left, const float (&sums)[N][4], const Place& at) {
#pragma unroll
    for (int i = 0; i < 4 * N; ++i) left[(at.warp * N * 4 + i) * PADDED + at.lane] = sums[i / 4][i % 4];
}

// Sum what the warps left for one lag, of accumulators for `n` distances from `first` on.
DEVICE float sum_of_lag(const float* left, int lag, int first, int n) {
    float sum = 0.0f;
    for (int distance = 0; distance < n; ++distance)
        for (int e = 0; e < 2; ++e)
            for (int odd = 0; odd < 2; ++odd) {
                int rest = lag - 32 * (first + distance) - (e - odd);  // 2 shift + 8 (t - g / 2)
                if (rest & 1) continue;
                for (int half_g = 0; half_g < 4; ++half_g)
                    for (int t = 0; t < 4; ++t) {
                        int shift = rest / 2 - 4 * (t - half_g);  // of rows 0..7 of a product; rows 8..15 have one less
                        int lane = 4 * (2 * half_g + odd) + t, index = SHIFTS * distance + shift + 2;
                        for (int warp = 0; warp < WARPS; ++warp) {
                            const float* of_warp = left + warp * n * SHIFTS * 4 * PADDED + lane;
                            if (shift >= -2 && shift <= 3) sum += of_warp[(index * 4 + e) * PADDED];
                            if (shift >= -3 && shift <= 2) sum += of_warp[((index + 1) * 4 + 2 + e) * PADDED];
                        }
                    }
            }
    return sum;
}
