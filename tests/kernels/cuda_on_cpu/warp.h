// Replaces genomix_kernels/cuda/warp.cuh on a CPU: the threads of a block, or of the blocks of a
// cluster, are fibres, which meet where a warp, block or cluster does.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

typedef unsigned int u32;
typedef long long i64;
#define DEVICE inline
#define KERNEL extern "C"
#define SHARED_BYTES unsigned char* shared_bytes = machine.shared[cluster_rank()].data()
#define __launch_bounds__(...)
#define __restrict__

struct Bf16 { unsigned short bits; };
struct Fp16 { unsigned short bits; };
struct alignas(16) uint4 { u32 x, y, z, w; };
struct alignas(8) uint2 { u32 x, y; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
static inline uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }
static inline uint2 make_uint2(u32 x, u32 y) { return {x, y}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline i64 min(i64 a, i64 b) { return a < b ? a : b; }

struct Meeting {
    int arrived = 0, phase = 0;
    u32 in[32][12], out[32][4];
};
struct Jump {
    jmp_buf place;
};
struct Machine {
    std::vector<std::vector<unsigned char>> shared;  // of each block, as `blocks`
    std::vector<ucontext_t> fibres;
    std::vector<std::unique_ptr<char[]>> stacks;
    std::vector<bool> done;
    std::vector<Meeting> warps;
    std::vector<Meeting> blocks;
    Meeting cluster;
    ucontext_t scheduler;
    // after its first entry a fibre is left and met again by jumps, which make no system call as contexts do
    std::vector<std::unique_ptr<Jump>> places;
    std::vector<bool> started;
    jmp_buf scheduler_place;
    int current = 0, n_threads = 0, n_blocks = 1;  // threads of a block, blocks of a cluster
    i64 block_x = 0, block_y = 0;
    std::function<void()> body;
};
static Machine machine;

static inline void yield_fibre() {
    if (_setjmp(machine.places[machine.current]->place) == 0) _longjmp(machine.scheduler_place, 1);
}
static void fibre_main() {
    machine.body();
    machine.done[machine.current] = true;
    _longjmp(machine.scheduler_place, 1);
}
static void run_grid(i64 grid_x, i64 grid_y, int n_blocks, int threads, size_t shared, std::function<void()> body) {
    const int n_threads = n_blocks * threads;
    machine.body = body;
    machine.n_threads = threads, machine.n_blocks = n_blocks;
    for (i64 y = 0; y < grid_y; ++y)
        for (i64 x = 0; x < grid_x; ++x) {
            machine.block_x = x * n_blocks, machine.block_y = y;
            // NaN wherever nothing was written
            machine.shared.assign(n_blocks, std::vector<unsigned char>(shared + 16, 0xff));
            machine.fibres.assign(n_threads, ucontext_t());
            machine.done.assign(n_threads, false);
            machine.started.assign(n_threads, false);
            machine.places.resize(n_threads);
            machine.warps.assign(n_threads / 32, Meeting());
            machine.blocks.assign(n_blocks, Meeting());
            machine.cluster = Meeting();
            machine.stacks.resize(n_threads);
            for (int i = 0; i < n_threads; ++i) {
                if (!machine.stacks[i]) machine.stacks[i].reset(new char[1 << 18]), machine.places[i].reset(new Jump);
                getcontext(&machine.fibres[i]);
                machine.fibres[i].uc_stack.ss_sp = machine.stacks[i].get();
                machine.fibres[i].uc_stack.ss_size = 1 << 18;
                machine.fibres[i].uc_link = &machine.scheduler;
                makecontext(&machine.fibres[i], fibre_main, 0);
            }
            for (int left = n_threads; left;) {
                left = 0;
                for (int i = 0; i < n_threads; ++i)
                    if (!machine.done[i]) {
                        machine.current = i;
                        if (_setjmp(machine.scheduler_place) == 0) {
                            if (machine.started[i]) _longjmp(machine.places[i]->place, 1);
                            machine.started[i] = true;
                            setcontext(&machine.fibres[i]);
                        }
                        left += !machine.done[i];
                    }
            }
        }
}

static inline int cluster_rank() { return machine.current / machine.n_threads; }
static inline int thread_index() { return machine.current % machine.n_threads; }
static inline i64 block_index() { return machine.block_x + cluster_rank(); }
static inline i64 block_index_y() { return machine.block_y; }
static inline void barrier() {
    Meeting& m = machine.blocks[cluster_rank()];
    int phase = m.phase;
    if (++m.arrived == machine.n_threads) m.arrived = 0, ++m.phase;
    else while (m.phase == phase) yield_fibre();
}
static inline void cluster_barrier() {
    Meeting& m = machine.cluster;
    int phase = m.phase;
    if (++m.arrived == machine.n_threads * machine.n_blocks) m.arrived = 0, ++m.phase;
    else while (m.phase == phase) yield_fibre();
}
typedef unsigned char* ClusterAddress;
static inline ClusterAddress address_in_block(const void* mine, int rank) {
    return machine.shared[rank].data() + ((const unsigned char*)mine - machine.shared[cluster_rank()].data());
}
static inline uint4 load_there(ClusterAddress from) { uint4 x; memcpy(&x, from, 16); return x; }
static inline uint2 load_two_there(ClusterAddress from) { uint2 x; memcpy(&x, from, 8); return x; }
struct SharedBarrier {
    short arrivals, awaited;
    int bytes : 31;
    unsigned parity : 1;
    void check() {
        if (!awaited && !bytes) awaited = arrivals, parity ^= 1;
    }
};
static inline void start_barrier(SharedBarrier* b, int arrivals) { *b = {short(arrivals), short(arrivals), 0, 0}; }
static inline void arrive_expecting(SharedBarrier* b, int bytes) { b->bytes += bytes, --b->awaited, b->check(); }
static inline void arrive_there(ClusterAddress b) { arrive_expecting((SharedBarrier*)b, 0); }
template <class T> static void send(ClusterAddress to, T x, ClusterAddress b) {
    memcpy(to, &x, sizeof(T));
    ((SharedBarrier*)b)->bytes -= sizeof(T), ((SharedBarrier*)b)->check();
}
static inline void wait_for_phase(SharedBarrier* b, u32 parity) {
    while (b->parity == parity) yield_fibre();
}
static inline void wait_for_others(SharedBarrier* b, u32 parity) { wait_for_phase(b, parity); }
template <class Op> static void meet(const u32* in, int n_in, u32* out, int n_out, Op op) {
    Meeting& m = machine.warps[machine.current / 32];
    int lane = machine.current % 32, phase = m.phase;
    memcpy(m.in[lane], in, 4 * n_in);
    if (++m.arrived == 32) op(m), m.arrived = 0, ++m.phase;
    else while (m.phase == phase) yield_fibre();
    memcpy(out, m.out[lane], 4 * n_out);
}
static inline void warp_barrier() { meet(nullptr, 0, nullptr, 0, [](Meeting&) {}); }

static inline int fresh(int x) { return x; }
static inline float as_float(u32 x) { float y; memcpy(&y, &x, 4); return y; }
static inline uint4 load_once(const uint4* from) { return *from; }
static inline uint4 load_again(const uint4* from) { return *from; }
static inline u32 as_bits(float x) { u32 y; memcpy(&y, &x, 4); return y; }
static inline u32 shuffle(u32 x, int lane) {
    u32 in[2] = {x, u32(lane & 31)}, out;
    meet(in, 2, &out, 1, [](Meeting& m) { for (int i = 0; i < 32; ++i) m.out[i][0] = m.in[m.in[i][1]][0]; });
    return out;
}
static inline float shuffle(float x, int lane) { return as_float(shuffle(as_bits(x), lane)); }
static inline float shuffle_xor(float x, int mask) { return shuffle(x, (machine.current & 31) ^ mask); }

static inline float low_bf16(u32 x) { return as_float(x << 16); }
static inline float high_bf16(u32 x) { return as_float(x & 0xffff0000u); }
static inline u32 round_bf16(float x) { u32 b = as_bits(x); return (b + 0x7fff + ((b >> 16) & 1)) >> 16; }
static inline u32 pack_bf16(float low, float high) { return round_bf16(low) | round_bf16(high) << 16; }
static inline float from_fp16(u32 x) { _Float16 h; unsigned short b = x; memcpy(&h, &b, 2); return float(h); }
static inline u32 to_fp16(float x) { _Float16 h = (_Float16)x; unsigned short b; memcpy(&b, &h, 2); return b; }
static inline float low_fp16(u32 x) { return from_fp16(x & 0xffff); }
static inline float high_fp16(u32 x) { return from_fp16(x >> 16); }
static inline u32 pack_fp16(float low, float high) { return to_fp16(low) | to_fp16(high) << 16; }

template <bool IS_BF16> static void product_any(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    u32 in[10] = {a[0], a[1], a[2], a[3], b0, b1, as_bits(c[0]), as_bits(c[1]), as_bits(c[2]), as_bits(c[3])}, out[4];
    meet(in, 10, out, 4, [](Meeting& m) {
        auto value = [](u32 w, int e) {
            return IS_BF16 ? (e ? high_bf16(w) : low_bf16(w)) : (e ? high_fp16(w) : low_fp16(w));
        };
        float A[16][16], B[16][8];
        for (int l = 0; l < 32; ++l)
            for (int e = 0; e < 2; ++e) {
                int g = l / 4, k = 2 * (l % 4) + e;
                A[g][k] = value(m.in[l][0], e), A[g + 8][k] = value(m.in[l][1], e);
                A[g][k + 8] = value(m.in[l][2], e), A[g + 8][k + 8] = value(m.in[l][3], e);
                B[k][g] = value(m.in[l][4], e), B[k + 8][g] = value(m.in[l][5], e);
            }
        for (int l = 0; l < 32; ++l)
            for (int i = 0; i < 4; ++i) {
                int row = l / 4 + (i / 2) * 8, column = 2 * (l % 4) + i % 2;
                float sum = as_float(m.in[l][6 + i]);
                for (int k = 0; k < 16; ++k) sum += A[row][k] * B[k][column];
                m.out[l][i] = as_bits(sum);
            }
    });
    for (int i = 0; i < 4; ++i) c[i] = as_float(out[i]);
}
static inline void product_bf16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) { product_any<true>(c, a, b0, b1); }
static inline void product_fp16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) { product_any<false>(c, a, b0, b1); }
static inline void product_alone_bf16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    for (float& x : c) x = 0;
    product_any<true>(c, a, b0, b1);
}
static inline void product_alone_fp16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    for (float& x : c) x = 0;
    product_any<false>(c, a, b0, b1);
}
static inline float fast_exp(float x) { return expf(x); }
static inline u32 transposed(u32 x) {
    u32 out;
    meet(&x, 1, &out, 1, [](Meeting& m) {
        auto at = [&](int row, int column) { return m.in[4 * row + column / 2][0] >> (16 * (column % 2)) & 0xffff; };
        for (int l = 0; l < 32; ++l) m.out[l][0] = at(2 * (l % 4), l / 4) | at(2 * (l % 4) + 1, l / 4) << 16;
    });
    return out;
}
static inline u32 low_halves(u32 a, u32 b) { return (a & 0xffffu) | b << 16; }
static inline u32 high_halves(u32 a, u32 b) { return a >> 16 | (b & 0xffff0000u); }
static inline void copy_async(void* to, const void* from, bool is_there) {
    if (is_there) memcpy(to, from, 16);
    else memset(to, 0, 16);
}
static inline void commit_copies() {}
template <int N> static void wait_for_copies() {}
static inline void store_streaming(void* to, uint4 value) { memcpy(to, &value, 16); }

template <class Op> static inline u32 half_by_half(u32 a, u32 b, u32 c, Op op) {
    return to_fp16(op(low_fp16(a), low_fp16(b), low_fp16(c))) | to_fp16(op(high_fp16(a), high_fp16(b), high_fp16(c))) << 16;
}
static inline u32 half_add(u32 a, u32 b) { return half_by_half(a, b, 0, [](float x, float y, float) { return x + y; }); }
static inline u32 half_sub(u32 a, u32 b) { return half_by_half(a, b, 0, [](float x, float y, float) { return x - y; }); }
static inline u32 half_mul(u32 a, u32 b) { return half_by_half(a, b, 0, [](float x, float y, float) { return x * y; }); }
static inline u32 half_neg(u32 a) { return a ^ 0x80008000u; }
static inline u32 half_fma(u32 a, u32 b, u32 c) { return half_by_half(a, b, c, [](float x, float y, float z) { return x * y + z; }); }
static inline u32 half_fnma(u32 a, u32 b, u32 c) { return half_by_half(a, b, c, [](float x, float y, float z) { return z - x * y; }); }
static inline void product_in_half(u32 (&c)[2], const u32 (&a)[4], u32 b0, u32 b1) {
    float sums[4] = {low_fp16(c[0]), high_fp16(c[0]), low_fp16(c[1]), high_fp16(c[1])};
    product_any<false>(sums, a, b0, b1);
    c[0] = pack_fp16(sums[0], sums[1]), c[1] = pack_fp16(sums[2], sums[3]);
}
static inline void product_alone_in_half(u32 (&c)[2], const u32 (&a)[4], u32 b0, u32 b1) {
    c[0] = c[1] = 0;
    product_in_half(c, a, b0, b1);
}
static inline void store_streaming(void* to, uint2 value) { memcpy(to, &value, 8); }
static inline void prefetch_bytes(const void*, u32, int, int) {}

// blocks run one after the other, so whatever is waited for has been done
static inline int take_ticket(int* counter) { return (*counter)++; }
static inline void signal_done(int* counter) { ++*counter; }
static inline void wait_until_done(const int* counter, int count) {
    for (int k = 0; *counter < count; ++k) {
        if (k == 1000) abort();  // the block's other threads cannot do it either
        yield_fibre();
    }
}
static inline float load_fresh(const float* from) { return *from; }
static inline float4 load_streaming(const float4* from) { return *from; }
static inline void store_streaming(void* to, float4 value) { memcpy(to, &value, 16); }
static Meeting parts_of_block[15];
static inline void barrier_of(int number, int threads) {
    Meeting& m = parts_of_block[number];
    int phase = m.phase;
    if (++m.arrived == threads) m.arrived = 0, ++m.phase;
    else while (m.phase == phase) yield_fibre();
}
static inline float greatest(float x) {
    u32 in = as_bits(x), out;
    meet(&in, 1, &out, 1, [](Meeting& m) {
        u32 most = 0;
        for (int l = 0; l < 32; ++l) most = m.in[l][0] > most ? m.in[l][0] : most;
        for (int l = 0; l < 32; ++l) m.out[l][0] = most;
    });
    return as_float(out);
}
static inline int count_done(const int* counter) { return *counter; }
static inline u32 half_max_abs(u32 most, u32 x) { return half_by_half(most, x, 0, [](float a, float b, float) { return fmaxf(a, fabsf(b)); }); }
