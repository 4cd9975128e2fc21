// Rows in fp32, planes [row][k1][n2]. KIND 0: a spectrum, in place. 1: times the filter's spectrum and back, in place;
// 2 likewise, for a correlation. 3: products conj(x) dy summed over the batch, in order, and back, to x's first row.
//
// Defined by the caller: what phased_fine.cuh asks for, and KIND.

KERNEL void __launch_bounds__(THREADS) phased_fine_rows(
    float2* planes, const float2* __restrict__ others, const float2* __restrict__ turns, i64 batch) {
    SHARED_BYTES;
    float2* space = reinterpret_cast<float2*>(shared_bytes);
    i64 row = block_index_y(), of_row = block_index() * N2;
    float2* mine = planes + (KIND == 3 ? row * batch : row) * SIZE + of_row;
    const float2* its = others + (KIND == 3 ? row * batch : row / batch) * SIZE + of_row;
    constexpr int EACH = N2 / THREADS;
    float2 kept[EACH], sum[EACH];
    for (int b = 0; b < (KIND == 3 ? batch : 1); ++b) {
        for (int which = 0; which < (KIND == 3 ? 2 : 1); ++which) {
            const float2* from = (which ? its : mine) + b * SIZE;
            barrier();
            for (int k = 0; k < EACH; ++k) space[thread_index() + THREADS * k] = from[thread_index() + THREADS * k];
            const float2* z = transform(space, space + N2, N2, 1, turns);
            for (int k = 0; k < EACH; ++k) {
                float2 value = z[thread_index() + THREADS * k];
                if (KIND != 3) sum[k] = value;
                else if (which == 0) kept[k] = conjugate(value);
                else sum[k] = b ? plus(sum[k], times(kept[k], value)) : times(kept[k], value);
            }
        }
    }
    if (KIND == 0) {
        for (int k = 0; k < EACH; ++k) mine[thread_index() + THREADS * k] = sum[k];
        return;
    }
    barrier();
    for (int k = 0; k < EACH; ++k) {
        int at = thread_index() + THREADS * k;
        float2 value = sum[k];
        if (KIND == 1) value = times(value, its[at]);
        if (KIND == 2) value = times(value, conjugate(its[at]));
        space[at] = conjugate(value);
    }
    const float2* z = transform(space, space + N2, N2, 1, turns);
    for (int k = 0; k < EACH; ++k) mine[thread_index() + THREADS * k] = conjugate(z[thread_index() + THREADS * k]);
}
