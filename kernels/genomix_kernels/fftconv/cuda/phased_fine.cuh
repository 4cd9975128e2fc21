// Long convolutions in fp32 throughout, the same right-angled transform as in phased.cuh on CUDA cores: M = N1 N2,
// powers of two, autosorting transforms in shared memory, planes of (real, imaginary) pairs in natural order.
//
// Defined by the caller: N1, N2, LANES (columns of a block), INPUT (the dtype of signals).
#pragma once

constexpr int THREADS = 256;
constexpr i64 SIZE = static_cast<i64>(N1) * N2;

DEVICE float2 times(float2 x, float2 y) {
    return make_float2(fmaf(x.x, y.x, -x.y * y.y), fmaf(x.x, y.y, x.y * y.x));
}
DEVICE float2 conjugate(float2 x) { return make_float2(x.x, -x.y); }
DEVICE float2 plus(float2 x, float2 y) { return make_float2(x.x + y.x, x.y + y.y); }
DEVICE float2 minus(float2 x, float2 y) { return make_float2(x.x - y.x, x.y - y.y); }

// `lanes` interleaved transforms of n points; turns[j] = exp(-2 pi i j / n). Returns where the result lies, x or y.
DEVICE float2* transform(float2* x, float2* y, int n, int lanes, const float2* turns) {
    int step = lanes, all = n * lanes;
    for (int left = n; left > 1;) {
        barrier();
        int radix = left % 4 ? 2 : 4, part = left / radix;
        for (int k = thread_index(); k < all / radix; k += THREADS) {
            int q = k % step, p = k / step, apart = step * part;
            const float2* from = x + q + step * p;
            float2* to = y + q + step * radix * p;
            int turn = n / left * p;
            float2 a = from[0], b = from[apart];
            if (radix == 2) {
                to[0] = plus(a, b);
                to[step] = times(minus(a, b), turns[turn]);
                continue;
            }
            float2 c = from[2 * apart], d = from[3 * apart];
            float2 even = plus(a, c), odd = plus(b, d), less = minus(a, c), turned = minus(b, d);
            turned = make_float2(turned.y, -turned.x);
            to[0] = plus(even, odd);
            to[step] = times(plus(less, turned), turns[turn]);
            to[2 * step] = times(minus(even, odd), turns[2 * turn]);
            to[3 * step] = times(minus(less, turned), turns[3 * turn]);
        }
        left = part;
        step *= radix;
        float2* swapped = x;
        x = y, y = swapped;
    }
    barrier();
    return x;
}

// exp(-2 pi i j / 4 M), j < 4 M, of two tables: [4 M / 4096] coarse ones and [4096] fine ones
DEVICE float2 turn_of(const float2* coarse, const float2* fine, i64 j) {
    return times(coarse[j >> 12], fine[j & 4095]);
}
