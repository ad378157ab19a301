// Rows of a table, and the gradient of the table. Bound by the memory's bandwidth: a row is copied, or added to, once for each
// index. For the gradient the indices are sorted, and a row is summed by the threads that come to its first one, in order.
#include "core/device.cuh"

/// So many bytes, moved at once.
template <int bytes> struct alignas(bytes) Chunk {
    uint16_t part[bytes / 2];
};

/// y (count, width) = rows of the table (rows, width), in chunks; zeros for an index that is reported.
template <int bytes>
__global__ void rows_of(Chunk<bytes>* y, int64_t* fault, const Chunk<bytes>* table, const int64_t* indices, int64_t check,
                        int64_t rows, int64_t width, int64_t n) {
    EACH(i, n) {
        const int64_t which = i / width, row = indices[which];
        const bool there = row >= 0 && row < rows;
        if (!there) report(fault, check, row, rows, 0);
        y[i] = there ? table[row * width + i - which * width] : Chunk<bytes>{};
    }
}

/// gw (rows, width), zeros before: `order` sorts the `count` indices. What is padding, or no row, adds to none.
template <class T>
__global__ void add_rows(T* gw, const T* g, const int64_t* indices, const int64_t* order, int64_t rows, int64_t padding,
                         int64_t width, int64_t count) {
    EACH(i, count * width) {
        const int64_t first = i / width, column = i - first * width, row = indices[order[first]];
        if (row < 0 || row >= rows || row == padding || (first && indices[order[first - 1]] == row)) continue;
        typename SumOf<T>::type sum = 0;
        for (int64_t k = first; k < count && indices[order[k]] == row; ++k) sum += widened(g[order[k] * width + column]);
        gw[row * width + column] = narrowed<T>(sum);
    }
}
