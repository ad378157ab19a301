// Matrix products. Bound by arithmetic for large matrices: 1024^3 in float is 2.1 GFLOP, 32 us at the 66.9 TFLOP/s of an H200.
#include "core/device.cuh"

/// What is multiplied: y (batch, m, n) dense, a (batch, m, k) and b (batch, k, n) of any strides, in elements.
struct Product {
    int64_t m, n, k, a_row, a_column, b_row, b_column;
};

/// One block makes a 64 x 64 tile of y, each of its 256 threads 4 x 4 of that; 16 of k at a time lie in shared memory. Blocks:
/// tiles of n, tiles of m, batch. Sums are kept in the type for sums, in the order of k.
template <class T>
__global__ void __launch_bounds__(256) product(T* y, const T* a, const T* b, Product p, Layout<2> batch) {
    using Sum = typename SumOf<T>::type;
    constexpr int tile = 64, depth = 16, each = 4;
    __shared__ Sum left[depth][tile + 4];
    __shared__ Sum right[depth][tile + 4];
    int64_t at[2];
    batch.place(blockIdx.z, at);
    a += at[0];
    b += at[1];
    y += static_cast<int64_t>(blockIdx.z) * p.m * p.n;
    const int64_t row0 = static_cast<int64_t>(blockIdx.y) * tile, column0 = static_cast<int64_t>(blockIdx.x) * tile;
    const int t = threadIdx.x, ty = t / 16, tx = t % 16;
    Sum sum[each][each] = {};
    for (int64_t k0 = 0; k0 < p.k; k0 += depth) {
        for (int e = t; e < tile * depth; e += 256) {
            // neighbours in memory are read by neighbouring threads
            const int i = p.a_column == 1 ? e / depth : e % tile, ka = p.a_column == 1 ? e % depth : e / tile;
            const int j = p.b_column == 1 ? e % tile : e / depth, kb = p.b_column == 1 ? e / tile : e % depth;
            const bool has_a = row0 + i < p.m && k0 + ka < p.k, has_b = column0 + j < p.n && k0 + kb < p.k;
            left[ka][i] = has_a ? static_cast<Sum>(widened(a[(row0 + i) * p.a_row + (k0 + ka) * p.a_column])) : Sum(0);
            right[kb][j] = has_b ? static_cast<Sum>(widened(b[(k0 + kb) * p.b_row + (column0 + j) * p.b_column])) : Sum(0);
        }
        __syncthreads();
        for (int k = 0; k < depth; ++k)
            for (int i = 0; i < each; ++i)
                for (int j = 0; j < each; ++j) sum[i][j] += left[k][ty * each + i] * right[k][tx * each + j];
        __syncthreads();
    }
    for (int i = 0; i < each; ++i)
        for (int j = 0; j < each; ++j) {
            const int64_t row = row0 + ty * each + i, column = column0 + tx * each + j;
            if (row < p.m && column < p.n) y[row * p.n + column] = narrowed<T>(sum[i][j]);
        }
}
