// Attention, and rotations that tell positions apart. Tiles of queries and keys lie in shared memory and meet in registers; the
// weights are never in memory (Dao et al., 2022). Bound by multiplications: 4 t s d forward, 10 t s d back; of 8 x 12 heads,
// 1,024 queries and keys of size 64 forward 26 GFLOP, 0.5 ms on an H200 in float32 at 80 % of its peak.
//
// 128 threads are 16 rows by 8 columns: a thread has elements (row + 16 i, column + 8 j) of a tile of scores, so the 8 threads
// of a row are neighbours in a warp, and pieces of 16 bytes of the rows of sums. Gradients are two kernels, one for tiles of
// queries and one for tiles of keys, without atomic additions: the same bits each time.
#include "core/philox.cuh"

constexpr int threads = 128, across = 8, down = 16;

/// Sizes, strides in elements, and what may be looked at.
struct Problem {
    int64_t t, s, d, e, group, causal;
    int64_t mask;                // 0: none, 1: bool, 2: numbers to add
    int64_t threshold;           // weights whose word is below are dropped
    double scale, keep;          // keep: what the others are multiplied by
    int64_t q_row, q_column, k_row, k_column, v_row, v_column, mask_row, mask_column, y_row, g_row, g_column;
};

/// Elements of W in 16 bytes, and how far apart rows of a tile with columns `n` lie: no two threads of a quarter of a warp in
/// the same banks.
template <class W> constexpr int piece = 16 / sizeof(W);
template <class W> constexpr int pitch(int n) { return n + piece<W>; }

/// How many queries or keys are the rows of a tile, and keys or queries its columns: as 48 KiB allow.
template <class W, int size> struct Tile {
    static constexpr bool small = size * sizeof(W) <= 256;
    static constexpr int rows = small ? 64 : 32, columns = 32;            // forward
    static constexpr int q_rows = 32, q_columns = small ? 32 : 16;        // the gradient of q
    static constexpr int k_rows = small ? 32 : 16, k_columns = k_rows;    // those of k and v
};

DEVICE int row_of() { return threadIdx.x / across; }
DEVICE int column_of() { return threadIdx.x % across; }

/// `count` rows of memory, of which `have` are there, as rows of a tile of `width` columns; zeros elsewhere.
template <int size, class W, class T>
DEVICE void load(W* tile, const T* from, int64_t row, int64_t column, int count, int64_t have, int64_t columns, int width) {
    for (int r = threadIdx.x / 32; r < count; r += threads / 32)
        for (int c = threadIdx.x % 32; c < width; c += 32)
            tile[r * pitch<W>(size) + c] = r < have && c < columns ? static_cast<W>(widened(from[r * row + c * column])) : W(0);
}

/// The products of rows of a with rows of b, over `depth` columns.
template <int size, class W, int R, int C> DEVICE void products(W (&x)[R][C], const W* a, const W* b, int depth) {
    for (int i = 0; i < R; ++i)
        for (int j = 0; j < C; ++j) x[i][j] = 0;
    for (int p = 0; p < depth; p += piece<W>) {
        Pack<W> left[R], right[C];
        for (int i = 0; i < R; ++i)
            left[i] = *reinterpret_cast<const Pack<W>*>(a + (row_of() + down * i) * pitch<W>(size) + p);
        for (int j = 0; j < C; ++j)
            right[j] = *reinterpret_cast<const Pack<W>*>(b + (column_of() + across * j) * pitch<W>(size) + p);
        for (int i = 0; i < R; ++i)
            for (int j = 0; j < C; ++j)
                for (int c = 0; c < piece<W>; ++c) x[i][j] += left[i].at[c] * right[j].at[c];
    }
}

/// Rows of sums += a tile of `inner` columns times as many rows of b.
template <int size, int inner, class W, int R, int M>
DEVICE void accumulate(W (&sum)[R][M][piece<W>], const W* a, const W* b, int width) {
    for (int k = 0; k < inner; k += piece<W>) {
        Pack<W> left[R];
        for (int i = 0; i < R; ++i)
            left[i] = *reinterpret_cast<const Pack<W>*>(a + (row_of() + down * i) * pitch<W>(inner) + k);
        for (int c = 0; c < piece<W>; ++c)
            for (int m = 0; m < M; ++m) {
                if (m * across * piece<W> >= width) break;
                const int at = (k + c) * pitch<W>(size) + (column_of() + across * m) * piece<W>;
                const Pack<W> right = *reinterpret_cast<const Pack<W>*>(b + at);
                for (int i = 0; i < R; ++i)
                    for (int e = 0; e < piece<W>; ++e) sum[i][m][e] += left[i].at[c] * right.at[e];
            }
    }
}

/// Row `row` of sums, times a factor, to memory that has `columns`.
template <class W, int M, class T> DEVICE void store(T* to, const W (&sum)[M][piece<W>], W factor, int64_t columns) {
    for (int m = 0; m < M; ++m)
        for (int e = 0; e < piece<W>; ++e) {
            const int c = (column_of() + across * m) * piece<W> + e;
            if (c < columns) to[c] = narrowed<T>(sum[m][e] * factor);
        }
}

/// The score of a query and a key as the softmax takes it: scaled, masked; -inf where the query may not look.
template <class T, class W> DEVICE W score(const Problem& a, W product, const void* mask, int64_t i, int64_t j) {
    if (i >= a.t || j >= a.s || (a.causal && j > i)) return -INFINITY;
    W x = product * static_cast<W>(a.scale);
    if (a.mask) {
        const int64_t at = i * a.mask_row + j * a.mask_column;
        if (a.mask == 1) return static_cast<const bool*>(mask)[at] ? x : -INFINITY;
        const W added = widened(static_cast<const T*>(mask)[at]);
        x = added == -INFINITY ? added : x + added;
    }
    return x;
}

/// The head's mask, at byte 0.
template <class T> DEVICE const void* of_head(const Problem& a, const void* mask, int64_t at) {
    return a.mask == 1 ? static_cast<const void*>(static_cast<const bool*>(mask) + at)
                       : static_cast<const void*>(static_cast<const T*>(mask) + at);
}

/// What weights of a tile of `queries` by `keys` are multiplied by: 0, or `keep`. Weight (i, j) of head h has word
/// (h t + i) s + j of the state's stream. It is laid down at i query_step + j key_step.
template <class W>
DEVICE void dropped(W* kept, int query_step, int key_step, const Problem& a, const int64_t* state, int64_t head, int64_t i0,
                    int64_t j0, int queries, int keys) {
    const uint64_t seed = state[0], offset = state[1];
    for (int u = threadIdx.x; u < queries * keys / 4; u += threads) {
        const int i = u / (keys / 4), j = u % (keys / 4) * 4;
        const uint64_t first = static_cast<uint64_t>((head * a.t + i0 + i) * a.s + j0 + j);
        const int shift = static_cast<int>(first % 4);
        const Words one = philox(seed, offset + first / 4), two = shift ? philox(seed, offset + first / 4 + 1) : one;
        const uint32_t words[8] = {one.at[0], one.at[1], one.at[2], one.at[3], two.at[0], two.at[1], two.at[2], two.at[3]};
        for (int c = 0; c < 4; ++c) {
            const uint32_t word = shift == 0   ? words[c]
                                  : shift == 1 ? words[c + 1]
                                  : shift == 2 ? words[(c + 2) % 8]
                                               : words[(c + 3) % 8];
            kept[i * query_step + (j + c) * key_step] =
                word < static_cast<uint64_t>(a.threshold) ? W(0) : static_cast<W>(a.keep);
        }
    }
}

template <class W> DEVICE W greater(W a, W b) { return a > b || a != a ? a : b; }  // a NaN stays

template <class W> DEVICE W row_sum(W x) {
    for (int by = across / 2; by; by /= 2) x += __shfl_xor_sync(0xffffffffu, x, by);
    return x;
}

DEVICE int rounded_up(int64_t n, int to) { return (static_cast<int>(n) + to - 1) / to * to; }

/// y = softmax(q kᵀ scale + mask) v with a running softmax, and the logarithm of each row's sum. A block takes a tile of
/// queries of a head; the last tiles begin first, for they see the most keys.
template <class T, int size>
__global__ void __launch_bounds__(threads, 3)
    attention(T* y, Wide<T>* logsumexp, const T* q, const T* k, const T* v, const void* mask, const int64_t* state,
              Layout<5> heads, int64_t count, Problem a) {
    using W = Wide<T>;
    using Sizes = Tile<W, size>;
    constexpr int rows = Sizes::rows, columns = Sizes::columns, R = rows / down, C = columns / across;
    constexpr int M = size / (across * piece<W>);
    DYNAMIC_SHARED(W, shared);
    W *qs = shared, *ks = qs + rows * pitch<W>(size), *ps = ks + columns * pitch<W>(size);
    const int64_t head = blockIdx.x % count, i0 = ((a.t - 1) / rows - blockIdx.x / count) * rows;
    int64_t at[5];
    heads.place(head, at);
    const void* masked = a.mask ? of_head<T>(a, mask, at[3]) : nullptr;
    const int depth = rounded_up(a.d, across * piece<W>), width = rounded_up(a.e, across * piece<W>);
    load<size>(qs, q + at[0] + i0 * a.q_row, a.q_row, a.q_column, rows, a.t - i0, a.d, depth);
    W sum[R][M][piece<W>] = {}, top[R], total[R];
    for (int i = 0; i < R; ++i) top[i] = -INFINITY, total[i] = 0;
    const int64_t visible = a.causal && i0 + rows < a.s ? i0 + rows : a.s;
    for (int64_t j0 = 0; j0 < visible; j0 += columns) {
        __syncthreads();  // ks and ps may still be read
        load<size>(ks, k + at[1] + j0 * a.k_row, a.k_row, a.k_column, columns, a.s - j0, a.d, depth);
        if (a.threshold) dropped(ps, pitch<W>(columns), 1, a, state, head, i0, j0, rows, columns);
        __syncthreads();
        W x[R][C];
        products<size>(x, qs, ks, depth);
        for (int i = 0; i < R; ++i) {
            const int r = row_of() + down * i;
            W most = top[i];
            for (int j = 0; j < C; ++j) {
                x[i][j] = score<T>(a, x[i][j], masked, i0 + r, j0 + column_of() + across * j);
                most = greater(x[i][j], most);
            }
            for (int by = across / 2; by; by /= 2) most = greater(__shfl_xor_sync(0xffffffffu, most, by), most);
            const bool nothing = most == -INFINITY;
            const W shrink = top[i] == most ? W(1) : exp(top[i] - most);
            W here = 0;
            for (int j = 0; j < C; ++j) {
                W p = nothing ? W(0) : exp(x[i][j] - most);
                here += p;
                W& place = ps[r * pitch<W>(columns) + column_of() + across * j];
                if (a.threshold) p *= place;
                place = p;
            }
            total[i] = total[i] * shrink + row_sum(here);
            top[i] = most;
            for (int m = 0; m < M; ++m)
                for (int e = 0; e < piece<W>; ++e) sum[i][m][e] *= shrink;
        }
        __syncthreads();
        load<size>(ks, v + at[2] + j0 * a.v_row, a.v_row, a.v_column, columns, a.s - j0, a.e, width);
        __syncthreads();
        accumulate<size, columns>(sum, ps, ks, width);
    }
    for (int i = 0; i < R; ++i) {
        const int64_t r = i0 + row_of() + down * i;
        if (r >= a.t) continue;
        store(y + at[4] + r * a.y_row, sum[i], total[i] == 0 ? W(0) : 1 / total[i], a.e);
        if (column_of() == 0) logsumexp[head * a.t + r] = total[i] == 0 ? W(INFINITY) : top[i] + log(total[i]);
    }
}

/// Where the heads of (q, k, v, mask, y, g, dq, dk, dv) begin.
struct Places {
    int64_t q, k, v, mask, y, g, dq, dk, dv;
    DEVICE Places(const Layout<9>& heads, int64_t head) {
        int64_t at[9];
        heads.place(head, at);
        q = at[0], k = at[1], v = at[2], mask = at[3], y = at[4], g = at[5], dq = at[6], dk = at[7], dv = at[8];
    }
};

/// The gradient of q, and for each query the sum of g y, which the other kernel needs.
template <class T, int size>
__global__ void __launch_bounds__(threads, 3)
    attention_of_queries(T* dq, Wide<T>* dots, const T* g, const T* q, const T* k, const T* v, const void* mask,
                         const int64_t* state, const T* y, const Wide<T>* logsumexp, Layout<9> heads, int64_t count,
                         int64_t dq_row, Problem a) {
    using W = Wide<T>;
    using Sizes = Tile<W, size>;
    constexpr int rows = Sizes::q_rows, columns = Sizes::q_columns, R = rows / down, C = columns / across;
    constexpr int M = size / (across * piece<W>);
    DYNAMIC_SHARED(W, shared);
    W *qs = shared, *gs = qs + rows * pitch<W>(size), *ks = gs + rows * pitch<W>(size), *ps = ks + columns * pitch<W>(size);
    const int64_t head = blockIdx.x % count, i0 = ((a.t - 1) / rows - blockIdx.x / count) * rows;
    const Places at(heads, head);
    const void* masked = a.mask ? of_head<T>(a, mask, at.mask) : nullptr;
    const int depth = rounded_up(a.d, across * piece<W>), width = rounded_up(a.e, across * piece<W>);
    load<size>(qs, q + at.q + i0 * a.q_row, a.q_row, a.q_column, rows, a.t - i0, a.d, depth);
    load<size>(gs, g + at.g + i0 * a.g_row, a.g_row, a.g_column, rows, a.t - i0, a.e, width);
    __syncthreads();
    W sum[R][M][piece<W>] = {}, dot[R], rest[R];
    for (int i = 0; i < R; ++i) {
        const int r = row_of() + down * i;
        const bool there = i0 + r < a.t;
        dot[i] = 0;
        for (int c = column_of(); there && c < a.e; c += across)
            dot[i] += gs[r * pitch<W>(size) + c] * widened(y[at.y + (i0 + r) * a.y_row + c]);
        dot[i] = row_sum(dot[i]);
        rest[i] = there ? logsumexp[head * a.t + i0 + r] : W(INFINITY);
        if (there && column_of() == 0) dots[head * a.t + i0 + r] = dot[i];
    }
    const int64_t visible = a.causal && i0 + rows < a.s ? i0 + rows : a.s;
    for (int64_t j0 = 0; j0 < visible; j0 += columns) {
        __syncthreads();  // ks and ps may still be read
        load<size>(ks, v + at.v + j0 * a.v_row, a.v_row, a.v_column, columns, a.s - j0, a.e, width);
        if (a.threshold) dropped(ps, pitch<W>(columns), 1, a, state, head, i0, j0, rows, columns);
        __syncthreads();
        W dp[R][C], x[R][C];
        products<size>(dp, gs, ks, width);
        __syncthreads();
        load<size>(ks, k + at.k + j0 * a.k_row, a.k_row, a.k_column, columns, a.s - j0, a.d, depth);
        __syncthreads();
        products<size>(x, qs, ks, depth);
        for (int i = 0; i < R; ++i)
            for (int j = 0; j < C; ++j) {
                const int r = row_of() + down * i, c = column_of() + across * j;
                const W s = score<T>(a, x[i][j], masked, i0 + r, j0 + c);
                W& place = ps[r * pitch<W>(columns) + c];
                const W kept = a.threshold ? place : W(1);
                place = s == -INFINITY ? W(0) : exp(s - rest[i]) * (dp[i][j] * kept - dot[i]) * static_cast<W>(a.scale);
            }
        __syncthreads();
        accumulate<size, columns>(sum, ps, ks, depth);
    }
    for (int i = 0; i < R; ++i) {
        const int64_t r = i0 + row_of() + down * i;
        if (r < a.t) store(dq + at.dq + r * dq_row, sum[i], W(1), a.d);
    }
}

/// The gradients of k and v. A block takes a tile of the keys of a head, and all queries of the heads that share it.
template <class T, int size>
__global__ void __launch_bounds__(threads, 3)
    attention_of_keys(T* dk, T* dv, const T* g, const T* q, const T* k, const T* v, const void* mask, const int64_t* state,
                      const Wide<T>* dots, const Wide<T>* logsumexp, Layout<9> heads, int64_t count, int64_t dk_row,
                      int64_t dv_row, Problem a) {
    using W = Wide<T>;
    using Sizes = Tile<W, size>;
    constexpr int rows = Sizes::k_rows, columns = Sizes::k_columns, R = rows / down, C = columns / across;
    constexpr int M = size / (across * piece<W>);
    DYNAMIC_SHARED(W, shared);
    W *ks = shared, *vs = ks + rows * pitch<W>(size), *qs = vs + rows * pitch<W>(size), *gs = qs + columns * pitch<W>(size);
    W *ps = gs + columns * pitch<W>(size), *ds = ps + rows * pitch<W>(columns);
    const int64_t shared_head = blockIdx.x % count, j0 = blockIdx.x / count * rows;
    const int depth = rounded_up(a.d, across * piece<W>), width = rounded_up(a.e, across * piece<W>);
    const Places first(heads, shared_head * a.group);
    load<size>(ks, k + first.k + j0 * a.k_row, a.k_row, a.k_column, rows, a.s - j0, a.d, depth);
    load<size>(vs, v + first.v + j0 * a.v_row, a.v_row, a.v_column, rows, a.s - j0, a.e, width);
    W of_k[R][M][piece<W>] = {}, of_v[R][M][piece<W>] = {};
    for (int64_t head = shared_head * a.group; head < (shared_head + 1) * a.group; ++head) {
        const Places at(heads, head);
        const void* masked = a.mask ? of_head<T>(a, mask, at.mask) : nullptr;
        for (int64_t i0 = a.causal ? j0 / columns * columns : 0; i0 < a.t; i0 += columns) {
            __syncthreads();  // what the last tile left may still be read
            load<size>(qs, q + at.q + i0 * a.q_row, a.q_row, a.q_column, columns, a.t - i0, a.d, depth);
            load<size>(gs, g + at.g + i0 * a.g_row, a.g_row, a.g_column, columns, a.t - i0, a.e, width);
            if (a.threshold) dropped(ps, 1, pitch<W>(columns), a, state, head, i0, j0, columns, rows);
            __syncthreads();
            W x[R][C], dp[R][C];
            products<size>(x, ks, qs, depth);
            products<size>(dp, vs, gs, width);
            for (int j = 0; j < C; ++j) {
                const int c = column_of() + across * j;
                const bool there = i0 + c < a.t;
                const W rest = there ? logsumexp[head * a.t + i0 + c] : W(INFINITY);
                const W dot = there ? dots[head * a.t + i0 + c] : W(0);
                for (int i = 0; i < R; ++i) {
                    const int r = row_of() + down * i, place = r * pitch<W>(columns) + c;
                    const W s = score<T>(a, x[i][j], masked, i0 + c, j0 + r), kept = a.threshold ? ps[place] : W(1);
                    const W p = s == -INFINITY ? W(0) : exp(s - rest);
                    ps[place] = p * kept;
                    ds[place] = s == -INFINITY ? W(0) : p * (dp[i][j] * kept - dot) * static_cast<W>(a.scale);
                }
            }
            __syncthreads();
            accumulate<size, columns>(of_v, ps, gs, width);
            accumulate<size, columns>(of_k, ds, qs, depth);
        }
    }
    for (int i = 0; i < R; ++i) {
        const int64_t r = j0 + row_of() + down * i;
        if (r >= a.s) continue;
        store(dk + first.dk + r * dk_row, of_k[i], W(1), a.d);
        store(dv + first.dv + r * dv_row, of_v[i], W(1), a.e);
    }
}

/// Pairs of features (j, j + half) turned by an angle. The layout's arrays are y, x, cos and sin, over rows of half of x.
template <class T>
__global__ void rotary(T* y, const T* x, const T* cos, const T* sin, int64_t half, int64_t step, Layout<4> where, int64_t n) {
    EACH(i, n) {
        int64_t at[4];
        where.place(i, at);
        const auto a = widened(x[at[1]]), b = widened(x[at[1] + half * step]), c = widened(cos[at[2]]), s = widened(sin[at[3]]);
        y[at[0]] = narrowed<T>(a * c - b * s);
        y[at[0] + half] = narrowed<T>(b * c + a * s);
    }
}
