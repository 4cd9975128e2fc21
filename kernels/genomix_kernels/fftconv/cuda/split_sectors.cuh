// Pairs of lanes exchange halves of what each has, so that what they write at once fills sectors of 32 bytes.
//
// A lane has eight neighbours. `first` are four of the even lane's, its own first ones or, in the odd lane, those behind them;
// `second` are four of the odd lane's likewise. So a lane writes each to its lane's beginning plus 4 (lane % 2).
#pragma once

DEVICE u32 of_neighbour(u32 x) { return as_bits(shuffle_xor(as_float(x), 1)); }
DEVICE float of_neighbour(float x) { return shuffle_xor(x, 1); }

template <class T> DEVICE void as_sectors(const T (&x)[8], T (&first)[4], T (&second)[4]) {
    const bool is_odd = thread_index() % 2 == 1;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const T theirs = of_neighbour(is_odd ? x[i] : x[4 + i]);
        first[i] = is_odd ? theirs : x[i], second[i] = is_odd ? x[4 + i] : theirs;
    }
}
