#include "core/copy.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "core/threads.h"
#include "core/transpose_kernels.h"

namespace chainrule {

namespace {

constexpr int most_axes = 64;
constexpr long piece = 1L << 17;  // bytes of a chunk of work
constexpr long tile = 64;         // elements along each side of a transposed tile

/// The walk: axes from the slowest to the fastest of the destination, merged where both allow.
struct Plan {
    int rank = 0;
    long item, shape[most_axes], to_step[most_axes], from_step[most_axes];
    char* to;
    const char* from;

    /// The places of the index-th element of the first `axes` axes.
    void at(long index, int axes, char*& to_place, const char*& from_place) const {
        to_place = to;
        from_place = from;
        for (int d = axes - 1; d >= 0; --d) {
            const long i = index % shape[d];
            index /= shape[d];
            to_place += i * to_step[d];
            from_place += i * from_step[d];
        }
    }
    long count(int axes) const {
        long n = 1;
        for (int d = 0; d < axes; ++d) n *= shape[d];
        return n;
    }
    /// Moves an axis to the last place but `from_last`.
    void move(int axis, int from_last) {
        const int last = rank - 1 - from_last;
        for (long* values : {shape, to_step, from_step}) std::rotate(values + axis, values + axis + 1, values + last + 1);
    }
};

Plan planned(int rank, const long* shape, char* to, const long* to_strides, const char* from, const long* from_strides,
             long item) {
    Plan plan;
    plan.item = item;
    plan.to = to;
    plan.from = from;
    int order[most_axes], n = 0;
    long sign[most_axes];
    for (int d = 0; d < rank; ++d) {
        if (shape[d] == 1) continue;
        sign[d] = to_strides[d] < 0 ? -1 : 1;
        if (sign[d] < 0) {  // backwards in both
            plan.to += (shape[d] - 1) * to_strides[d];
            plan.from += (shape[d] - 1) * from_strides[d];
        }
        order[n++] = d;
    }
    std::stable_sort(order, order + n, [&](int a, int b) { return std::abs(to_strides[a]) > std::abs(to_strides[b]); });
    for (int i = 0; i < n; ++i) {
        const int d = order[i];
        const long to_step = sign[d] * to_strides[d], from_step = sign[d] * from_strides[d];
        const int last = plan.rank - 1;
        if (last >= 0 && plan.to_step[last] == to_step * shape[d] && plan.from_step[last] == from_step * shape[d]) {
            plan.shape[last] *= shape[d];
            plan.to_step[last] = to_step;
            plan.from_step[last] = from_step;
            continue;
        }
        plan.shape[plan.rank] = shape[d];
        plan.to_step[plan.rank] = to_step;
        plan.from_step[plan.rank++] = from_step;
    }
    return plan;
}

template <class T>
void strided(char* to, long to_step, const char* from, long from_step, long n) {
    const auto put = [&](long i, long a, long b) { *reinterpret_cast<T*>(to + i * a) = *reinterpret_cast<const T*>(from + i * b); };
    constexpr long item = sizeof(T);
    if (to_step == item && from_step == 0) {
        std::fill_n(reinterpret_cast<T*>(to), n, *reinterpret_cast<const T*>(from));
    } else if (to_step == item && from_step == -item) {
        for (long i = 0; i < n; ++i) put(i, item, -item);
    } else if (to_step == item) {
        for (long i = 0; i < n; ++i) put(i, item, from_step);
    } else {
        for (long i = 0; i < n; ++i) put(i, to_step, from_step);
    }
}

/// One run along the last axis.
void run(const Plan& plan, char* to, const char* from) {
    const int d = plan.rank - 1;
    const long n = plan.shape[d], to_step = plan.to_step[d], from_step = plan.from_step[d];
    switch (plan.item) {
        case 1: return strided<uint8_t>(to, to_step, from, from_step, n);
        case 2: return strided<uint16_t>(to, to_step, from, from_step, n);
        case 4: return strided<uint32_t>(to, to_step, from, from_step, n);
        case 8: return strided<uint64_t>(to, to_step, from, from_step, n);
        default:
            for (long i = 0; i < n; ++i) std::memcpy(to + i * to_step, from + i * from_step, plan.item);
    }
}

/// The last two axes: along the last the destination is dense, along the one before the source.
void transpose_tiles(const Plan& plan) {
    const int i = plan.rank - 1, j = plan.rank - 2;
    const long rows = (plan.shape[i] + tile - 1) / tile, columns = (plan.shape[j] + tile - 1) / tile, tiles = rows * columns;
    const long lds = plan.from_step[i] / plan.item, ldd = plan.to_step[j] / plan.item;
    const long bytes = std::min(tile, plan.shape[i]) * std::min(tile, plan.shape[j]) * plan.item;
    parallel_range(plan.count(j) * tiles, std::max(1L, piece / bytes), [&](long begin, long end) {
        for (long unit = begin; unit < end; ++unit) {
            char* to;
            const char* from;
            plan.at(unit / tiles, j, to, from);
            const long a = unit % tiles % rows * tile, b = unit % tiles / rows * tile;
            const long m = std::min(tile, plan.shape[i] - a), n = std::min(tile, plan.shape[j] - b);
            to += a * plan.item + b * plan.to_step[j];
            from += a * plan.from_step[i] + b * plan.item;
            if (plan.item == 4)
                transpose_kernels().f32(reinterpret_cast<const float*>(from), lds, reinterpret_cast<float*>(to), ldd, m, n);
            else
                transpose_kernels().f64(reinterpret_cast<const double*>(from), lds, reinterpret_cast<double*>(to), ldd, m, n);
        }
    });
}

/// The axis along which the source is dense, if a tile of it and the last axis is worth turning; else -1.
int turned(const Plan& plan) {
    const int last = plan.rank - 1;
    const long item = plan.item;
    if ((item != 4 && item != 8) || plan.to_step[last] != item || plan.shape[last] < 4) return -1;
    for (int d = 0; d < last; ++d)
        if (plan.from_step[d] == item && plan.shape[d] >= 4 && plan.to_step[d] % item == 0 &&
            plan.from_step[last] % item == 0)
            return d;
    return -1;
}

}  // namespace

void copy_elements(int rank, const long* shape, char* to, const long* to_strides, const char* from,
                   const long* from_strides, long item) {
    for (int d = 0; d < rank; ++d)
        if (shape[d] == 0) return;
    Plan plan = planned(rank, shape, to, to_strides, from, from_strides, item);
    if (plan.rank == 0) return static_cast<void>(std::memcpy(plan.to, plan.from, item));
    const int last = plan.rank - 1;
    if (plan.to_step[last] == item && plan.from_step[last] == item) {
        const long bytes = plan.shape[last] * item;
        if (plan.rank == 1) {
            parallel_range(bytes, piece, [&](long begin, long end) {
                std::memcpy(plan.to + begin, plan.from + begin, static_cast<size_t>(end - begin));
            });
            return;
        }
        const long rows = plan.shape[last - 1], share = std::min(rows, std::max(1L, piece / bytes));  // rows of a unit
        const long units = (rows + share - 1) / share;
        parallel_range(plan.count(last - 1) * units, std::max(1L, piece / (share * bytes)), [&](long begin, long end) {
            for (long unit = begin; unit < end; ++unit) {
                char* t;
                const char* f;
                plan.at(unit / units, last - 1, t, f);
                const long r = unit % units * share;
                const long to_step = plan.to_step[last - 1], from_step = plan.from_step[last - 1];
                copy_kernels().rows(t + r * to_step, to_step, f + r * from_step, from_step, std::min(share, rows - r), bytes);
            }
        });
        return;
    }
    if (const int dense = turned(plan); dense >= 0) {
        plan.move(dense, 1);
        return transpose_tiles(plan);
    }
    const long bytes = plan.shape[last] * item;
    parallel_range(plan.count(last), std::max(1L, piece / bytes), [&](long begin, long end) {
        for (long row = begin; row < end; ++row) {
            char* t;
            const char* f;
            plan.at(row, last, t, f);
            run(plan, t, f);
        }
    });
}

}  // namespace chainrule
