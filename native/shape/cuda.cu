// Triangles of matrices. Bound by the memory's bandwidth: of the part that is zero nothing is read. 2^26 floats: 187 us with
// all of x read, 160 us with half of it.
#include "core/device.cuh"

template <int bytes> struct Word;
template <> struct Word<1> { using type = uint8_t; };
template <> struct Word<2> { using type = uint16_t; };
template <> struct Word<4> { using type = uint32_t; };
template <> struct Word<8> { using type = uint64_t; };

/// y = x up to the diagonal (`lower`) or from it on, else 0. A warp takes a row; `where` has the rows of x, `step` lies between
/// two columns, `height` rows are a matrix.
template <int bytes>
__global__ void triangle(typename Word<bytes>::type* y, const typename Word<bytes>::type* x, Layout<1> where, int64_t rows,
                         int64_t height, int64_t columns, int64_t step, int64_t diagonal, int64_t lower) {
    for (int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; row < rows;
         row += static_cast<int64_t>(gridDim.x) * blockDim.y) {
        int64_t at[1];
        where.place(row, at);
        const int64_t edge = row % height + diagonal;  // the column of the diagonal
        for (int64_t j = threadIdx.x; j < columns; j += blockDim.x) {
            const bool inside = lower ? j <= edge : j >= edge;
            y[row * columns + j] = inside ? x[at[0] + j * step] : 0;
        }
    }
}
