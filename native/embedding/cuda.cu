// Rows of a table, and the gradient of the table. Bound by the memory's bandwidth: a row is copied, or added to, once for each
// index. For the gradient the indices are sorted and summed in stretches, so that the gradients of a frequent one are read by
// many threads; the order of the sums is always the same.
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

constexpr int stretch = 32;  // of sorted indices that a thread goes through: STRETCH in rooms/embedding.py

/// gw (rows, width), zeros before: `order` sorts the `count` indices. What is padding, or no row, adds to none. Equal indices
/// that reach beyond a stretch leave their sums in `parts` (stretches, 2, width), for `join_rows`: of those that began before
/// it, and of those that begin in it.
template <class T>
__global__ void add_rows(T* gw, Wide<T>* parts, const T* g, const int64_t* indices, const int64_t* order, int64_t rows,
                         int64_t padding, int64_t width, int64_t count) {
    EACH(i, (count + stretch - 1) / stretch * width) {
        const int64_t which = i / width, column = i - which * width, begin = which * stretch;
        const int64_t end = begin + stretch < count ? begin + stretch : count;
        for (int64_t k = begin; k < end;) {
            const int64_t first = k, row = indices[order[k]];
            Wide<T> sum = 0;
            for (; k < end && indices[order[k]] == row; ++k) sum += widened(g[order[k] * width + column]);
            if (row < 0 || row >= rows || row == padding) continue;
            const bool before = first == begin && begin && indices[order[begin - 1]] == row;
            const bool after = k == end && end < count && indices[order[end]] == row;
            if (before || after) parts[(2 * which + !before) * width + column] = sum;
            else gw[row * width + column] = narrowed<T>(sum);
        }
    }
}

/// The sums of equal indices of several stretches, in their order, by the threads of the first.
template <class T>
__global__ void join_rows(T* gw, const Wide<T>* parts, const int64_t* indices, const int64_t* order, int64_t rows,
                          int64_t padding, int64_t width, int64_t count) {
    EACH(i, (count - 1) / stretch * width) {
        const int64_t which = i / width, column = i - which * width, begin = which * stretch;
        int64_t end = begin + stretch;
        const int64_t row = indices[order[end - 1]];
        const bool before = begin && indices[order[begin]] == row && indices[order[begin - 1]] == row;
        if (row < 0 || row >= rows || row == padding || before || indices[order[end]] != row) continue;
        Wide<T> sum = parts[(2 * which + 1) * width + column];
        while (end < count && indices[order[end]] == row && indices[order[end - 1]] == row) {
            sum += parts[2 * (end / stretch) * width + column];
            end += stretch;
        }
        gw[row * width + column] = narrowed<T>(sum);
    }
}
