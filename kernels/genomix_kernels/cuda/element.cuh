// The dtype of the activations: bf16, or fp16 where FP16 is 1.
#pragma once

#if FP16
typedef Fp16 Element;
DEVICE float low_of(u32 x) { return low_fp16(x); }
DEVICE float high_of(u32 x) { return high_fp16(x); }
DEVICE u32 pack(float low, float high) { return pack_fp16(low, high); }
DEVICE void product(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) { product_fp16(c, a, b0, b1); }
DEVICE void product_alone(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) { product_alone_fp16(c, a, b0, b1); }
#else
typedef Bf16 Element;
DEVICE float low_of(u32 x) { return low_bf16(x); }
DEVICE float high_of(u32 x) { return high_bf16(x); }
DEVICE u32 pack(float low, float high) { return pack_bf16(low, high); }
DEVICE void product(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) { product_bf16(c, a, b0, b1); }
DEVICE void product_alone(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) { product_alone_bf16(c, a, b0, b1); }
#endif

DEVICE float load(const float* p, i64 i) { return p[i]; }
DEVICE float load(const Bf16* p, i64 i) { return low_bf16(p[i].bits); }
DEVICE float load(const Fp16* p, i64 i) { return low_fp16(p[i].bits); }

// a pair of values as its high part and what that left out
DEVICE void in_two(float x, float y, u32& high, u32& low) {
    high = pack(x, y);
    low = pack(x - low_of(high), y - high_of(high));
}
DEVICE void in_two_bf16(float x, float y, u32& high, u32& low) {
    high = pack_bf16(x, y);
    low = pack_bf16(x - low_bf16(high), y - high_bf16(high));
}
