// Fourier transforms of a row of N = 256 P W CLUSTER real numbers, for products of polynomials modulo x^N = -i.
//
// Padding a row with as many zeros and taking its transform gives 2 N real numbers more than are needed. Modulo x^N = -i
// a causal convolution stays in the real part, and all that passes the end of the row falls into the imaginary part,
// which is dropped: a real row needs N complex points, with no zeros, no pairing of frequencies k and -k, and nothing of
// another row. The roots of x^N = -i are the N-th roots of unity shifted by a quarter: X[k] = sum x[n] exp(-2 pi i n (k +
// 1/4) / N). A correlation is the product with the conjugate.
//
// A transform over n = N / S s + m at frequencies shifted by f is one over s, whose frequency q leaves a transform over m
// at frequencies shifted by (q + f) / S. So a row is split over the S = W warps of a block, or over the S = CLUSTER blocks
// of a cluster and then over the warps of each. Shifts cost nothing: they change the tables of a warp. How values pass from
// those who read them to those who transform them is in onepass_exchange.cuh; where W = 1 rows stay in the registers of a
// warp, and a block holds several of them.
//
// Each row is scaled by a power of two to make good use of fp16, so that the bits of a row depend on it alone.
//
// Defined by the caller: P, W, CLUSTER, TWISTS (if W > 1; of `twists` in onepass_tables.py).
#pragma once

// Where a block has a row of complex numbers, slots may hold one PART at a time: real, then imaginary.
#ifndef PARTS
#define PARTS 2
#endif
constexpr int SHARED_SLOTS = W > 1 ? 32 * PARTS * P * W : 0;  // of 16 bytes
constexpr int CONTROL_BYTES = 128 * ((CLUSTER * W + 31) / 32) + (CLUSTER > 1 ? 256 : 0);  // maxima and barriers
constexpr int SHARERS = CLUSTER > W ? CLUSTER / W : 1;  // blocks of a slice, see onepass_exchange.cuh
constexpr int SLICES = CLUSTER > 1 && CLUSTER < W ? W / CLUSTER : 1;
constexpr int TOGETHER = 4 / SHARERS;

#if CLUSTER > 1
// Where the blocks of a cluster wait for one another. Apart from maxima, values pass between warps of the same number only,
// and only those wait. Phases of one kind are kept apart by others: between two of `largest` there are always one of another
// kind and a barrier of each block, between two of another kind one of `largest`.
struct Meetings {
    SharedBarrier *maxima, *sent, *ready;  // for a warp: what others send to it, and what others have ready for it
    u32 parities;
    // No block writes to another before that has begun, or ends while others may still read from it.
    DEVICE Meetings(const void* end) : parities(0) {
        const Lane at;
        SharedBarrier* first = reinterpret_cast<SharedBarrier*>(const_cast<void*>(end)) - 32;
        maxima = first, sent = first + 1 + at.warp, ready = sent + W;
        if (thread_index() == 0) start_barrier(maxima, 1);
        if (at.lane == 0) start_barrier(sent, 1), start_barrier(ready, CLUSTER);
        cluster_barrier();
    }
    DEVICE ~Meetings() { cluster_barrier(); }
    DEVICE void wait(SharedBarrier* b, int kind) {
        wait_for_phase(b, parities >> kind & 1);
        parities ^= 1 << kind;
    }
    DEVICE float largest(float x, float* of_warps, int q) {
        const int lane = Lane().lane;
        if (thread_index() == 0) arrive_expecting(maxima, 4 * CLUSTER * W);
        if (lane < CLUSTER) send(address_in_block(of_warps + q, lane), as_bits(x), address_in_block(maxima, lane));
        wait(maxima, 0);
#pragma unroll
        for (int i = 0; i < CLUSTER * W; i += 32)
            if (i + lane < CLUSTER * W) x = fmaxf(x, of_warps[i + lane]);
        return greatest(x);
    }
    // before and after a warp's values come: each of the blocks sends its part
    DEVICE void expect() {
        if (Lane().lane == 0) arrive_expecting(sent, 1024 * W);
    }
    DEVICE void wait_for_sent() { wait(sent, 1); }
    // the values that this warp has written are ready for others
    DEVICE void say_ready() {
        warp_barrier();
        if (Lane().lane < CLUSTER) arrive_there(address_in_block(ready, Lane().lane));
    }
    DEVICE void wait_until_ready() {
        wait_for_others(ready, parities >> 2 & 1);
        parities ^= 4;
    }
};
#else
struct Meetings {
    DEVICE Meetings(const void*) {}
    DEVICE float largest(float x, float*, int) { return x; }
};
#endif

struct Row {
    Lane at;
    int rank;  // of this block in its cluster
    int q;     // of this warp among those of the row
    Tables tables;
    uint4* slots;   // of this block, see `slot`
    float* maxima;  // of the warps of the row
    mutable Meetings meetings;

    const uint4 *own, *common;  // tables of rows of 16^3, of this one and of all: see split_cubes.cuh

    DEVICE Row(const uint4* all_tables, unsigned char* shared, const uint4* of_all = nullptr)
        : rank(CLUSTER > 1 ? cluster_rank() : 0), q(W > 1 ? W * rank + at.warp : 0), tables(all_tables, q, at.lane),
          slots(reinterpret_cast<uint4*>(shared)), maxima(reinterpret_cast<float*>(slots + SHARED_SLOTS)),
          meetings(maxima + CONTROL_BYTES / 4), own(all_tables), common(of_all) {}

    DEVICE float largest(float x) const {
        if (IS_COMPLEX) x = greatest(x);
        else
#pragma unroll
            for (int mask = 16; mask; mask /= 2) x = fmaxf(x, shuffle_xor(x, mask));
        if (W == 1) return x;
        if (CLUSTER > 1) return meetings.largest(x, maxima, q);
        if (at.lane == 0) maxima[q] = x;
        barrier();
#pragma unroll
        for (int i = 0; i < W; ++i) x = fmaxf(x, maxima[i]);
        return x;
    }
    // All threads of the row wait for one another.
    DEVICE void meet() const {
        if (CLUSTER > 1) largest(0.0f);
        else if (W > 1) barrier();
    }

    // Where W > 1 a thread reads tokens in units: a pair of columns, row n2 and four tiles from 4 j4 on, for all s (of slice
    // `u` if CLUSTER > 1, which has one unit).
    DEVICE int pair(int u) const { return P == 8 ? at.warp + W * u : 2 * (at.warp + W * u) + at.lane / 16; }
    DEVICE int n2() const { return P == 8 ? at.lane / 2 : at.lane % 16; }
    DEVICE int j4() const { return P == 8 ? at.lane % 2 : 0; }
    // Where two blocks share a slice: a thread has half the tiles of a unit, and a block half the rows of a warp's units
    DEVICE int slice() const { return SHARERS == 1 ? SLICES * rank : rank / SHARERS; }
    DEVICE int half() const { return SHARERS == 1 ? 0 : at.lane % 2; }
    DEVICE int my_n2() const { return SHARERS == 1 ? n2() : 8 * (rank % 2) + (P == 8 ? at.lane / 4 : at.lane % 16 / 2); }
    DEVICE int my_j4() const { return SHARERS == 1 ? j4() : P == 8 ? at.lane % 4 / 2 : 0; }
    // the thread's first token, and how far from it the first of a unit is in column 2 pair + e
    DEVICE int first() const {
        const int n = M / W * slice() + P * (32 * pair(0) + my_n2()) + 4 * my_j4() + 2 * half();
        return CLUSTER > 1 ? fresh(n) : n;
    }
    DEVICE static constexpr int further(int u, int s, int e) {
        return 16 * P * e + (CLUSTER > 1 ? M * s + M / W * u : M / W * s + (P == 8 ? 32 : 64) * P * W * u);
    }
    // Where W = 1: the first token of word i = 2 hh + nb
    DEVICE int first(int i, int e) const { return P * (16 * (2 * at.t + 8 * (i % 2) + e) + at.g + 8 * (i / 2)); }

    // Ask for what this block reads of a row before it is needed.
    DEVICE void ask_for(const Element* x, i64 seqlen) const {
        if (CLUSTER == 1) return ask_for(x, seqlen, W > 1 ? thread_index() : at.lane, 32 * W);
        const i64 from = i64(M) * thread_index() + M / CLUSTER * rank;
        if (thread_index() < CLUSTER && from < seqlen)
            ask_for(x + from, seqlen - from < M / CLUSTER ? seqlen - from : M / CLUSTER, 0, 1);
    }
    DEVICE static void ask_for(const Element* x, i64 n, int thread, int threads) {
        const i64 from = reinterpret_cast<i64>(x), start = (from + 15) / 16 * 16, end = (from + 2 * n) / 16 * 16;
        if (end > start) prefetch_bytes(reinterpret_cast<const void*>(start), u32(end - start), thread, threads);
    }

    // The transform, times the scale whose inverse is returned.
    template <class Source> DEVICE float load(Words& re, Words& im, const Source& source, int top) const;
    // Backward, of which the real part goes to `sink`.
    template <class Sink> DEVICE void store(Words& re, Words& im, const Sink& sink) const;

    // Of onepass_exchange.cuh

    // The value of slot (s, c) of the block's own transform, real or imaginary part c, for four tiles. Lanes of a pass differ
    // in their banks, and what the eight lanes of a pass have of a unit is a line of 128 bytes.
    DEVICE uint4* slot(int s, int c, int pair, int n2, int j4) const {
        const int line = 4 * P * (PARTS * s + c % PARTS) + P / 2 * pair + n2 * P / 32;
        return slots + 8 * line + ((P == 8 ? n2 % 4 + 4 * j4 : n2 % 8) ^ 2 * (pair % 4));
    }
    DEVICE uint4* slot_of_unit(int u, int s, int c) const { return slot(s, c, pair(u), n2(), j4()); }
#if W > 1
    DEVICE void read_tiles(Words& x, int c) const;
    DEVICE void write_tiles(const Words& x, int c) const;
    DEVICE void read_tiles(Words& re, Words& im) const { read_tiles(re, 0), read_tiles(im, 1); }
    DEVICE void write_tiles(const Words& re, const Words& im) const { write_tiles(re, 0), write_tiles(im, 1); }
    // A thread's unit of all slots, in natural or in bit-reversed order
    template <bool IS_REVERSED> DEVICE void read_unit(int u, Tile (&x)[W], int c) const;
    template <bool IS_REVERSED> DEVICE void write_unit(int u, const Tile (&x)[W], int c) const;
#endif
    template <bool IS_BACKWARD> DEVICE void over_slots() const;
    // Where CLUSTER > 1: frequencies of slice u, in bit-reversed order, to the blocks that they belong to, and back
    DEVICE void send_slice(const u32 (&r)[TOGETHER][CLUSTER], const u32 (&i)[TOGETHER][CLUSTER], int u) const;
    DEVICE void fetch_slice(u32 (&r)[TOGETHER][CLUSTER], u32 (&i)[TOGETHER][CLUSTER], int u) const;
};

#if W == 1
template <class Source> DEVICE float Row::load(Words& re, Words& im, const Source& source, int top) const {
    float x[4][2][P], most = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            source.load(first(i, e), x[i][e]);
#pragma unroll
            for (int j = 0; j < P; ++j) most = fmaxf(most, fabsf(x[i][e][j]));
        }
    const Scale scale(largest(most), top);
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < P; ++j) re[j][i] = pack_fp16(scale.up * x[i][0][j], scale.up * x[i][1][j]), im[j][i] = 0;
    transform<true>(re, im, tables);
    return scale.down;
}
template <class Sink> DEVICE void Row::store(Words& re, Words& im, const Sink& sink) const {
    transform_back<true>(re, im, tables);
    constexpr int STEP = Sink::IS_LARGE && P == 8 ? 2 : 4;
#pragma unroll
    for (int start = 0; start < 4; start += STEP) {
        typename Sink::template Aside<P> aside[STEP][2];
#pragma unroll
        for (int i = 0; i < 2 * STEP; ++i) sink.fetch(first(start + i / 2, i % 2), aside[i / 2][i % 2]);
#pragma unroll
        for (int i = start; i < start + STEP; ++i)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                float y[P];
#pragma unroll
                for (int j = 0; j < P; ++j) y[j] = e ? high_fp16(re[j][i]) : low_fp16(re[j][i]);
                sink.store(first(i, e), y, aside[i - start][e]);
            }
    }
}
#endif
