// The gradient of a long convolution's filter: dh[i] = sum_(b, t) (post dy)[t] (pre x)[t - i].
//
// The products conj(X) DY of rows are summed over the batch in fp32 and in order. Planes are [ring][x or dy][channel,
// b]; a sum takes the place of its channel's first row of x.
//
// Defined by the caller: FP16, HAS_GATE (both gates; a null pointer where there is but one), HAS_SKIP, HAS_PRE and
// HAS_POST (0), IS_ALIGNED, RADIX_A, RADIX_B, SPAN, UNITS, GAIN, BLOCKS, SHARED_SIZE.

constexpr int RING = 2;

union Shared {
    ColumnBytes columns;
    OutputBytes outputs;
    struct {
        Tables tables;
        Team teams[TEAMS];
        uint4 spectra[TEAMS][CHUNKS];  // of x, while dy's is made; a lane reads what it wrote
    } rows;
};
static_assert(sizeof(Shared) + 64 <= SHARED_SIZE, "the launch reserves too little shared memory");

struct Middle {
    uint4 *x_planes, *dy_planes;  // of row k1 of the group's first plane
    const float *x_scales, *dy_scales;
    float* row_scales;            // of the first plane, row k1
    int channels, batch;
};

DEVICE void accumulate(Sums& sum, const Sums& dy, const Complex& x, float scale) {
#pragma unroll
    for (int k = 0; k < 8; ++k) {
        int nt = k / 4, hh = k / 2 % 2;
        float r = dy.r[nt][k % 4] * scale, i = dy.i[nt][k % 4] * scale;
        u32 wr = x.r[hh + 2 * nt], wi = x.i[hh + 2 * nt];
        float xr = k % 2 ? high_fp16(wr) : low_fp16(wr), xi = k % 2 ? high_fp16(wi) : low_fp16(wi);
        sum.r[nt][k % 4] = fmaf(r, xr, fmaf(i, xi, sum.r[nt][k % 4]));
        sum.i[nt][k % 4] = fmaf(i, xr, fmaf(-r, xi, sum.i[nt][k % 4]));
    }
}

// channels of one k1, the n-th of every n_y sets of them
template <class Queue>
DEVICE void correlate_rows(
    Shared& shared, Queue& queue, const Middle& middle, int n, int n_y, const uint4* row_tables, const uint4* tables) {
    Lane at;
    int of_block = thread_index() / 128;
    Team& team = shared.rows.teams[of_block];
    const Tables& of_rows = shared.rows.tables;
    uint4* spectrum = shared.rows.spectra[of_block] + 128 * at.warp + at.lane;
    fetch_tables(shared.rows.tables, row_tables, tables);
    i64 stride = PLANE_CHUNKS * middle.batch;
    for (int set = n; set * (TEAMS * ROWS) < middle.channels; set += n_y) {
        int first = (set * TEAMS + of_block) * ROWS, outer = first + at.warp / W;
        bool is_there = outer < middle.channels;
        Sums sum[4] = {};
#pragma unroll 1
        for (int b = 0; b < middle.batch; ++b) {
            u32 ratios[8];
            int of_scales = ((is_there ? outer : 0) * middle.batch + b) * TILES;
            fetch_rows(team, middle.x_planes + b * PLANE_CHUNKS, first, middle.channels, stride, at);
            float x_scale = read_ratios(ratios, middle.x_scales + of_scales, is_there, at);
            if (set == n && b == 0) queue.look_ahead();
            wait_for_copies<0>();
            if (set == n && b == 0) barrier();  // the tables have come too
            else team_barrier();
            transform_two(team, of_rows, ratios, at);
            team_barrier();
            Sums c;
            {
                Gamma gamma(of_rows, at);
#pragma unroll
                for (int m = 0; m < 4; ++m) {
                    Complex x;
                    gamma.transform(c, team, m);
                    pack(x, c);
                    spectrum[32 * m] = make_uint4(x.r[0], x.r[1], x.r[2], x.r[3]);
                    spectrum[32 * m + 512] = make_uint4(x.i[0], x.i[1], x.i[2], x.i[3]);
                }
            }
            team_barrier();
            fetch_rows(team, middle.dy_planes + b * PLANE_CHUNKS, first, middle.channels, stride, at);
            float scale = x_scale * read_ratios(ratios, middle.dy_scales + of_scales, is_there, at);
            if (at.lane == 0) team.loudest[0][at.warp] = scale;
            wait_for_copies<0>();
            team_barrier();
            scale = team.loudest[0][at.t];  // that of this lane's row in the middle
            transform_two(team, of_rows, ratios, at);
            team_barrier();
            Gamma gamma(of_rows, at);
#pragma unroll
            for (int m = 0; m < 4; ++m) {
                Complex x;
                take(x.r, spectrum[32 * m]);
                take(x.i, spectrum[32 * m + 512]);
                gamma.transform(c, team, m);
                accumulate(sum[m], c, x, scale);
            }
            team_barrier();
        }
        float most = 0.0f;
#pragma unroll
        for (int m = 0; m < 4; ++m) most = max_of(most, sum[m]);
        most = power_below(row_max(team, most, at));
        float factor = inverse_power(most) * (LOUDEST / 2.0f);
        Gamma gamma(of_rows, at);
#pragma unroll
        for (int m = 0; m < 4; ++m) {
            Complex x;
            pack_scaled(x, sum[m], factor);
            gamma.transform_back(team, x, m);
        }
        float of_product = shuffle(most, at.warp);
        if (at.lane == 0 && at.warp % W == 0 && is_there)
            middle.row_scales[outer * middle.batch * N1] = of_product * (2.0f / LOUDEST);
        team_barrier();
        transform_two_back(team, of_rows, at);
        team_barrier();
        store_rows(team, middle.x_planes, first, middle.channels, stride, at);
        team_barrier();
    }
}

struct Sizes {
    int channels, batch, at_once, most_y;
    DEVICE int count(int group) const { return min(at_once, channels - group * at_once); }
    DEVICE int n_y(int group) const { return min(most_y, (count(group) + TEAMS * ROWS - 1) / (TEAMS * ROWS)); }
    DEVICE int operator()(int phase, int group) const {
        return phase == 1 ? N1 * n_y(group) : count(group) * TILES * (phase == 0 ? 2 * batch : 1);
    }
};

KERNEL void __launch_bounds__(THREADS, BLOCKS) phased_gradient(
    const Element* __restrict__ x, const Element* __restrict__ dy, const Element* __restrict__ pre,
    const Element* __restrict__ post, float* __restrict__ dh, uint4* planes, float* scales, float* row_scales,
    int* progress, const uint4* __restrict__ columns_ahead, const uint4* __restrict__ columns_back,
    const uint4* __restrict__ row_tables, const uint4* __restrict__ tables, i64 batch, i64 channels, i64 at_once,
    i64 most_y, i64 seqlen, i64 filter_len, i64 x_batch, i64 x_channel, i64 dy_batch, i64 dy_channel, i64 pre_batch,
    i64 pre_channel, i64 post_batch, i64 post_channel) {
    SHARED_BYTES;
    Shared& shared = *reinterpret_cast<Shared*>(shared_bytes);
    int* slots = reinterpret_cast<int*>(shared_bytes + SHARED_SIZE - 64);
    Sizes sizes{
        static_cast<int>(channels), static_cast<int>(batch), static_cast<int>(at_once), static_cast<int>(most_y)};
    int groups = (sizes.channels + sizes.at_once - 1) / sizes.at_once;
    Queue<3, RING, Sizes> queue(progress, groups, sizes, slots);
    Item item{-1, 0, 0};
    for (;;) {
        item = queue.next(item);
        if (item.phase < 0) return;
        i64 rows = at_once * batch, x_row = item.group % RING * 2 * rows, dy_row = x_row + rows;
        i64 first = item.group * at_once;
        if (item.phase == 1) {
            int n_y = sizes.n_y(item.group), k1 = item.index / n_y;
            uint4* of_k1 = planes + k1 * ROW_CHUNKS;
            Middle middle{
                of_k1 + x_row * PLANE_CHUNKS, of_k1 + dy_row * PLANE_CHUNKS, scales + x_row * TILES,
                scales + dy_row * TILES, row_scales + x_row * N1 + k1, sizes.count(item.group), sizes.batch};
            correlate_rows(
                shared, queue, middle, item.index % n_y, n_y, row_tables + static_cast<i64>(k1) * ROW_TABLES, tables);
        } else if (item.phase == 0) {
            int tile = item.index % TILES, of_both = item.index / TILES, row = of_both / 2;
            i64 channel = first + row / sizes.batch, b = row % sizes.batch, to = (of_both % 2 ? dy_row : x_row) + row;
            const Element* u =
                of_both % 2 ? dy + b * dy_batch + channel * dy_channel : x + b * x_batch + channel * x_channel;
            const Element* gate = of_both % 2 ? post : pre;
            if (gate != nullptr)
                gate += of_both % 2 ? b * post_batch + channel * post_channel : b * pre_batch + channel * pre_channel;
            transform_columns(
                shared_bytes, queue, Signal<Element>{u, gate, seqlen}, planes + to * PLANE_CHUNKS, scales + to * TILES,
                tile, columns_ahead);
        } else {
            int tile = item.index % TILES, channel = item.index / TILES;
            i64 from = x_row + channel * batch;
            transform_columns_back(
                shared_bytes, queue,
                Result<float>{dh + (first + channel) * filter_len, nullptr, nullptr, nullptr, nullptr, nullptr, 0.0f, filter_len},
                planes + from * PLANE_CHUNKS, row_scales + from * N1, tile, columns_back);
        }
    }
}
