// The spectrum of a filter, its rows in the order in which `phased_convolve` meets them, with a scale for each row.
//
// Defined by the caller: FP16, HAS_GATE (0), IS_ALIGNED, RADIX_A, RADIX_B, SPAN, UNITS, BLOCKS, SHARED_SIZE.

constexpr int RING = 2;

union Shared {
    ColumnBytes columns;
    struct {
        Tables tables;
        Team teams[TEAMS];
    } rows;
};
static_assert(sizeof(Shared) + 64 <= SHARED_SIZE, "the launch reserves too little shared memory");

// rows of one k1, the n-th of every n_y sets of rows; pointers to row k1 of the group's first channel
template <class Queue>
DEVICE void transform_rows(
    Shared& shared, Queue& queue, const uint4* planes, const float* scales, uint4* spectrum, float* spectrum_scales,
    int n_rows, int n, int n_y, const uint4* row_tables, const uint4* tables) {
    Lane at;
    int of_block = thread_index() / 128;
    Team& team = shared.rows.teams[of_block];
    const Tables& of_rows = shared.rows.tables;
    fetch_tables(shared.rows.tables, row_tables, tables);
    for (int set = n; set * (TEAMS * ROWS) < n_rows; set += n_y) {
        int first = (set * TEAMS + of_block) * ROWS;
        fetch_rows(team, planes, first, n_rows, PLANE_CHUNKS, at);
        int outer = first + at.warp / W, inner = first + at.t / W;  // of this warp, and of this lane in the end
        u32 ratios[8];
        bool is_there = outer < n_rows;
        float scale = read_ratios(ratios, scales + (is_there ? outer : 0) * TILES, is_there, at);
        if (set == n) queue.look_ahead();
        wait_for_copies<0>();
        if (set == n) barrier();  // the tables have come too
        else team_barrier();
        transform_two(team, of_rows, ratios, at);
        team_barrier();
        Sums c[4];
        float most = 0.0f;
        Gamma gamma(of_rows, at);
#pragma unroll
        for (int m = 0; m < 4; ++m) {
            gamma.transform(c[m], team, m);
            most = max_of(most, c[m]);
        }
        most = power_below(row_max(team, most, at));
        float factor = inverse_power(most) * 0.5f;
        if (inner < n_rows)
#pragma unroll
            for (int m = 0; m < 4; ++m) {
                Complex x;
                pack_scaled(x, c[m], factor);
#pragma unroll
                for (int hh = 0; hh < 2; ++hh)
                    store_streaming(
                        spectrum + inner * PLANE_CHUNKS + Gamma::place(m, hh, at),
                        make_uint4(x.r[hh], x.r[hh + 2], x.i[hh], x.i[hh + 2]));
            }
        float of_row = shuffle(most, at.warp);
        if (at.lane == 0 && at.warp % W == 0 && is_there)
            spectrum_scales[outer * N1] = scale * of_row * 2.0f;
    }
}

struct Sizes {
    int channels, at_once, most_y;
    DEVICE int count(int group) const { return min(at_once, channels - group * at_once); }
    DEVICE int n_y(int group) const { return min(most_y, (count(group) + TEAMS * ROWS - 1) / (TEAMS * ROWS)); }
    DEVICE int operator()(int phase, int group) const { return phase == 1 ? N1 * n_y(group) : count(group) * TILES; }
};

KERNEL void __launch_bounds__(THREADS, BLOCKS) phased_spectrum(
    const float* __restrict__ h, uint4* spectrum, float* spectrum_scales, uint4* planes, float* scales, int* progress,
    const uint4* __restrict__ columns_ahead, const uint4* __restrict__ row_tables, const uint4* __restrict__ tables,
    i64 channels, i64 at_once, i64 most_y, i64 filter_len, i64 h_channel) {
    SHARED_BYTES;
    Shared& shared = *reinterpret_cast<Shared*>(shared_bytes);
    int* slots = reinterpret_cast<int*>(shared_bytes + SHARED_SIZE - 64);
    Sizes sizes{static_cast<int>(channels), static_cast<int>(at_once), static_cast<int>(most_y)};
    int groups = (sizes.channels + sizes.at_once - 1) / sizes.at_once;
    Queue<2, RING, Sizes> queue(progress, groups, sizes, slots);
    Item item{-1, 0, 0};
    for (;;) {
        item = queue.next(item);
        if (item.phase < 0) return;
        i64 first_row = item.group % RING * at_once, first = item.group * at_once;
        if (item.phase == 1) {
            int n_y = sizes.n_y(item.group), k1 = item.index / n_y;
            transform_rows(
                shared, queue, planes + first_row * PLANE_CHUNKS + k1 * ROW_CHUNKS, scales + first_row * TILES,
                spectrum + first * PLANE_CHUNKS + k1 * ROW_CHUNKS, spectrum_scales + first * N1 + k1,
                sizes.count(item.group), item.index % n_y, n_y, row_tables + static_cast<i64>(k1) * ROW_TABLES, tables);
        } else {
            int row = item.index / TILES, tile = item.index % TILES;
            transform_columns(
                shared_bytes, queue, Signal<float>{h + (first + row) * h_channel, nullptr, filter_len},
                planes + (first_row + row) * PLANE_CHUNKS, scales + (first_row + row) * TILES, tile, columns_ahead);
        }
    }
}
