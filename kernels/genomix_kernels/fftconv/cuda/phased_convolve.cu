// Long convolutions: y = post (h * x + skip x), x = pre u. Three phases in one launch.
//
// Defined by the caller: FP16, HAS_GATE and HAS_PRE (both: pre), HAS_POST, SECOND, HAS_SKIP, IS_ALIGNED, IS_ADJOINT (a
// correlation), RADIX_A, RADIX_B, SPAN, UNITS, GAIN, BLOCKS, SHARED_SIZE.

constexpr int RING = 2;

union Shared {
    ColumnBytes columns;
    OutputBytes outputs;
    struct {
        Tables tables;
        Team teams[TEAMS];
        uint4 filters[TEAMS][CHUNKS];  // rows of the spectrum, in the order of memory
    } rows;
};
static_assert(sizeof(Shared) + 64 <= SHARED_SIZE, "the launch reserves too little shared memory");

// c times a spectrum's chunk of row half hh
DEVICE void multiply(Sums& c, const uint4& filter, int hh) {
#pragma unroll
    for (int nt = 0; nt < 2; ++nt) {
        u32 wr = nt ? filter.y : filter.x, wi = nt ? filter.w : filter.z;
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            float hr = e ? high_fp16(wr) : low_fp16(wr), hi = e ? high_fp16(wi) : low_fp16(wi);
            if (IS_ADJOINT) hi = -hi;
            float &r = c.r[nt][2 * hh + e], &i = c.i[nt][2 * hh + e], real = r;
            r = fmaf(real, hr, -i * hi);
            i = fmaf(real, hi, i * hr);
        }
    }
}

// The transform over gamma, times the filter and back. Returns the power of two by which this lane's row was divided to
// be below 256. In fp16 where inputs are coarse: |Z| < 2^14 and |H| < 2 leave room for the product, and typical values
// of Z near 1 leave 24 bits below.
DEVICE float multiply_rows(Team& team, const Tables& tables, const uint4* filter, const Lane& at) {
    Gamma gamma(tables, at);
    if (COARSE) {
        Complex x[4];
        u32 both = 0u;
#pragma unroll
        for (int m = 0; m < 4; ++m) {
            gamma.transform(x[m], team, m);
#pragma unroll
            for (int hh = 0; hh < 2; ++hh) {
                uint4 h = filter[64 * m + 32 * hh];
                twiddle<IS_ADJOINT>(x[m].r[hh], x[m].i[hh], h.x, h.z);
                twiddle<IS_ADJOINT>(x[m].r[hh + 2], x[m].i[hh + 2], h.y, h.w);
            }
#pragma unroll
            for (int k = 0; k < 4; ++k) both = half_max_abs(half_max_abs(both, x[m].r[k]), x[m].i[k]);
        }
        float most = row_max(team, fmaxf(low_fp16(both), high_fp16(both)), at);
        most = fmaxf(power_below(most), 1.0f / 256.0f);
        float factor = inverse_power(most) * (LOUDEST / 2.0f);
        u32 factors = pack_fp16(factor, factor);
#pragma unroll
        for (int m = 0; m < 4; ++m) {
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                x[m].r[k] = half_mul(x[m].r[k], factors);
                x[m].i[k] = half_mul(x[m].i[k], factors);
            }
            gamma.transform_back(team, x[m], m);
        }
        return most;
    }
    Sums c[4];
    float most = 0.0f;
#pragma unroll
    for (int m = 0; m < 4; ++m) {
        gamma.transform(c[m], team, m);
#pragma unroll
        for (int hh = 0; hh < 2; ++hh) multiply(c[m], filter[64 * m + 32 * hh], hh);
        most = max_of(most, c[m]);
    }
    most = power_below(row_max(team, most, at));
    float factor = inverse_power(most) * (LOUDEST / 2.0f);
#pragma unroll
    for (int m = 0; m < 4; ++m) {
        Complex x;
        pack_scaled(x, c[m], factor);
        gamma.transform_back(team, x, m);
    }
    return most;
}

struct Middle {
    uint4* planes;                           // of row k1 of the group's first plane
    const float* scales;
    float* row_scales;                       // of the first plane, row k1
    const uint4* spectrum;                   // of the group's first channel, row k1
    const float* spectrum_scales;
    int n_rows, batch;
};

DEVICE void fetch_filter(uint4* filters, const Middle& middle, int first, const Lane& at) {
    int row = first + row_of_number(at.number);
    bool is_there = row < middle.n_rows;
    const uint4* from = middle.spectrum + (is_there ? row / middle.batch : 0) * PLANE_CHUNKS;
#pragma unroll
    for (int k = 0; k < CHUNKS / 128; ++k)
        copy_async(filters + at.number + 128 * k, from + place_of_number(at.number) + k * 32 * W, is_there);
    commit_copies();
}

// rows of one k1, the n-th of every n_y sets of rows
template <class Queue>
DEVICE void convolve_rows(
    Shared& shared, Queue& queue, const Middle& middle, int n, int n_y, const uint4* row_tables, const uint4* tables) {
    Lane at;
    int of_block = thread_index() / 128;
    Team& team = shared.rows.teams[of_block];
    const Tables& of_rows = shared.rows.tables;
    uint4* filters = shared.rows.filters[of_block];
    fetch_tables(shared.rows.tables, row_tables, tables);
    for (int set = n; set * (TEAMS * ROWS) < middle.n_rows; set += n_y) {
        int first = (set * TEAMS + of_block) * ROWS;
        fetch_rows(team, middle.planes, first, middle.n_rows, PLANE_CHUNKS, at);
        fetch_filter(filters, middle, first, at);
        int outer = first + at.warp / W;  // the row of this warp
        u32 ratios[8];
        bool is_there = outer < middle.n_rows;
        float scale = read_ratios(ratios, middle.scales + (is_there ? outer : 0) * TILES, is_there, at);
        if (set == n) queue.look_ahead();
        wait_for_copies<0>();
        if (set == n) barrier();  // the tables have come too
        else team_barrier();
        transform_two(team, of_rows, ratios, at);
        team_barrier();

        float most = multiply_rows(team, of_rows, filters + (64 * at.warp + at.g) * 4 + at.t, at);
        // lane t knows the greatest product of the row of warp t
        float of_product = shuffle(most, at.warp);
        if (at.lane == 0 && at.warp % W == 0 && is_there)
            middle.row_scales[outer * N1] =
                scale * of_product * middle.spectrum_scales[outer / middle.batch * N1] * (2.0f / LOUDEST);
        team_barrier();
        transform_two_back(team, of_rows, at);
        team_barrier();
        store_rows(team, middle.planes, first, middle.n_rows, PLANE_CHUNKS, at);
        team_barrier();
    }
}

struct Sizes {
    int channels, batch, at_once, most_y;
    DEVICE int count(int group) const { return min(at_once, channels - group * at_once); }
    DEVICE int n_y(int group) const { return min(most_y, (count(group) * batch + TEAMS * ROWS - 1) / (TEAMS * ROWS)); }
    DEVICE int operator()(int phase, int group) const {
        return phase == 1 ? N1 * n_y(group) : count(group) * batch * TILES;
    }
};

KERNEL void __launch_bounds__(THREADS, BLOCKS) phased_convolve(
    const Element* __restrict__ u, const Element* __restrict__ pre, const Element* __restrict__ post,
    const Element* __restrict__ other, const float* __restrict__ skip, Element* __restrict__ y,
    Element* __restrict__ second, const uint4* __restrict__ spectrum,
    const float* __restrict__ spectrum_scales, uint4* planes, float* scales, float* row_scales, int* progress,
    const uint4* __restrict__ columns_ahead, const uint4* __restrict__ columns_back,
    const uint4* __restrict__ row_tables, const uint4* __restrict__ tables, i64 batch, i64 channels, i64 at_once,
    i64 most_y, i64 seqlen, i64 u_batch, i64 u_channel, i64 pre_batch, i64 pre_channel, i64 post_batch,
    i64 post_channel, i64 other_batch, i64 other_channel) {
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
        i64 first_row = static_cast<i64>(item.group % RING) * at_once * batch;
        if (item.phase == 1) {
            int n_y = sizes.n_y(item.group), k1 = item.index / n_y;
            i64 first = item.group * at_once;
            Middle middle{
                planes + first_row * PLANE_CHUNKS + k1 * ROW_CHUNKS, scales + first_row * TILES,
                row_scales + first_row * N1 + k1,
                spectrum + first * PLANE_CHUNKS + k1 * ROW_CHUNKS, spectrum_scales + first * N1 + k1,
                sizes.count(item.group) * sizes.batch, sizes.batch};
            convolve_rows(
                shared, queue, middle, item.index % n_y, n_y, row_tables + static_cast<i64>(k1) * ROW_TABLES, tables);
            continue;
        }
        int row = item.index / TILES, tile = item.index % TILES;
        i64 channel = item.group * at_once + row / sizes.batch, b = row % sizes.batch;
        uint4* plane = planes + (first_row + row) * PLANE_CHUNKS;
        const Element* of_u = u + b * u_batch + channel * u_channel;
        const Element* of_pre = pre + b * pre_batch + channel * pre_channel;
        if (item.phase == 0)
            transform_columns(
                shared_bytes, queue, Signal<Element>{of_u, of_pre, seqlen}, plane, scales + (first_row + row) * TILES,
                tile, columns_ahead);
        else
            transform_columns_back(
                shared_bytes, queue,
                Result<Element>{
                    y + (b * channels + channel) * seqlen, second + (b * channels + channel) * seqlen, of_u, of_pre,
                    post + b * post_batch + channel * post_channel, other + b * other_batch + channel * other_channel,
                    HAS_SKIP ? skip[channel] : 0.0f, seqlen},
                plane, row_scales + (first_row + row) * N1, tile, columns_back);
    }
}
