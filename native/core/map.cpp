#include "core/map.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/map_watch.h"
#include "core/threads.h"
#include "core/transpose_kernels.h"

namespace chainrule {

namespace {

constexpr int max_operands = 3;
constexpr long block = 1024;     // elements gathered at once
constexpr long short_row = 64;   // rows below this are gathered, too: a kernel call each would cost more
// Results of so many bytes are stored past the caches if nothing but memory bounds the op: such a store waits for its number,
// so that exp of 64 MB took 22 ms, and takes 5 with ordinary ones; an addition of two arrays 4 and 5.
constexpr long streamed = 24L << 20;
constexpr long tile_rows = 16, tile_bytes = 1024;  // of an operand that lies transposed

// The walk: axes from slowest to fastest in the output's memory, merged where every operand allows.
struct Plan {
    int rank = 0, operands = 0;
    long n = 1;
    long shape[max_rank];
    long strides[max_operands][max_rank];  // bytes
    const char* data[max_operands];
    long item[max_operands];               // bytes of an element; 0 for an operand that is one value
    MapKernel kernel;
    char* y;
    long y_item;

    long stride(int k, int from_last) const { return strides[k][rank - from_last]; }
    /// Whether operand k runs down the last axis but one.
    bool transposed(int k) const {
        return rank > 1 && stride(k, 2) == item[k] && stride(k, 1) != item[k] && stride(k, 1) != 0;
    }
};

/// Moves plan position from flat index `at` to a multi-index and the operands' offsets.
struct Cursor {
    const Plan& plan;
    long index[max_rank];
    const char* p[max_operands] = {};

    Cursor(const Plan& plan, long at) : plan(plan) {
        for (int k = 0; k < plan.operands; ++k) p[k] = plan.data[k];
        for (int d = plan.rank - 1; d >= 0; --d) {
            index[d] = at % plan.shape[d];
            at /= plan.shape[d];
            for (int k = 0; k < plan.operands; ++k) p[k] += index[d] * plan.strides[k][d];
        }
    }
    /// Goes n elements on within the fastest axis; at its end, to the next row.
    void advance(long n) {
        int d = plan.rank - 1;
        index[d] += n;
        for (int k = 0; k < plan.operands; ++k) p[k] += n * plan.strides[k][d];
        while (index[d] == plan.shape[d] && d > 0) {
            for (int k = 0; k < plan.operands; ++k)
                p[k] += plan.strides[k][d - 1] - plan.shape[d] * plan.strides[k][d];
            index[d] = 0;
            ++index[--d];
        }
    }
};

template <class T>
void gather_as(char* to, const char* from, long stride, long n) {
    T* y = reinterpret_cast<T*>(to);
    for (long i = 0; i < n; ++i, from += stride) y[i] = *reinterpret_cast<const T*>(from);
}

void gather(char* to, const char* from, long stride, long n, long item) {
    if (stride == item) std::memcpy(to, from, n * item);
    else if (item == 4) gather_as<int32_t>(to, from, stride, n);
    else if (item == 8) gather_as<int64_t>(to, from, stride, n);
    else if (item == 1) gather_as<int8_t>(to, from, stride, n);
    else gather_as<int16_t>(to, from, stride, n);
}

/// Whether the last axis is long, and every operand is dense along it or one value; which of them are.
bool dense_rows(const Plan& plan, unsigned& single) {
    for (int k = 0; k < plan.operands; ++k) {
        if (plan.stride(k, 1) == 0) single |= 1u << k;
        else if (plan.stride(k, 1) != plan.item[k]) return false;
    }
    return plan.shape[plan.rank - 1] >= short_row;
}

void run_rows(const Plan& plan, long begin, long end, unsigned single) {
    const int last = plan.rank - 1;
    for (Cursor cursor(plan, begin); begin < end;) {
        const long n = std::min(end - begin, plan.shape[last] - cursor.index[last]);
        plan.kernel(plan.y + begin * plan.y_item, cursor.p[0], cursor.p[1], cursor.p[2], single, n);
        cursor.advance(n);
        begin += n;
    }
}

void run(const Plan& plan, long begin, long end) {
    alignas(64) char buffer[max_operands][block * 8];
    const long row = plan.shape[plan.rank - 1];
    Cursor cursor(plan, begin);
    while (begin < end) {
        const void* p[max_operands] = {};
        unsigned single = 0;
        long n;
        if (row >= short_row) {  // within one row
            n = std::min(end - begin, row - cursor.index[plan.rank - 1]);
            bool gathers = false;
            for (int k = 0; k < plan.operands; ++k) {
                const long stride = plan.strides[k][plan.rank - 1];
                if (stride == 0) single |= 1u << k;
                else gathers |= stride != plan.item[k];
            }
            if (gathers) n = std::min(n, block);
            for (int k = 0; k < plan.operands; ++k) {
                const long stride = plan.strides[k][plan.rank - 1];
                p[k] = cursor.p[k];
                if (stride == 0 || stride == plan.item[k]) continue;
                gather(buffer[k], cursor.p[k], stride, n, plan.item[k]);
                p[k] = buffer[k];
            }
            cursor.advance(n);
        } else {  // a block of several rows
            n = std::min(end - begin, block);
            for (long done = 0; done < n;) {
                const long m = std::min(n - done, row - cursor.index[plan.rank - 1]);
                for (int k = 0; k < plan.operands; ++k)
                    if (const long item = plan.item[k])
                        gather(buffer[k] + done * item, cursor.p[k], plan.strides[k][plan.rank - 1], m, item);
                done += m;
                cursor.advance(m);
            }
            for (int k = 0; k < plan.operands; ++k) {
                p[k] = plan.item[k] ? buffer[k] : plan.data[k];
                if (!plan.item[k]) single |= 1u << k;
            }
        }
        plan.kernel(plan.y + begin * plan.y_item, p[0], p[1], p[2], single, n);
        begin += n;
    }
}

// Whether to go through the output in tiles because an operand lies transposed: along a row of the output, each of its
// elements would cost a line of the cache. 512 x 512: x + y.T takes twice the time of x + y, row by row twelve times.
bool tiles(const Plan& plan) {
    bool any = false;
    for (int k = 0; k < plan.operands; ++k) any |= plan.transposed(k);
    return any && plan.shape[plan.rank - 1] >= short_row && plan.shape[plan.rank - 2] >= tile_rows / 2;
}

// Rows [begin, begin + rows) of the output, all in one block of the second axis from last.
void run_tiles(const Plan& plan, long begin, long rows) {
    alignas(64) char buffer[max_operands][tile_rows * tile_bytes];
    const long row = plan.shape[plan.rank - 1], width = tile_bytes / 8;
    const Cursor start(plan, begin * row);
    for (long j = 0; j < row; j += width) {
        const long n = std::min(width, row - j);
        const char* p[max_operands] = {};
        long step[max_operands] = {};
        unsigned single = 0;
        for (int k = 0; k < plan.operands; ++k) {
            const long stride = plan.stride(k, 1), item = plan.item[k];
            const char* from = start.p[k] + j * stride;
            p[k] = from, step[k] = plan.stride(k, 2);
            if (stride == 0) single |= 1u << k;
            if (stride == 0 || stride == item) continue;
            p[k] = buffer[k], step[k] = width * item;
            if (plan.transposed(k) && item == 4)
                transpose_kernels().f32(reinterpret_cast<const float*>(from), stride / 4,
                                        reinterpret_cast<float*>(buffer[k]), width, n, rows);
            else if (plan.transposed(k) && item == 8)
                transpose_kernels().f64(reinterpret_cast<const double*>(from), stride / 8,
                                        reinterpret_cast<double*>(buffer[k]), width, n, rows);
            else
                for (long r = 0; r < rows; ++r)
                    gather(buffer[k] + r * step[k], from + r * plan.stride(k, 2), stride, n, item);
        }
        for (long r = 0; r < rows; ++r) {
            plan.kernel(plan.y + ((begin + r) * row + j) * plan.y_item, p[0], p[1], p[2], single, n);
            for (int k = 0; k < plan.operands; ++k) p[k] += step[k];
        }
    }
}

// Pieces of about 16 us, a fixed number of elements for a given cost.
long grain_of(double cost) { return std::max(block, static_cast<long>(16000 / cost) / block * block); }

Owned map_flat(MapKernel kernel, Owned y, DType result, std::initializer_list<MapOperand> operands, double cost) {
    const void* p[max_operands] = {};
    long item[max_operands] = {};
    unsigned single = 0;
    int k = 0;
    for (const MapOperand& operand : operands) {
        p[k] = operand.value;
        if (operand.array) item[k] = item_size(operand.array.dtype());
        else single |= 1u << k;
        ++k;
    }
    const long n = static_cast<Array>(y).size(), y_item = item_size(result);
    char* to = static_cast<char*>(y.raw());
    if (n * cost < 16000) {
        kernel(to, p[0], p[1], p[2], single, n);
        return y;
    }
    const bool past = n * y_item >= streamed && cost <= cheap && k < max_operands;
    ReleaseGil gil(n * cost);
    parallel_range(n, grain_of(cost), [&](long begin, long end) {
        const auto at = [&](int k) { return static_cast<const char*>(p[k]) + begin * item[k]; };
        kernel(to + begin * y_item, at(0), at(1), past ? &beyond_caches : at(2), single, end - begin);
    });
    return y;
}

/// Whether all arrays have one shape and one dense layout.
bool flat(std::initializer_list<MapOperand> operands, const Array*& first) {
    for (const MapOperand& operand : operands) {
        if (!operand.array) continue;
        const Array& x = operand.array;
        if (!first) {
            first = &x;
            if (!x.contiguous() && !x.dense()) return false;
            continue;
        }
        const int rank = x.rank();
        if (rank != first->rank() || !std::equal(x.shape(), x.shape() + rank, first->shape())) return false;
        if (x.contiguous() && first->contiguous()) continue;
        const long item = item_size(x.dtype()), other = item_size(first->dtype());
        for (int d = 0; d < rank; ++d)
            if (x.dim(d) > 1 && x.stride(d) * other != first->stride(d) * item) return false;
    }
    return true;
}

}  // namespace

thread_local void (*map_watcher)(const MapRequest&) = nullptr;

Owned map(MapKernel kernel, DType result, std::initializer_list<MapOperand> operands, double cost) {
    if (map_watcher) {
        MapRequest request{kernel, result, cost, 0, {}, {}};
        for (const MapOperand& operand : operands) {
            request.is_array[request.count] = static_cast<bool>(operand.array);
            request.operands[request.count++] = operand.value;
        }
        map_watcher(request);
    }
    const Array* first = nullptr;
    if (flat(operands, first)) return map_flat(kernel, make_like(*first, result), result, operands, cost);

    // The broadcast shape.
    int rank = 0;
    for (const MapOperand& operand : operands)
        if (operand.array) rank = std::max(rank, operand.array.rank());
    npy_intp shape[max_rank];
    std::fill(shape, shape + rank, npy_intp{1});
    for (const MapOperand& operand : operands) {
        if (!operand.array) continue;
        const Array& x = operand.array;
        for (int d = 0; d < x.rank(); ++d) {
            npy_intp& n = shape[rank - x.rank() + d];
            if (x.dim(d) == n || x.dim(d) == 1) continue;
            if (n != 1) return not_implemented();
            n = x.dim(d);
        }
    }
    Plan plan;
    plan.kernel = kernel;
    plan.operands = static_cast<int>(operands.size());
    long strides[max_operands][max_rank];
    int k = 0;
    for (const MapOperand& operand : operands) {
        const Array& x = operand.array;
        const int missing = x ? rank - x.rank() : rank;
        for (int d = 0; d < rank; ++d)
            strides[k][d] = d < missing || x.dim(d - missing) == 1 ? 0 : x.stride(d - missing);
        plan.data[k] = static_cast<const char*>(operand.value);
        plan.item[k] = x ? item_size(x.dtype()) : 0;
        ++k;
    }

    // Axes in memory order: a sorts before b if some operand has the larger stride there (the first that tells).
    int order[max_rank];
    for (int d = 0; d < rank; ++d) {
        int at = d;
        for (; at > 0; --at) {
            const int before = order[at - 1];
            int verdict = 0;
            for (int i = 0; i < plan.operands && !verdict; ++i) {
                const long a = std::abs(strides[i][before]), b = std::abs(strides[i][d]);
                if (a && b && shape[before] != 1 && shape[d] != 1 && a != b) verdict = a < b ? 1 : -1;
            }
            if (verdict <= 0) break;
            order[at] = before;
        }
        order[at] = d;
    }
    const long y_item = item_size(result);
    npy_intp y_strides[max_rank];
    long step = y_item;
    for (int i = rank - 1; i >= 0; --i) {
        y_strides[order[i]] = step;
        step *= std::max<npy_intp>(shape[order[i]], 1);
        plan.n *= shape[order[i]];
    }
    Owned y = make_output(rank, shape, result, y_strides);
    if (plan.n == 0) return y;

    // Merge neighbouring axes that are one axis for every operand.
    for (int i = 0; i < rank; ++i) {
        const int d = order[i];
        if (shape[d] == 1) continue;
        bool merges = plan.rank > 0;
        for (int j = 0; j < plan.operands && merges; ++j)
            merges = plan.strides[j][plan.rank - 1] == strides[j][d] * shape[d];
        if (!merges) plan.shape[plan.rank++] = 1;
        plan.shape[plan.rank - 1] *= shape[d];
        for (int j = 0; j < plan.operands; ++j) plan.strides[j][plan.rank - 1] = strides[j][d];
    }
    if (plan.rank == 0) {
        plan.rank = 1;
        plan.shape[0] = 1;
        for (int j = 0; j < plan.operands; ++j) plan.strides[j][0] = 0;
    }
    plan.y = static_cast<char*>(y.raw());
    plan.y_item = y_item;
    cost = std::max(cost, 0.5);  // the walk itself
    ReleaseGil gil(plan.n * cost);
    if (tiles(plan)) {
        const long row = plan.shape[plan.rank - 1], rows = plan.shape[plan.rank - 2], outer = plan.n / row / rows;
        const long blocks = (rows + tile_rows - 1) / tile_rows;
        parallel_range(outer * blocks, std::max(1L, grain_of(cost) / (tile_rows * row)), [&](long begin, long end) {
            for (long u = begin; u < end; ++u) {
                const long r = u % blocks * tile_rows;
                run_tiles(plan, u / blocks * rows + r, std::min(tile_rows, rows - r));
            }
        });
        return y;
    }
    if (unsigned single = 0; dense_rows(plan, single))
        parallel_range(plan.n, grain_of(cost), [&](long begin, long end) { run_rows(plan, begin, end, single); });
    else
        parallel_range(plan.n, grain_of(cost), [&](long begin, long end) { run(plan, begin, end); });
    return y;
}

}  // namespace chainrule
