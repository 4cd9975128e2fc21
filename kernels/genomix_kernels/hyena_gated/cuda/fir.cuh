// Filters of 9 to 128 taps shared by a group of channels. A warp walks 16 channels of one group along a stretch of tokens,
// 64 at a time; the four warps of a block walk neighbouring stretches with the same tables.
//
// Rows of a product are channels, so that one table serves all of them and what a filter remembers stays where it is: the
// blocks of 32 tokens before (or after) lie in registers, as fragments. With y_b for a block of outputs, y_b = sum_D
// m_{b-D} T_D and dm_b = sum_D f_{b+D} T_D^T, D = 0 .. DISTANCES - 1.
#pragma once

constexpr int DISTANCES = (K + 30) / 32 + 1;
constexpr int RING = DISTANCES + 1;  // blocks that two blocks of outputs need
constexpr int STEP = CHUNK;
constexpr int PAST_STEPS = DISTANCES / 2;  // steps of which only the inputs matter: 2 blocks each

#if IS_EXACT  // taps in the dtype of the activations: nothing is left out by their high part
typedef uint2 Fragment;
DEVICE Fragment fragment_of(uint4 words) { return make_uint2(words.x, words.y); }
#else
typedef uint4 Fragment;
DEVICE Fragment fragment_of(uint4 words) { return words; }
#endif

typedef u32 Block[2][4];  // words of 32 tokens: [hh][p]

struct Channels {
    i64 b, first, end;  // sequence; tokens of this warp's stretch
    int group, channel[2];
    bool are_rows[2];
    // a block for every four stretches of every part of 16 channels of every group of every sequence
    DEVICE Channels(const Place& at, i64 seqlen, int n_groups, int group_size, int n_blocks, i64 stretch) {
        i64 block = block_index();
        const int parts = (group_size + ROWS - 1) / ROWS;
        first = ((block % n_blocks) * WARPS + at.warp) * stretch;
        end = min(first + stretch, seqlen);
        block /= n_blocks;
        const int part = block % parts;
        block /= parts;
        group = block % n_groups;
        b = block / n_groups;
#pragma unroll
        for (int hh = 0; hh < 2; ++hh) {
            const int within = part * ROWS + at.g + 8 * hh;
            are_rows[hh] = within < group_size;
            channel[hh] = group * group_size + (are_rows[hh] ? within : 0);
        }
    }
};

// the filter, that of lag 0 first, and its tables
template <class Parameter> DEVICE void load_filter(float* h, const Parameter* taps, int group) {
    for (int i = thread_index(); i < K; i += THREADS) h[i] = load(taps, i64(group) * K + (IS_REVERSED ? K - 1 - i : i));
    barrier();
}
DEVICE void make_table(Fragment* table, const float* h, const Place& at, bool is_transposed) {
    for (int i = at.warp; i < DISTANCES * SHIFTS; i += WARPS)
        table[i * 32 + at.lane] = fragment_of(toeplitz_fragment(h, K, at, i, is_transposed));
}

// the featurizers of k, v and q of each row
typedef float RowTaps[3][ROWS][4];
template <class Parameter>
DEVICE void load_row_taps(
    RowTaps& to, const Parameter* featurizer, const Channels& mine, const Place& at, i64 row_stream, i64 row_channel) {
    if (at.warp > 0 || at.t == 3) return;
    const int stream = at.t;
#pragma unroll
    for (int hh = 0; hh < 2; ++hh) {
        float taps[3];
        load_taps(taps, featurizer, mine.channel[hh] * row_channel + (stream == 0 ? 1 : stream == 1 ? 2 : 0) * row_stream);
#pragma unroll
        for (int i = 0; i < 3; ++i) to[stream][at.g + 8 * hh][i] = taps[i];
    }
}
DEVICE void row_taps(const RowTaps& from, int stream, int hh, const Place& at, float (&taps)[3]) {
    const float4 all = *reinterpret_cast<const float4*>(from[stream][at.g + 8 * hh]);
    taps[0] = all.x, taps[1] = all.y, taps[2] = all.z;
}

DEVICE void block_rows(const Block& m, int kb, u32 (&a)[4]) {
    a[0] = m[0][2 * kb];
    a[1] = m[1][2 * kb];
    a[2] = m[0][2 * kb + 1];
    a[3] = m[1][2 * kb + 1];
}

// Two blocks of outputs. The blocks of `ring` are in the order of time; forward the last two are the outputs' own,
// transposed the first two.
template <bool IS_TRANSPOSED>
DEVICE void times_filter(float (&y)[8][4], const Block (&ring)[RING], const Fragment* table, int lane) {
#pragma unroll
    for (int distance = 0; distance < DISTANCES; ++distance) {
        Fragment words[SHIFTS];
#pragma unroll
        for (int s = 0; s < SHIFTS; ++s) words[s] = table[(distance * SHIFTS + s) * 32 + lane];
#pragma unroll
        for (int ch = 0; ch < 2; ++ch)
#pragma unroll
            for (int kb = 0; kb < 2; ++kb) {
                u32 a[4];
                block_rows(ring[IS_TRANSPOSED ? ch + distance : RING - 2 + ch - distance], kb, a);
#pragma unroll
                for (int p = 0; p < 4; ++p) {
                    const int s = p - 2 * kb + 2;
                    if (distance == 0 && kb == 0) product_alone(y[4 * ch + p], a, words[s].x, words[s].y);
                    else product(y[4 * ch + p], a, words[s].x, words[s].y);
#if !IS_EXACT
                    product(y[4 * ch + p], a, words[s].z, words[s].w);
#endif
                }
            }
    }
}

// Forget the two oldest blocks; backward, where time runs the other way, the two latest.
template <bool IS_BACKWARD> DEVICE void move_ring(Block (&ring)[RING]) {
#pragma unroll
    for (int i = 0; i < RING - 2; ++i)
#pragma unroll
        for (int w = 0; w < 8; ++w) {
            if (IS_BACKWARD) ring[RING - 1 - i][w / 4][w % 4] = ring[RING - 3 - i][w / 4][w % 4];
            else ring[i][w / 4][w % 4] = ring[i + 2][w / 4][w % 4];
        }
}

// The two tokens before each segment of a step, given the last words of its segments and of the step before.
DEVICE void pairs_before(const u32 (&ends)[2][2], const u32 (&last)[2], const Place& at, u32 (&before)[2][2]) {
#pragma unroll
    for (int hh = 0; hh < 2; ++hh) {
        const u32 first = at.t == 3 ? last[hh] : ends[hh][0], second = at.t == 3 ? ends[hh][0] : ends[hh][1];
        const int source = at.t ? at.lane - 1 : at.lane + 3;
        before[hh][0] = shuffle(first, source);
        before[hh][1] = shuffle(second, source);
    }
}DEVICE void pairs_before(const Words& x, const u32 (&last)[2], const Place& at, u32 (&before)[2][2]) {
    const u32 ends[2][2] = {{x[0][0][3], x[0][1][3]}, {x[1][0][3], x[1][1][3]}};
    pairs_before(ends, last, at, before);
}

// What a lane needs of the values after each of its segments; `next` are the first two of the step after.
DEVICE void pairs_after(const float (&first)[2][2][2], const float (&next)[2][2], const Place& at, float (&after)[2][2][2]) {
#pragma unroll
    for (int hh = 0; hh < 2; ++hh)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const int source = at.t < 3 ? at.lane + 1 : at.lane - 3;
            after[hh][0][e] = shuffle(at.t == 0 ? first[hh][1][e] : first[hh][0][e], source);
            after[hh][1][e] = shuffle(at.t == 0 ? next[hh][e] : first[hh][1][e], source);
        }
}

// The adjoint of the featurizer and the gradients of its taps, for one segment.
DEVICE void segment_backward(
    float (&sums)[3], float (&dx)[8], const float (&dz)[8], const float (&after)[2], const u32 (&x)[4], u32 before,
    const float (&taps)[3]) {
    adjoint(dz, after, taps, dx);
    add_to_taps(sums, dz, x, before);
}

DEVICE uint4 packed(const float (&x)[8]) {
    return make_uint4(pack(x[0], x[1]), pack(x[2], x[3]), pack(x[4], x[5]), pack(x[6], x[7]));
}

// Products of M^T F for the distances from FIRST on, of two blocks of one with those of the other's ring.
template <int FIRST, int N, bool IS_M_RING>
DEVICE void add_diagonals(float (&sums)[N * SHIFTS][4], const Block (&ring)[RING], const Block (&own)[2]) {
#pragma unroll
    for (int ch = 0; ch < 2; ++ch) {
        u32 own_t[2][4];
#pragma unroll
        for (int w = 0; w < 8; ++w) own_t[w / 4][w % 4] = transposed(own[ch][w / 4][w % 4]);
#pragma unroll
        for (int distance = 0; distance < N; ++distance) {
            const Block& other = ring[IS_M_RING ? RING - 2 + ch - FIRST - distance : ch + FIRST + distance];
            u32 other_t[2][4];
#pragma unroll
            for (int w = 0; w < 8; ++w) other_t[w / 4][w % 4] = transposed(other[w / 4][w % 4]);
#pragma unroll
            for (int pair = 0; pair < 2; ++pair) {
                u32 a[4];
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    a[i] = IS_M_RING ? other_t[i / 2][2 * pair + i % 2] : own_t[i / 2][2 * pair + i % 2];
#pragma unroll
                for (int p = 0; p < 4; ++p)
                    product(sums[diagonal_of(distance, pair, p)], a, IS_M_RING ? own_t[0][p] : other_t[0][p],
                            IS_M_RING ? own_t[1][p] : other_t[1][p]);
            }
        }
    }
}

// sums of a channel over the lanes that share it
DEVICE float sum_of_row(float x) {
    x += shuffle_xor(x, 1);
    return x + shuffle_xor(x, 2);
}
