// Columns of a long transform on the way back: planes[k1][n2] -> y[N2 n1 + n2], gated, with the skip term.
//
// Defined by the caller: HAS_SKIP, HAS_PRE, HAS_POST, SECOND (an output besides: 1, without the gate; 2, with `other` as
// its gate; 0, none), GAIN (what undoes all scales of stages).
#pragma once

// eight values of which the first is within the row
DEVICE void store_eight(float* row, i64 n, i64 seqlen, const float (&y)[8]) {
    if (IS_ALIGNED) {
        store_streaming(row + n, four_floats(y[0], y[1], y[2], y[3]));
        store_streaming(row + n + 4, four_floats(y[4], y[5], y[6], y[7]));
    } else
#pragma unroll
        for (int k = 0; k < 8; ++k)
            if (n + k < seqlen) row[n + k] = y[k];
}
DEVICE void store_eight(Element* row, i64 n, i64 seqlen, const float (&y)[8]) {
    u32 words[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) words[k] = pack(y[2 * k], y[2 * k + 1]);
    if (IS_ALIGNED)
        store_streaming(row + n, make_uint4(words[0], words[1], words[2], words[3]));
    else
#pragma unroll
        for (int k = 0; k < 8; ++k)
            if (n + k < seqlen) row[n + k].bits = static_cast<unsigned short>(words[k / 2] >> (k % 2 * 16));
}

// rows of the outputs; what is added or multiplied is in the dtype of the activations
template <class T> struct Result {
    T *y, *second;
    const Element *u, *pre, *post, *other;
    float skip;
    i64 seqlen;
};

struct OutputBytes {
    uint4 entries[UNITS * ENTRIES];
    float loudest[UNITS];
    u32 ratios[N1];
};

template <class T, class Queue>
DEVICE void transform_columns_back(
    unsigned char* bytes, Queue& queue, const Result<T>& result, const uint4* planes, const float* scales, int tile,
    const uint4* tables) {
    OutputBytes& shared = *reinterpret_cast<OutputBytes*>(bytes);
    uint4* entries = shared.entries;
    u32 thread = thread_index(), lane = thread % 32, warp = thread / 32, g = lane / 4, t = lane % 4;
    if (HAS_HOLES) {
        for (u32 k = thread; k < UNITS * ENTRIES; k += THREADS) entries[k] = make_uint4(0, 0, 0, 0);
        barrier();
    }
    {
        constexpr u32 ROW_STEP = THREADS / FOURS;
        u32 k1 = thread / FOURS, four = thread % FOURS;
        const uint4* from = planes + k1 * ROW_CHUNKS + tile * FOURS + four;
#pragma unroll 8
        for (u32 k = 0; k < (N1 + ROW_STEP - 1) / ROW_STEP; ++k, k1 += ROW_STEP)
            if (N1 % ROW_STEP == 0 || k1 < N1)
                copy_async(
                    entries + entry(four / C, k1 % RADIX_A, four % C * RADIX_B + k1 / RADIX_A),
                    from + k * ROW_STEP * ROW_CHUNKS, true);
    }
    commit_copies();
    constexpr int EACH = (N1 + THREADS - 1) / THREADS;
    float mine[EACH], most = 0.0f;
#pragma unroll
    for (int k = 0; k < EACH; ++k) {
        mine[k] = thread + THREADS * k < N1 ? load_fresh(scales + thread + THREADS * k) : 0.0f;
        most = fmaxf(most, mine[k]);
    }
    queue.look_ahead();
    float of_warp = greatest(most);
    if (lane == 0) shared.loudest[warp] = of_warp;
    barrier();
#pragma unroll
    for (int k = 0; k < UNITS; ++k) most = fmaxf(most, shared.loudest[k]);
    float power = power_below(most), inverse = inverse_power(power) * 0.125f;
#pragma unroll
    for (int k = 0; k < EACH; ++k)
        if (thread + THREADS * k < N1) {
            float ratio = mine[k] * inverse;
            shared.ratios[thread + THREADS * k] = pack_fp16(ratio, ratio);
        }
    wait_for_copies<0>();
    barrier();

    // tables: across slots, twiddles [KT], across columns [KT][KT]
    Complex slots;
    u32 minus[4];
    take(slots, tables, lane);
    negated(minus, slots.i);
    uint4* own = entries + entry(warp, g, 2 * t);
    constexpr int AT_ONCE = KT == 1 ? 4 : 2;  // columns of four
#pragma unroll 1
    for (int first = 0; first < 4; first += AT_ONCE) {
        float sums[AT_ONCE][KT][2][4];
#pragma unroll
        for (int v = 0; v < AT_ONCE; ++v)
#pragma unroll
            for (int k = 0; k < KT * 8; ++k) sums[v][k / 8][k / 4 % 2][k % 4] = 0.0f;
#pragma unroll 1
        for (int mt = 0; mt < KT; ++mt) {
            u32 words[8][AT_ONCE];
#pragma unroll
            for (int k = 0; k < 8; ++k) {
                const uint4* at = own + entry_further(mt, k / 2 % 2, k / 4, k % 2);
                if (AT_ONCE == 4) {
                    u32 four[4];
                    take(four, *at);
#pragma unroll
                    for (int v = 0; v < AT_ONCE; ++v) words[k][v] = four[v];
                } else {
                    uint2 two = reinterpret_cast<const uint2*>(at)[first / 2];
                    words[k][0] = two.x, words[k][1] = two.y;
                }
                u32 k1 = 16 * mt + g + k / 2 % 2 * 8 + RADIX_A * ((k / 4 * 8 + 2 * t + k % 2) % RADIX_B);
                u32 ratio = HAS_HOLES && k1 >= N1 ? 0u : shared.ratios[k1];
#pragma unroll
                for (int v = 0; v < AT_ONCE; ++v) words[k][v] = half_mul(words[k][v], ratio);
            }
            Complex turns;
            take(turns, tables + (1 + mt) * 64, lane);
#pragma unroll
            for (int v = 0; v < AT_ONCE; ++v) {
                Complex z;  // rows k_a, columns slots
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    u32 first_word = words[k / 2 * 4 + k % 2 * 2][v], second = words[k / 2 * 4 + k % 2 * 2 + 1][v];
                    z.r[k] = low_halves(first_word, second);
                    z.i[k] = high_halves(first_word, second);
                }
                pack_table_by_data(z, slots.r, slots.i, minus, z);  // rows slots, columns k_a
                twiddle<false>(z, turns);
#pragma unroll
                for (int at = 0; at < KT; ++at) {
                    Complex f;
                    take(f, tables + (1 + KT + at * KT + mt) * 64, lane);
                    times<true>(sums[v][at], f.r, z.r);
                    times<true>(sums[v][at], f.i, z.i);  // the real part: this table is negated
                }
            }
        }
        warp_barrier();
#pragma unroll
        for (int at = 0; at < KT; ++at)
#pragma unroll
            for (int k = 0; k < 8; ++k) {
                float* to = reinterpret_cast<float*>(own + entry_further(at, k / 2 % 2, k / 4, k % 2));
                if (AT_ONCE == 4)
                    *reinterpret_cast<float4*>(to) = four_floats(
                        sums[0][at][k / 4][k % 4], sums[1][at][k / 4][k % 4], sums[AT_ONCE - 2][at][k / 4][k % 4],
                        sums[AT_ONCE - 1][at][k / 4][k % 4]);
                else
                    *reinterpret_cast<float2*>(to + first) =
                        make_float2(sums[0][at][k / 4][k % 4], sums[1][at][k / 4][k % 4]);
            }
    }
    float gain = GAIN * power;
    constexpr u32 STEP = THREADS / GROUPS, OF_EACH = (N1 + STEP - 1) / STEP, AT_A_TIME = OF_EACH < 4 ? OF_EACH : 4;
    u32 n1 = thread / GROUPS, group = thread % GROUPS;
    i64 n = static_cast<i64>(N2) * n1 + static_cast<i64>(TILE) * tile + 8 * group;
#pragma unroll 1
    for (u32 first = 0; first < OF_EACH; first += AT_A_TIME) {
        float x[AT_A_TIME][8], post[HAS_POST ? AT_A_TIME : 1][8], other[SECOND == 2 ? AT_A_TIME : 1][8];
#pragma unroll
        for (u32 k = 0; k < AT_A_TIME; ++k) {
            i64 at = n + static_cast<i64>(N2) * STEP * (first + k);
            if (HAS_SKIP) {
                load_eight(result.u, at, result.seqlen, x[k]);
                if (HAS_PRE) {
                    float gate[8];
                    load_eight(result.pre, at, result.seqlen, gate);
#pragma unroll
                    for (int e = 0; e < 8; ++e) x[k][e] *= gate[e];
                }
            }
            if (HAS_POST) load_eight(result.post, at, result.seqlen, post[HAS_POST ? k : 0]);
            if (SECOND == 2) load_eight(result.other, at, result.seqlen, other[SECOND == 2 ? k : 0]);
        }
        if (first == 0) barrier();
#pragma unroll
        for (u32 k = 0; k < AT_A_TIME; ++k) {
            u32 row = n1 + STEP * (first + k);
            i64 at = n + static_cast<i64>(N2) * STEP * (first + k);
            if (at >= result.seqlen || row >= N1) continue;
            float sum[8];
#pragma unroll
            for (u32 half = 0; half < 2; ++half) {
                u32 four = 2 * group + half;
                float4 values = *reinterpret_cast<const float4*>(
                    entries + entry(four / C, row / RADIX_B, four % C * RADIX_B + row % RADIX_B));
                sum[4 * half] = values.x * gain, sum[4 * half + 1] = values.y * gain;
                sum[4 * half + 2] = values.z * gain, sum[4 * half + 3] = values.w * gain;
            }
#pragma unroll
            for (int e = 0; e < 8; ++e)
                if (HAS_SKIP) sum[e] = fmaf(result.skip, x[k][e], sum[e]);
            if (SECOND) {
                float second[8];
#pragma unroll
                for (int e = 0; e < 8; ++e) second[e] = SECOND == 2 ? sum[e] * other[SECOND == 2 ? k : 0][e] : sum[e];
                store_eight(result.second, at, result.seqlen, second);
            }
#pragma unroll
            for (int e = 0; e < 8; ++e)
                if (HAS_POST) sum[e] *= post[HAS_POST ? k : 0][e];
            store_eight(result.y, at, result.seqlen, sum);
        }
    }
}
