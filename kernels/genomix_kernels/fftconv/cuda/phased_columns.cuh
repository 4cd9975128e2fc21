// Columns of a long transform: x[N2 n1 + n2] -> planes[k1][n2], a tile of columns a block.
//
// Defined by the caller: HAS_GATE, and what phased.cuh asks for.
#pragma once

template <class T> struct Signal {
    const T *u, *gate;  // of a row
    i64 seqlen;
    DEVICE void read(u32 n1, i64 column, float (&x)[8]) const {
        i64 n = static_cast<i64>(N2) * n1 + column;
        load_eight(u, n, seqlen, x);
        if (HAS_GATE && gate != nullptr) {
            float g[8];
            load_eight(gate, n, seqlen, g);
#pragma unroll
            for (int k = 0; k < 8; ++k) x[k] *= g[k];
        }
    }
};

// Where the real inputs lie until a warp takes them: 8 bytes for four columns
DEVICE u32 input_entry(u32 unit, u32 a, u32 s) {
    return unit * (2 * ENTRIES) + a * 16 + (s ^ (((a >> 1 ^ unit >> 1) & 3) << 2));
}

struct ColumnBytes {
    uint4 entries[UNITS * ENTRIES];
    float loudest[UNITS];
};

template <class T, class Queue>
DEVICE void transform_columns(
    unsigned char* bytes, Queue& queue, const Signal<T>& signal, uint4* planes, float* scales, int tile,
    const uint4* tables) {
    ColumnBytes& shared = *reinterpret_cast<ColumnBytes*>(bytes);
    uint4* outputs = shared.entries;
    uint2* inputs = reinterpret_cast<uint2*>(outputs);
    u32 thread = thread_index(), lane = thread % 32, warp = thread / 32, g = lane / 4, t = lane % 4;

    constexpr u32 STEP = THREADS / GROUPS, EACH = (N1 + STEP - 1) / STEP;
    constexpr bool KEEPS = EACH <= 4;  // else it is read twice, the second time from a cache
    u32 first = thread / GROUPS, group = thread % GROUPS;
    i64 column = static_cast<i64>(TILE) * tile + 8 * group;
    float kept[KEEPS ? EACH : 1][8], most = 0.0f;
#pragma unroll(KEEPS ? EACH : 4)
    for (u32 k = 0; k < EACH; ++k) {
        u32 n1 = first + STEP * k;
        float(&x)[8] = kept[KEEPS ? k : 0];
        if (N1 % STEP == 0 || n1 < N1) {
            signal.read(n1, column, x);
            if (!KEEPS)
#pragma unroll
                for (int e = 0; e < 8; ++e) most = fmaxf(most, fabsf(x[e]));
        } else
#pragma unroll
            for (int e = 0; e < 8; ++e) x[e] = 0.0f;
    }
    queue.look_ahead();
    if (KEEPS)
#pragma unroll
        for (u32 k = 0; k < 8 * EACH; ++k) most = fmaxf(most, fabsf(kept[KEEPS ? k / 8 : 0][k % 8]));
    most = greatest(most);
    if (lane == 0) shared.loudest[warp] = most;
    if (HAS_HOLES)
        for (u32 k = thread; k < UNITS * ENTRIES; k += THREADS) outputs[k] = make_uint4(0, 0, 0, 0);
    barrier();
#pragma unroll
    for (int k = 0; k < UNITS; ++k) most = fmaxf(most, shared.loudest[k]);
    float power = power_below(most), scale = inverse_power(power) * LOUDEST;
    if (thread == 0) scales[tile] = power;
#pragma unroll(KEEPS ? EACH : 4)
    for (u32 k = 0; k < EACH; ++k) {
        u32 n1 = first + STEP * k;
        float(&x)[8] = kept[KEEPS ? k : 0];
        if (N1 % STEP == 0 || n1 < N1) {
            if (!KEEPS) signal.read(n1, column, x);
#pragma unroll
            for (u32 half = 0; half < 2; ++half) {
                u32 four = 2 * group + half;
                const float* values = x + 4 * half;
                inputs[input_entry(four / C, n1 / RADIX_B, four % C * RADIX_B + n1 % RADIX_B)] = make_uint2(
                    pack_fp16(values[0] * scale, values[1] * scale), pack_fp16(values[2] * scale, values[3] * scale));
            }
        }
    }
    barrier();

    // rows slot, columns a
    u32 x[4][KT][4];
    u32 at = input_entry(warp, 2 * t, g);
#pragma unroll
    for (int kt = 0; kt < KT; ++kt)
#pragma unroll
        for (int nt = 0; nt < 2; ++nt)
#pragma unroll
            for (int kk = 0; kk < 2; ++kk) {
                const uint2* from = inputs + (at ^ 8 * nt) + 16 * (16 * kt + 8 * kk);
                uint2 p = from[0], q = from[16];
                x[0][kt][nt + 2 * kk] = low_halves(p.x, q.x);
                x[1][kt][nt + 2 * kk] = high_halves(p.x, q.x);
                x[2][kt][nt + 2 * kk] = low_halves(p.y, q.y);
                x[3][kt][nt + 2 * kk] = high_halves(p.y, q.y);
            }
    warp_barrier();

    // tables: across columns [KT][KT], twiddles [KT], across slots
    Complex slots;
    u32 minus[4];
    take(slots, tables + (KT * KT + KT) * 64, lane);
    negated(minus, slots.i);
    uint4* to_entry = outputs + entry(warp, g, 2 * t);
#pragma unroll 1
    for (int mt = 0; mt < KT; ++mt) {
        Complex turns;
        take(turns, tables + (KT * KT + mt) * 64, lane);
        u32 words[4][8];
#pragma unroll
        for (int v = 0; v < 4; ++v) {
            Sums c;
            Complex z;
#pragma unroll
            for (int kt = 0; kt < KT; ++kt) {
                Complex f;
                take(f, tables + (mt * KT + kt) * 64, lane);
                if (COARSE) times_in_half(z.r, f.r, x[v][kt], kt > 0), times_in_half(z.i, f.i, x[v][kt], kt > 0);
                else if (kt == 0) times<false>(c.r, f.r, x[v][kt]), times<false>(c.i, f.i, x[v][kt]);
                else times<true>(c.r, f.r, x[v][kt]), times<true>(c.i, f.i, x[v][kt]);
            }
            if (!COARSE) pack(z, c);
            twiddle<false>(z, turns);
            data_by_table(c, z, slots.r, slots.i, minus);
#pragma unroll
            for (int k = 0; k < 8; ++k) words[v][k] = pack_fp16(c.r[k / 4][k % 4], c.i[k / 4][k % 4]);
        }
#pragma unroll
        for (int k = 0; k < 8; ++k)
            to_entry[entry_further(mt, k / 2 % 2, k / 4, k % 2)] =
                make_uint4(words[0][k], words[1][k], words[2][k], words[3][k]);
    }
    barrier();
    constexpr u32 ROW_STEP = THREADS / FOURS;
    u32 k1 = thread / FOURS, four = thread % FOURS;
    uint4* to = planes + k1 * ROW_CHUNKS + tile * FOURS + four;
#pragma unroll 8
    for (u32 k = 0; k < (N1 + ROW_STEP - 1) / ROW_STEP; ++k, k1 += ROW_STEP)
        if (N1 % ROW_STEP == 0 || k1 < N1)
            to[k * ROW_STEP * ROW_CHUNKS] = outputs[entry(four / C, k1 % RADIX_A, four % C * RADIX_B + k1 / RADIX_A)];
}
