// What the one-pass convolutions read and write: signals, filters and their transforms.
//
// Defined by the caller: P, W, CLUSTER, IS_COMPLEX, VECTOR (neighbours at once: 1, 2, 4 or 8).
#pragma once

constexpr int M = 256 * P * W, N = CLUSTER * M;  // points of a block and of a row
// Rows of 16^3 complex numbers, all to a block: split_cubes.cuh
constexpr bool IS_CUBE = IS_COMPLEX && CLUSTER == 1 && P == 4 && W == 4;
// Numbers of a row that are so far apart share a word, where rows are complex: see split_rows.cuh
constexpr int HALF = IS_CUBE ? 256 : 16 * P;
// Where in its line of eight chunks of four words chunk c is, in the line of word n: rows of 16^3 are read and written by lanes
// that are 512 words apart, and shall find them in different banks.
DEVICE int chunk_of_line(int c, int n) {
    const int t = n / 512 % 4;
    return IS_CUBE ? c ^ 2 * (t % 2) ^ 5 * (t / 2) : c;
}

// Where real numbers come from and go to: neighbouring ones, from n on. None beyond the end of a row.

// COUNT neighbouring tokens as they are in memory
template <int COUNT> struct Tokens {
    u32 words[(COUNT + 1) / 2];
    DEVICE float value(int i) const { return i % 2 ? high_of(words[i / 2]) : low_of(words[i / 2]); }
    DEVICE void fetch(const Element* from, int n, int seqlen) {
#pragma unroll
        for (int i = 0; i < (COUNT + 1) / 2; ++i) words[i] = 0u;
        if (COUNT % VECTOR == 0 && VECTOR > 1) {
#pragma unroll
            for (int i = 0; i < COUNT; i += VECTOR) {
                if (n + i >= seqlen) continue;
                if (VECTOR == 8) {
                    const uint4 x = *reinterpret_cast<const uint4*>(from + n + i);
                    words[i / 2] = x.x, words[i / 2 + 1] = x.y, words[i / 2 + 2] = x.z, words[i / 2 + 3] = x.w;
                } else if (VECTOR == 4) {
                    const uint2 x = *reinterpret_cast<const uint2*>(from + n + i);
                    words[i / 2] = x.x, words[i / 2 + 1] = x.y;
                } else {
                    words[i / 2] = *reinterpret_cast<const u32*>(from + n + i);
                }
            }
        } else {
#pragma unroll
            for (int i = 0; i < COUNT; ++i)
                if (n + i < seqlen) words[i / 2] |= u32(from[n + i].bits) << (16 * (i % 2));
        }
    }
    DEVICE void leave(Element* to, int n, int seqlen) const {
        if (COUNT % VECTOR == 0 && VECTOR > 1) {
#pragma unroll
            for (int i = 0; i < COUNT; i += VECTOR) {
                if (n + i >= seqlen) continue;
                const u32* w = words + i / 2;
                if (VECTOR == 8) store_streaming(to + n + i, make_uint4(w[0], w[1], w[2], w[3]));
                else if (VECTOR == 4) store_streaming(to + n + i, make_uint2(w[0], w[1]));
                else *reinterpret_cast<u32*>(to + n + i) = w[0];
            }
        } else {
#pragma unroll
            for (int i = 0; i < COUNT; ++i)
                if (n + i < seqlen) to[n + i].bits = words[i / 2] >> (16 * (i % 2));
        }
    }
};

struct Signal {
    const Element *x, *gate;  // no gate: null
    int seqlen;
    template <int COUNT> DEVICE void load(int n, float (&v)[COUNT]) const {
        Tokens<COUNT> tokens, by;
        tokens.fetch(x, n, seqlen);
        if (gate != nullptr) by.fetch(gate, n, seqlen);
#pragma unroll
        for (int i = 0; i < COUNT; ++i) v[i] = gate != nullptr ? tokens.value(i) * by.value(i) : tokens.value(i);
    }
};

struct Filter {
    const float* h;
    int filter_len;
    template <int COUNT> DEVICE void load(int n, float (&v)[COUNT]) const {
        if (COUNT % 4 == 0 && VECTOR >= 4) {
#pragma unroll
            for (int i = 0; i < COUNT; i += 4) {
                float4 x = {0.0f, 0.0f, 0.0f, 0.0f};
                if (n + i < filter_len) x = *reinterpret_cast<const float4*>(h + n + i);
                v[i] = x.x, v[i + 1] = x.y, v[i + 2] = x.z, v[i + 3] = x.w;
            }
        } else {
#pragma unroll
            for (int i = 0; i < COUNT; ++i) v[i] = n + i < filter_len ? h[n + i] : 0.0f;
        }
    }
};

// y = gate v, or v where it HAS_GATE not. If OTHER, `second` gets v (1) or x v (2) besides. All that is read is read before
// anything is written, since the compiler cannot know that they are different places.
template <bool HAS_GATE, int OTHER> struct Output {
    static constexpr bool IS_LARGE = HAS_GATE && OTHER == 2;  // better in several steps
    Element *y, *second;
    const Element *gate, *x;
    int seqlen;
    float scale;
    template <int COUNT> struct Aside {
        Tokens<COUNT> gate, x;
    };
    template <int COUNT> DEVICE void fetch(int n, Aside<COUNT>& aside) const {
        if (HAS_GATE) aside.gate.fetch(gate, n, seqlen);
        if (OTHER == 2) aside.x.fetch(x, n, seqlen);
    }
    template <int COUNT> DEVICE void store(int n, const float (&v)[COUNT], const Aside<COUNT>& aside) const {
        Tokens<COUNT> out, other;
#pragma unroll
        for (int i = 0; i < COUNT; i += 2) {
            const float low = scale * v[i], high = i + 1 < COUNT ? scale * v[i + 1] : 0.0f;
            const int next = min(i + 1, COUNT - 1);
            out.words[i / 2] = HAS_GATE ? pack(low * aside.gate.value(i), high * aside.gate.value(next)) : pack(low, high);
            if (OTHER == 1) other.words[i / 2] = pack(low, high);
            if (OTHER == 2) other.words[i / 2] = pack(low * aside.x.value(i), high * aside.x.value(next));
        }
        out.leave(y, n, seqlen);
        if (OTHER) other.leave(second, n, seqlen);
    }
};

// Powers of two that bring a row's largest magnitude to 2^top .. 2^(top + 1), and back

struct Scale {
    float up, down;
    DEVICE Scale(float largest, int top) {
        int exponent = (as_bits(largest) >> 23) & 255;
        int field = min(max(254 + top - exponent, 1), 253);
        up = as_float(u32(field) << 23), down = as_float(u32(254 - field) << 23);
    }
};

// The transform of a filter, which is in memory, with the skip added to it

constexpr int WORDS = N + (IS_COMPLEX ? 32 : 4);  // of a filter; each residue begins with a line of memory
constexpr float LARGEST_SKIP = 8.0f;  // times the largest magnitude of a spectrum

struct Spectrum {
    const uint4* vectors;  // of this warp and lane
    float scale;           // of products with it
    u32 shrinks, skips;
    DEVICE Spectrum(const u32* spectra, i64 d, float skip, int warp, int lane)
        : Spectrum(reinterpret_cast<const uint4*>(spectra + d * WORDS) + warp * P * 64 + lane,
                   as_float(spectra[d * WORDS + N]), skip) {}
    DEVICE Spectrum(const uint4* words, float scale_of_words, float skip) : vectors(words), scale(scale_of_words) {
        // where the skip is much larger than the filter, both are made smaller
        float shrink = 1.0f;
        skip /= scale;
        if (fabsf(skip) > LARGEST_SKIP) shrink = Scale(fabsf(skip), 2).up;
        skip *= shrink;
        scale /= shrink;
        skips = pack_fp16(skip, skip), shrinks = pack_fp16(shrink, shrink);
    }
    // STEP vectors from one to the next of a thread; IS_NEAR: in shared memory, or, where a block takes several rows, in the
    // first-level cache
    template <bool IS_CONJUGATE, int STEP = 32, bool IS_NEAR = !IS_COMPLEX> DEVICE void times_tile(Tile& re, Tile& im, int j) const {
        const uint4 r = IS_NEAR ? vectors[2 * j * STEP] : load_once(vectors + 2 * j * STEP);
        const uint4 c = IS_NEAR ? vectors[(2 * j + 1) * STEP] : load_once(vectors + (2 * j + 1) * STEP);
        times_tile<IS_CONJUGATE>(re, im, {r.x, r.y, r.z, r.w}, {c.x, c.y, c.z, c.w});
    }
    template <bool IS_CONJUGATE> DEVICE void times_tile(Tile& re, Tile& im, const Tile& hr, const Tile& hi) const {
#pragma unroll
        for (int i = 0; i < 4; ++i)
            times<IS_CONJUGATE>(re[i], im[i], half_fma(hr[i], shrinks, skips), half_mul(hi[i], shrinks));
    }
};

struct Sums {
    static constexpr bool IS_LARGE = false;
    float* dh;
    int filter_len;
    float scale;
    template <int COUNT> struct Aside {};
    template <int COUNT> DEVICE void fetch(int n, Aside<COUNT>& aside) const {}
    template <int COUNT> DEVICE void store(int n, const float (&v)[COUNT], const Aside<COUNT>& aside) const {
        if (IS_COMPLEX && VECTOR >= 4 && COUNT % 4 == 0) {
#pragma unroll
            for (int i = 0; i < COUNT; i += 4)
                if (n + i < filter_len)
                    *reinterpret_cast<float4*>(dh + n + i) = {scale * v[i], scale * v[i + 1], scale * v[i + 2], scale * v[i + 3]};
        } else {
#pragma unroll
            for (int i = 0; i < COUNT; ++i)
                if (n + i < filter_len) dh[n + i] = scale * v[i];
        }
    }
};
