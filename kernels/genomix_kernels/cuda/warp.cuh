// What the threads of a warp do together on Ampere and later: products on tensor cores, exchanges, copies to shared memory.
//
// A row is "g" and a column pair is "t" throughout, as in the fragments of mma.m16n8k16: lane = 4 g + t.
// Compiled by NVRTC without any header; tests replace this file by one that computes the same on a CPU.
#pragma once

typedef unsigned int u32;
typedef long long i64;

#define DEVICE __device__ __forceinline__
#define KERNEL extern "C" __global__
#define SHARED_BYTES extern __shared__ __align__(16) unsigned char shared_bytes[]

struct Bf16 { unsigned short bits; };
struct Fp16 { unsigned short bits; };

DEVICE float as_float(u32 x) { return __uint_as_float(x); }
DEVICE int thread_index() { return threadIdx.x; }
DEVICE i64 block_index() { return blockIdx.x; }
DEVICE i64 block_index_y() { return blockIdx.y; }
DEVICE void barrier() { __syncthreads(); }
DEVICE void warp_barrier() { __syncwarp(); }
// the same number, of which the compiler knows nothing: it cannot compute what follows from it ahead of a loop, and keep that
DEVICE int fresh(int x) {
    asm volatile("" : "+r"(x));
    return x;
}

DEVICE float shuffle(float x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
DEVICE u32 shuffle(u32 x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
DEVICE float shuffle_xor(float x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }

// exp(x), to some 1e-7 times 1 + |x|: for tables of 16 bits
DEVICE float fast_exp(float x) { return __expf(x); }

// 16-bit floats, two in a word: the first in the low half

DEVICE float low_bf16(u32 x) { return __uint_as_float(x << 16); }
DEVICE float high_bf16(u32 x) { return __uint_as_float(x & 0xffff0000u); }
DEVICE u32 pack_bf16(float low, float high) {
    u32 packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

DEVICE float low_fp16(u32 x) {
    float value;
    asm("{.reg .b16 a, b; mov.b32 {a, b}, %1; cvt.f32.f16 %0, a;}" : "=f"(value) : "r"(x));
    return value;
}
DEVICE float high_fp16(u32 x) {
    float value;
    asm("{.reg .b16 a, b; mov.b32 {a, b}, %1; cvt.f32.f16 %0, b;}" : "=f"(value) : "r"(x));
    return value;
}
DEVICE u32 pack_fp16(float low, float high) {
    u32 packed;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

// products of 16 x 16 and 16 x 8, added to c

DEVICE void product_bf16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DEVICE void product_fp16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// the same, added to zeros
DEVICE void product_alone_bf16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %10, %10, %10};"
        : "=f"(c[0]), "=f"(c[1]), "=f"(c[2]), "=f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(0.0f));
}
DEVICE void product_alone_fp16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %10, %10, %10};"
        : "=f"(c[0]), "=f"(c[1]), "=f"(c[2]), "=f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(0.0f));
}

// an 8 x 8 matrix of 16-bit values, row g and columns 2 t, 2 t + 1 in each lane, becomes its transpose
DEVICE u32 transposed(u32 x) {
    u32 y;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
    return y;
}
// the lower halves of two words, or the upper ones, as one
DEVICE u32 low_halves(u32 a, u32 b) { return __byte_perm(a, b, 0x5410); }
DEVICE u32 high_halves(u32 a, u32 b) { return __byte_perm(a, b, 0x7632); }

// asynchronous copies of 16 bytes, or zeros; each thread waits for its own only
DEVICE void copy_async(void* to, const void* from, bool is_there) {
    u32 place = static_cast<u32>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from), "r"(is_there ? 16 : 0) : "memory");
}
DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> DEVICE void wait_for_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

DEVICE void store_streaming(void* to, uint4 value) { __stcs(reinterpret_cast<uint4*>(to), value); }

// arithmetic of two fp16 values in a word, and products of fp16 summed in fp16: their results are words already

DEVICE u32 half_add(u32 a, u32 b) {
    u32 sum;
    asm("add.rn.f16x2 %0, %1, %2;" : "=r"(sum) : "r"(a), "r"(b));
    return sum;
}
DEVICE u32 half_sub(u32 a, u32 b) {
    u32 difference;
    asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(difference) : "r"(a), "r"(b));
    return difference;
}
DEVICE u32 half_mul(u32 a, u32 b) {
    u32 scaled;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(scaled) : "r"(a), "r"(b));
    return scaled;
}
DEVICE u32 half_fma(u32 a, u32 b, u32 c) {
    u32 sum;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
    return sum;
}
DEVICE u32 half_neg(u32 a) {
    u32 negative;
    asm("neg.f16x2 %0, %1;" : "=r"(negative) : "r"(a));
    return negative;
}
// c - a b
DEVICE u32 half_fnma(u32 a, u32 b, u32 c) {
    u32 sum;
    asm("{.reg .b32 n; neg.f16x2 n, %1; fma.rn.f16x2 %0, n, %2, %3;}" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
    return sum;
}

DEVICE void product_in_half(u32 (&c)[2], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0, %1}, {%2, %3, %4, %5}, {%6, %7}, {%0, %1};"
        : "+r"(c[0]), "+r"(c[1]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DEVICE void product_alone_in_half(u32 (&c)[2], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0, %1}, {%2, %3, %4, %5}, {%6, %7}, {%8, %8};"
        : "=r"(c[0]), "=r"(c[1]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(0u));
}

DEVICE u32 as_bits(float x) { return __float_as_uint(x); }
// what is read once, past the first-level cache
DEVICE uint4 load_once(const uint4* from) {
    uint4 x;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "l"(from) : "memory");
    return x;
}

// what is read again soon, past the first-level cache, and shall stay in the second
DEVICE uint4 load_again(const uint4* from) {
    unsigned long long policy;
    asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
    uint4 x;
    asm volatile("ld.global.L1::no_allocate.L2::cache_hint.v4.u32 {%0, %1, %2, %3}, [%4], %5;"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "l"(from), "l"(policy) : "memory");
    return x;
}

DEVICE void store_streaming(void* to, uint2 value) { __stcs(reinterpret_cast<uint2*>(to), value); }

// asks that bytes be brought to the L2 cache: by one thread where that is possible (from and n at multiples of 16), else
// a line each by many, of which this is one
DEVICE void prefetch_bytes(const void* from, u32 n, int thread, int threads) {
#if __CUDA_ARCH__ >= 900
    if (thread == 0) asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(n) : "memory");
#else
    for (u32 i = 64 * thread; i < n; i += 64 * threads)
        asm volatile("prefetch.global.L2 [%0];" ::"l"(reinterpret_cast<const char*>(from) + i));
#endif
}

// Work in an order that blocks share: tickets, and counts of what has been done. Only one thread of a block uses them;
// a barrier of the block on either side makes what others wrote before visible to all of its threads.
DEVICE int take_ticket(int* counter) { return atomicAdd(counter, 1); }
DEVICE void signal_done(int* counter) {
    asm volatile("red.release.gpu.global.add.s32 [%0], 1;" ::"l"(counter) : "memory");
}
DEVICE void wait_until_done(const int* counter, int count) {
    int done;
    do asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(done) : "l"(counter) : "memory");
    while (done < count);
}
// past the first cache, which does not see what other multiprocessors write
DEVICE float load_fresh(const float* from) { return __ldcg(from); }
// what is read or written once should be the first to leave the caches
DEVICE float4 load_streaming(const float4* from) { return __ldcs(from); }
DEVICE void store_streaming(void* to, float4 value) { __stcs(reinterpret_cast<float4*>(to), value); }
// a barrier of some of a block's warps, number 0 to 14
DEVICE void barrier_of(int number, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(number + 1), "r"(threads) : "memory");
}
// of numbers that are not negative, over a warp
DEVICE float greatest(float x) {
    u32 most;
    asm volatile("redux.sync.max.u32 %0, %1, 0xffffffff;" : "=r"(most) : "r"(__float_as_uint(x)));
    return __uint_as_float(most);
}

// Blocks of a cluster, from compute capability 9.0 on: one another's shared memory, and barriers
DEVICE int cluster_rank() {
    int rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
// of all threads, for all that they have written; slow
DEVICE void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.release; barrier.cluster.wait.acquire;" ::: "memory");
}
DEVICE u32 shared_address(const void* mine) { return static_cast<u32>(__cvta_generic_to_shared(mine)); }
typedef u32 ClusterAddress;
// where another block has what is `mine` here
DEVICE ClusterAddress address_in_block(const void* mine, int rank) {
    ClusterAddress theirs;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(theirs) : "r"(shared_address(mine)), "r"(rank));
    return theirs;
}
DEVICE uint4 load_there(ClusterAddress from) {
    uint4 x;
    asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "r"(from) : "memory");
    return x;
}
DEVICE uint2 load_two_there(ClusterAddress from) {
    uint2 x;
    asm volatile("ld.shared::cluster.v2.u32 {%0, %1}, [%2];" : "=r"(x.x), "=r"(x.y) : "r"(from) : "memory");
    return x;
}
// Barriers in shared memory, whose phases end when so many have arrived and all bytes that were announced have come.
typedef unsigned long long SharedBarrier;
// before a cluster's barrier, which shows it to the others
DEVICE void start_barrier(SharedBarrier* b, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1; fence.mbarrier_init.release.cluster;"
                 ::"r"(shared_address(b)), "r"(arrivals) : "memory");
}
DEVICE void arrive_expecting(SharedBarrier* b, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes) : "memory");
}
// Shows what this thread and those before it at a barrier wrote to their own block's shared memory, to whom waits with
// `wait_for_others`. Without the cluster's scope, of both, arrivals overtake stores that still wait for their banks: seen on
// an H200, also with a fence of the block's scope.
DEVICE void arrive_there(ClusterAddress b) {
    asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(b) : "memory");
}
DEVICE void send(ClusterAddress to, u32 x, ClusterAddress b) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [%0], %1, [%2];" ::"r"(to), "r"(x), "r"(b) : "memory");
}
DEVICE void send(ClusterAddress to, uint2 x, ClusterAddress b) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.u32 [%0], {%1, %2}, [%3];"
                 ::"r"(to), "r"(x.x), "r"(x.y), "r"(b) : "memory");
}
DEVICE void send(ClusterAddress to, uint4 x, ClusterAddress b) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.u32 [%0], {%1, %2, %3, %4}, [%5];"
                 ::"r"(to), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w), "r"(b) : "memory");
}
// Until the phase of this parity has ended, with all bytes that were sent.
DEVICE void wait_for_phase(SharedBarrier* b, u32 parity) {
    u32 has_ended;
    do asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
                    : "=r"(has_ended) : "r"(shared_address(b)), "r"(parity) : "memory");
    while (!has_ended);
}
// The same, and what others wrote before they arrived can be read there. It empties the first-level cache.
DEVICE void wait_for_others(SharedBarrier* b, u32 parity) {
    u32 has_ended;
    do asm volatile("{.reg .pred p; mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
                    : "=r"(has_ended) : "r"(shared_address(b)), "r"(parity) : "memory");
    while (!has_ended);
}
DEVICE int count_done(const int* counter) {
    int done;
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(done) : "l"(counter) : "memory");
    return done;
}
DEVICE u32 half_max_abs(u32 most, u32 x) {
    u32 result;
    asm("{.reg .b32 a; abs.f16x2 a, %2; max.f16x2 %0, %1, a;}" : "=r"(result) : "r"(most), "r"(x));
    return result;
}
