// Gradients of taps: sums along the diagonals of M^T F, for matrices whose fragments lie as in fragments.cuh.
//
// A product of transposed words has tokens of M as rows and tokens of F as columns. All products whose blocks lie equally
// far from the diagonal add to one accumulator: 32 D + 2 shift tokens apart there are six shifts for each distance D.
#pragma once

constexpr int PADDED = 33;  // words between the values of neighbouring accumulators, so that lanes hit different banks

// of the pair of words of M and the word of F within their blocks of 32 tokens
DEVICE int diagonal_of(int distance, int pair, int word) { return SHIFTS * distance + word - 2 * pair + 2; }

// Leave the sums of all warps, in a fixed order, as those of one; ends with a barrier.
template <int N> DEVICE void gather_diagonals(float* left, const float (&sums)[N][4], const Place& at) {
    barrier();
#pragma unroll
    for (int i = 0; i < 4 * N; ++i) left[(at.warp * N * 4 + i) * PADDED + at.lane] = sums[i / 4][i % 4];
    barrier();
#pragma unroll
    for (int i = at.warp; i < 4 * N; i += WARPS) {
        float sum = 0.0f;
#pragma unroll
        for (int warp = 0; warp < WARPS; ++warp) sum += left[(warp * N * 4 + i) * PADDED + at.lane];
        left[i * PADDED + at.lane] = sum;  // of the first warp's, which no other thread reads here
    }
    barrier();
}

// The sum for one lag, of accumulators for `n` distances from `first` on.
DEVICE float sum_of_lag(const float* left, int lag, int first, int n) {
    float sum = 0.0f;
    for (int distance = 0; distance < n; ++distance)
#pragma unroll
        for (int odd = 0; odd < 2; ++odd) {
            const int rest = lag - 32 * (first + distance) + odd;  // e + 2 shift + 8 (t - g / 2)
            const int e = rest & 1, half = (rest - e) / 2;
            // of shift + 4 (t - g / 2) = half, shifts from -3 to 3: rows 0..7 of a product have -2 .. 3, rows 8..15 one less
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int apart = (half + 3 + 64) / 4 - 16 - i, shift = half - 4 * apart;
                if (shift > 3) continue;
                const int index = SHIFTS * distance + shift + 2;
#pragma unroll
                for (int half_g = 0; half_g < 4; ++half_g) {
                    const int t = half_g + apart;
                    if (t < 0 || t > 3) continue;
                    const float* of_lane = left + 4 * (2 * half_g + odd) + t;
                    if (shift >= -2) sum += of_lane[(index * 4 + e) * PADDED];
                    if (shift <= 2) sum += of_lane[((index + 1) * 4 + 2 + e) * PADDED];
                }
            }
        }
    return sum;
}
