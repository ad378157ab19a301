// Matrix products, with what follows them: a bias, an activation. Bound by arithmetic for large matrices: 1024^3 in float
// is 2.1 GFLOP, 32 us at the 66.9 TFLOP/s of an H200, in 16-bit floats 2.7 us at 788. Small ones are bound by the launch.
//
// Sums are kept in the type for sums, in the order of k, or of its parts where few tiles would leave multiprocessors idle:
// a product gives the same bits each time.
#include "core/tile.cuh"

/// y (batch, m, n) dense = a (batch, m, k) b (batch, k, n), of any strides, in elements; then + bias (n), unless that is null;
/// then the activation: 0 none, 1 relu, 2 sigmoid, 3 tanh. `whole`: for a and b, see Matrix. k is done in `parts` of `chunk`.
struct Product {
    int64_t m, n, k, a_row, a_column, b_row, b_column, a_whole, b_whole, activation, parts, chunk;
};

template <class S> DEVICE S activated(S x, int64_t activation) {
    if constexpr (S(0.5) != S(0)) {  // of real numbers
        if (activation == 1) return x <= S(0) ? S(0) : x;  // NaN goes through
        if (activation == 2) {
            const S e = exp(x < S(0) ? x : -x);  // never overflows
            return (x < S(0) ? e : S(1)) / (S(1) + e);
        }
        if (activation == 3) return tanh(x);
    }
    return x;
}

/// Blocks: one for each tile, of each of batch times parts. If there are several parts, each leaves its sums in `sums`
/// (parts, batch, m, n), for `combined`.
template <class T, int tile>
__global__ void __launch_bounds__(tile_threads<T, tile>, 1)
    product(T* y, typename SumOf<T>::type* sums, const T* a, const T* b, const T* bias, Product p, Layout<2> batch) {
    using Sum = typename SumOf<T>::type;
    const int m = static_cast<int>(p.m), n = static_cast<int>(p.n), k = static_cast<int>(p.k);
    const int parts = static_cast<int>(p.parts);
    const Share mine = share<tile>(m, n);
    const int z = mine.z / parts, part = mine.z - z * parts;
    const int begin = part * static_cast<int>(p.chunk), end = parts > 1 && begin + p.chunk < k ? begin + p.chunk : k;
    int64_t at[2];
    batch.place(z, at);
    const Matrix<T> left{a + at[0], m, end, p.a_row, p.a_column, p.a_column == 1, p.a_whole != 0};
    const Matrix<T> right{b + at[1], n, end, p.b_column, p.b_row, p.b_row == 1, p.b_whole != 0};
    T* const to = y + z * p.m * p.n;
    Sum* const to_sums = sums + (static_cast<int64_t>(part) * (mine.count / parts) + z) * p.m * p.n;
    tiled<T, tile>(left, right, mine.row0, mine.column0, begin, end, [&](int row, int column, Sum sum) {
        if (row >= m || column >= n) return;
        const int64_t i = row * p.n + column;
        if (parts > 1) to_sums[i] = sum;
        else to[i] = narrowed<T>(activated(bias ? sum + static_cast<Sum>(widened(bias[column])) : sum, p.activation));
    });
}

/// y (count, n) = the sums of parts (parts, count, n), in their order, then as in `product`.
template <class T>
__global__ void combined(T* y, const typename SumOf<T>::type* sums, const T* bias, int64_t n, int64_t activation,
                         int64_t parts, int64_t size) {
    EACH(i, size) {
        double sum = 0;
        for (int64_t p = 0; p < parts; ++p) sum += sums[p * size + i];
        if (bias) sum += widened(bias[i % n]);
        y[i] = narrowed<T>(activated(static_cast<typename SumOf<T>::type>(sum), activation));
    }
}

/// The gradient before an activation, from that after it and its result: as in `activated`.
template <class T>
__global__ void before_activation(T* y, const T* g, const T* result, int64_t activation, Layout<3> where, int64_t n) {
    EACH(i, n) {
        int64_t at[3];
        where.place(i, at);
        const Wide<T> dy = widened(g[at[1]]), r = widened(result[at[2]]), one = 1;
        const Wide<T> slope = activation == 2 ? r * (one - r) : one - r * r;
        y[at[0]] = narrowed<T>(activation == 1 ? (r <= Wide<T>(0) ? Wide<T>(0) : dy) : dy * slope);
    }
}
