// The gradient of a filter: transforms of two rows of split_columns, one conjugated, multiplied and summed over a batch, and
// back, where the first row of x was. A cluster takes all rows of a channel and a residue.
//
// Defined by the caller: as for split_convolve.

constexpr int THREADS = 32 * W;
// products of two transforms, each at most sqrt(2 N) times its row's largest value, must not overflow
constexpr int TOP_DY = -1, TOP_X = N <= 1 << 15 ? -2 : N <= 1 << 16 ? -3 : N <= 1 << 17 ? -4 : -5;

KERNEL void __launch_bounds__(THREADS, BLOCKS) split_products(
    u32* x_planes, const u32* dy_planes, const Loudness* x_loudness, const Loudness* dy_loudness, float* scales,
    const uint4* tables, const uint2* roots, i64 batch) {
    SHARED_BYTES;
    const i64 residue = block_index_y(), d = block_index() / CLUSTER;
    const Row row(tables + residue * (W * CLUSTER * VECTORS * 32), shared_bytes);
    roots += residue * ROOTS_OF_ROW;
    uint4* kept = reinterpret_cast<uint4*>(shared_bytes + 16 * SHARED_SLOTS + CONTROL_BYTES) + thread_index();
    Products products;
    Words re, im;
    for (i64 r = d * batch; r < (d + 1) * batch; ++r) {
        const i64 place = (r * SEGMENTS + residue) * N, tile = r * (N / 2 / COLUMNS);
        const float down_x = load_row(row, re, im, x_planes + place, x_loudness + tile, roots, TOP_X);
        keep<THREADS>(re, im, kept);
        const float down_dy = load_row(row, re, im, dy_planes + place, dy_loudness + tile, roots, TOP_DY);
        products.add<THREADS>(re, im, kept, down_x * down_dy);
    }
    const float down = products.leave(row, re, im, 2);
    store_row(row, re, im, x_planes + (d * batch * SEGMENTS + residue) * N, roots);
    if (row.rank == 0 && thread_index() == 0)
        scales[d * SEGMENTS + residue] = down * sqrtf(float(N)) * (GROWTH * GROWTH * GROWTH);
}
