// Complex transforms out of 16 x 16 products, for sequences beyond a multiprocessor's memory.
//
// A tile is a 16 x 16 matrix of fp16: the words of an A fragment, [hh + 2 nt] holding row g + 8 hh and columns
// 8 nt + 2 t, + 1. The only product is X Y^T of two tiles, whose packed result is a tile again, so stages follow one
// another in registers: with data D[b][a], F D^T transforms the index a, and (F D^T) G^T then transforms b.
//
// The transform is of length M = N1 N2 >= seqlen, and "right-angled": with x weighted by exp(i pi n / 2 M) the product
// of two spectra is a product of polynomials modulo X^M = i, so what would wrap round (the discarded half of the linear
// convolution) lands in the imaginary part. Signals stay real and unpadded, and the rows of a spectrum are independent
// of one another. The weights and all twiddles between rows and columns are folded into the small tables of each row.
//
// Planes are fp16 (real, imaginary) words with powers of two as scales: of each tile of columns, and of each row.
#pragma once

struct Complex { u32 r[4], i[4]; };
struct Sums { float r[2][4], i[2][4]; };

DEVICE void take(u32 (&x)[4], uint4 words) { x[0] = words.x, x[1] = words.y, x[2] = words.z, x[3] = words.w; }
// table: [2][32 lanes]
DEVICE void take(Complex& x, const uint4* table, int lane) {
    take(x.r, table[lane]);
    take(x.i, table[32 + lane]);
}
DEVICE void negated(u32 (&y)[4], const u32 (&x)[4]) {
#pragma unroll
    for (int k = 0; k < 4; ++k) y[k] = x[k] ^ 0x80008000u;
}

// c = x y^T, or added to it
template <bool ADDS> DEVICE void times(float (&c)[2][4], const u32 (&x)[4], const u32 (&y)[4]) {
#pragma unroll
    for (int nt = 0; nt < 2; ++nt) {
        if (ADDS) product_fp16(c[nt], x, y[nt], y[nt + 2]);
        else product_alone_fp16(c[nt], x, y[nt], y[nt + 2]);
    }
}

// c = m x^T (or x m^T) for a table m; `minus` is -m.i, or m.i where the table is to be conjugated
DEVICE void table_by_data(
    Sums& c, const u32 (&real)[4], const u32 (&imag)[4], const u32 (&minus)[4], const Complex& x) {
    times<false>(c.r, real, x.r);
    times<true>(c.r, minus, x.i);
    times<false>(c.i, imag, x.r);
    times<true>(c.i, real, x.i);
}
DEVICE void data_by_table(
    Sums& c, const Complex& x, const u32 (&real)[4], const u32 (&imag)[4], const u32 (&minus)[4]) {
    times<false>(c.r, x.r, real);
    times<true>(c.r, x.i, minus);
    times<false>(c.i, x.r, imag);
    times<true>(c.i, x.i, real);
}

DEVICE void pack(Complex& x, const Sums& c) {
#pragma unroll
    for (int nt = 0; nt < 2; ++nt)
#pragma unroll
        for (int hh = 0; hh < 2; ++hh) {
            x.r[hh + 2 * nt] = pack_fp16(c.r[nt][2 * hh], c.r[nt][2 * hh + 1]);
            x.i[hh + 2 * nt] = pack_fp16(c.i[nt][2 * hh], c.i[nt][2 * hh + 1]);
        }
}
// The same as words. COARSE: the products are summed in fp16, which saves a quarter of the time.
DEVICE void times_in_half(u32 (&c)[4], const u32 (&x)[4], const u32 (&y)[4], bool adds) {
#pragma unroll
    for (int nt = 0; nt < 2; ++nt) {
        u32 part[2] = {c[2 * nt], c[2 * nt + 1]};
        if (adds) product_in_half(part, x, y[nt], y[nt + 2]);
        else product_alone_in_half(part, x, y[nt], y[nt + 2]);
        c[2 * nt] = part[0], c[2 * nt + 1] = part[1];
    }
}
DEVICE void pack_table_by_data(
    Complex& z, const u32 (&real)[4], const u32 (&imag)[4], const u32 (&minus)[4], const Complex& x) {
    if (COARSE) {
        Complex c;
        times_in_half(c.r, real, x.r, false);
        times_in_half(c.r, minus, x.i, true);
        times_in_half(c.i, imag, x.r, false);
        times_in_half(c.i, real, x.i, true);
        z = c;
    } else {
        Sums c;
        table_by_data(c, real, imag, minus, x);
        pack(z, c);
    }
}
DEVICE void pack_data_by_table(
    Complex& z, const Complex& x, const u32 (&real)[4], const u32 (&imag)[4], const u32 (&minus)[4]) {
    if (COARSE) {
        times_in_half(z.r, x.r, real, false);
        times_in_half(z.r, x.i, minus, true);
        times_in_half(z.i, x.r, imag, false);
        times_in_half(z.i, x.i, real, true);
    } else {
        Sums c;
        data_by_table(c, x, real, imag, minus);
        pack(z, c);
    }
}
// x times w, or times its conjugate; two values in a word
template <bool CONJUGATES> DEVICE void twiddle(u32& r, u32& i, u32 wr, u32 wi) {
    u32 real = half_mul(r, wr), imag = half_mul(i, wr);
    imag = CONJUGATES ? half_fnma(r, wi, imag) : half_fma(r, wi, imag);
    r = CONJUGATES ? half_fma(i, wi, real) : half_fnma(i, wi, real);
    i = imag;
}
template <bool CONJUGATES> DEVICE void twiddle(Complex& x, const Complex& w) {
#pragma unroll
    for (int k = 0; k < 4; ++k) twiddle<CONJUGATES>(x.r[k], x.i[k], w.r[k], w.i[k]);
}

DEVICE float4 four_floats(float x, float y, float z, float w) {
    float4 all;
    all.x = x, all.y = y, all.z = z, all.w = w;
    return all;
}

// the power of two at or below a positive number, within limits whose inverse can still be scaled up
constexpr float LOUDEST = 256.0f;  // planes are scaled so that nothing in a transform can reach 2^16
DEVICE float power_below(float x) {
    int exponent = static_cast<int>(as_bits(x) >> 23 & 0xffu);
    return as_float(static_cast<u32>(min(max(exponent, 32), 245)) << 23);
}
DEVICE float inverse_power(float power) { return as_float((254u << 23) - as_bits(power)); }
// A length is cut into N1 = RADIX_A RADIX_B rows of N2 = 256 SPAN. A block has UNITS warps.
//
// Columns: a unit of a warp is 4 C neighbouring columns of RADIX_A RADIX_B rows; slot j RADIX_B + b holds row residue b
// of the j-th four columns. Entries of 16 bytes hold four columns.
constexpr int N1 = RADIX_A * RADIX_B, N2 = 256 * SPAN, KT = (RADIX_A + 15) / 16;
constexpr int C = RADIX_B > 8 ? 1 : RADIX_B > 4 ? 2 : RADIX_B > 2 ? 4 : RADIX_B > 1 ? 8 : 16;
constexpr int TILE = 4 * C * UNITS, TILES = N2 / TILE, THREADS = 32 * UNITS, ENTRIES = KT * 256;
constexpr u32 FOURS = TILE / 4, GROUPS = TILE / 8;  // vectors of four and of eight columns
constexpr bool HAS_HOLES = RADIX_A % 16 != 0 || RADIX_B * C != 16;
constexpr i64 ROW_CHUNKS = N2 / 4, PLANE_CHUNKS = N1 * ROW_CHUNKS;

// where four columns of (row a, slot s) lie: any 8 lanes of a quarter-warp in different banks
DEVICE u32 entry(u32 unit, u32 a, u32 s) {
    return unit * ENTRIES + s * (16 * KT) + (a ^ ((s >> 1 & 3) << 1) ^ (unit & 7));
}
// a warp's entry (g + 8 hh + 16 mt, 2 t + e + 8 nt) is this one of (g, 2 t) further
DEVICE u32 entry_further(int mt, int hh, int nt, int e) { return 16 * mt + 8 * hh + (8 * nt + e) * (16 * KT); }

DEVICE void load_vector(const float* from, float (&x)[8]) {
    const float4* vectors = reinterpret_cast<const float4*>(from);
    float4 a = load_streaming(vectors), b = load_streaming(vectors + 1);
    x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w, x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
}
DEVICE void load_vector(const Element* from, float (&x)[8]) {
    uint4 a = *reinterpret_cast<const uint4*>(from);
    x[0] = low_of(a.x), x[1] = high_of(a.x), x[2] = low_of(a.y), x[3] = high_of(a.y);
    x[4] = low_of(a.z), x[5] = high_of(a.z), x[6] = low_of(a.w), x[7] = high_of(a.w);
}
// eight values, zeros beyond the end. IS_ALIGNED: rows begin at multiples of 16 bytes and hold a multiple of 8 values
template <class T> DEVICE void load_eight(const T* row, i64 n, i64 seqlen, float (&x)[8]) {
#pragma unroll
    for (int k = 0; k < 8; ++k) x[k] = 0.0f;
    if (IS_ALIGNED) {
        if (n < seqlen) load_vector(row + n, x);
        return;
    }
#pragma unroll
    for (int k = 0; k < 8; ++k)
        if (n + k < seqlen) x[k] = load(row, n + k);
}
