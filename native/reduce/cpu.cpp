// Reductions on the CPU over any axes: sum, mean, prod, amax, amin of float32 and float64, any and all of bool; max and
// min with indices along one axis, argmax and argmin; cumsum and cumprod.
//
// The axes are brought into memory order and merged. If the fastest one is reduced, each result takes rows of
// consecutive elements; if it is kept, rows of results take rows of elements. What one result takes is cut into pieces
// of about 32768 elements by shape alone; pieces are combined in order.
#include "reduce/kernels.h"

#include <algorithm>
#include <cstring>

#include "core/map.h"
#include "core/memory.h"
#include "core/params.h"
#include "core/threads.h"

namespace chainrule {
namespace {

constexpr long piece = 32768;        // elements
constexpr double element_ns = 0.1;

long ceil_div(long a, long b) { return (a + b - 1) / b; }

/// A walk over some axes, slowest first, with an offset into x (bytes) and one into y (elements).
struct Walk {
    int rank = 0;
    long count = 1;
    long shape[max_rank], step[max_rank], y_step[max_rank];

    void axis(long n, long x_bytes, long y_elements) {
        if (rank && step[rank - 1] == x_bytes * n && y_step[rank - 1] == y_elements * n) {
            shape[rank - 1] *= n;
            step[rank - 1] = x_bytes;
            y_step[rank - 1] = y_elements;
        } else {
            shape[rank] = n;
            step[rank] = x_bytes;
            y_step[rank++] = y_elements;
        }
        count *= n;
    }
    /// The offsets of the index-th place.
    void at(long index, long& x, long& y) const {
        x = y = 0;
        for (int d = rank - 1; d >= 0; --d) {
            const long i = index % shape[d];
            index /= shape[d];
            x += i * step[d];
            y += i * y_step[d];
        }
    }
};

/// A result of x's shape without the reduced axes (or with ones in their place).
Owned reduced_output(const Array& x, uint64_t mask, bool keepdims, DType dtype) {
    npy_intp shape[max_rank];
    int rank = 0;
    for (int d = 0; d < x.rank(); ++d) {
        if (!(mask >> d & 1)) shape[rank++] = x.dim(d);
        else if (keepdims) shape[rank++] = 1;
    }
    return make_output(rank, shape, dtype);
}

/// Everything a reduction is made of; the functions below fill y.
struct Job {
    const Reduction& kernel;
    const char* x;
    char* y;
    long item, y_item;
    double divisor;
    Walk kept, folded;  // without the fastest axis
    long n;             // its length
};

// The fastest axis is reduced: results one by one. A piece is a part of one row, or several rows.
void reduce_rows(const Job& job) {
    const long parts = std::max(1L, ceil_div(job.n, piece));
    const long rows = parts > 1 ? 1 : std::max(1L, piece / std::max(job.n, 1L));
    const long pieces = parts > 1 ? job.folded.count * parts : ceil_div(job.folded.count, rows);
    const auto take = [&](void* accumulator, long x_offset, long p) {
        long at, unused;
        if (parts > 1) {
            job.folded.at(p / parts, at, unused);
            const long begin = p % parts * piece;
            job.kernel.row(accumulator, job.x + x_offset + at + begin * job.item, std::min(piece, job.n - begin));
            return;
        }
        for (long r = p * rows; r < std::min((p + 1) * rows, job.folded.count); ++r) {
            job.folded.at(r, at, unused);
            job.kernel.row(accumulator, job.x + x_offset + at, job.n);
        }
    };
    const long per_result = std::max(1L, job.folded.count * job.n);
    if (pieces == 1 && job.folded.count == 1 && job.kept.rank) {  // runs of rows at one stride
        const int inner = job.kept.rank - 1;
        const long run = job.kept.shape[inner], step = job.kept.step[inner], y_step = job.kept.y_step[inner];
        parallel_range(job.kept.count, std::max(1L, 4 * piece / per_result), [&](long begin, long end) {
            while (begin < end) {
                const long count = std::min(end - begin, run - begin % run);
                long x_offset, y_offset;
                job.kept.at(begin, x_offset, y_offset);
                job.kernel.rows(job.y + y_offset * job.y_item, job.x + x_offset, count, step, y_step, job.n, job.divisor);
                begin += count;
            }
        });
        return;
    }
    if (pieces == 1) {
        parallel_range(job.kept.count, std::max(1L, 4 * piece / per_result), [&](long begin, long end) {
            for (long k = begin; k < end; ++k) {
                long x_offset, y_offset;
                job.kept.at(k, x_offset, y_offset);
                alignas(8) char accumulator[8];
                job.kernel.start(accumulator, 1);
                take(accumulator, x_offset, 0);
                job.kernel.finish(job.y + y_offset * job.y_item, accumulator, job.divisor, 1);
            }
        });
        return;
    }
    const long size = job.kernel.accumulator;
    const Scratch<char> partials(job.kept.count * pieces * size);
    parallel_range(job.kept.count * pieces, 4, [&](long begin, long end) {
        for (long task = begin; task < end; ++task) {
            long x_offset, y_offset;
            job.kept.at(task / pieces, x_offset, y_offset);
            char* accumulator = partials.data() + task * size;
            job.kernel.start(accumulator, 1);
            take(accumulator, x_offset, task % pieces);
        }
    });
    for (long k = 0; k < job.kept.count; ++k) {
        char* accumulator = partials.data() + k * pieces * size;
        for (long p = 1; p < pieces; ++p) job.kernel.combine(accumulator, accumulator + p * size, 1);
        long x_offset, y_offset;
        job.kept.at(k, x_offset, y_offset);
        job.kernel.finish(job.y + y_offset * job.y_item, accumulator, job.divisor, 1);
    }
}

// The fastest axis is kept: rows of results, cut into tiles of columns. A piece is several rows of a tile.
void reduce_columns(const Job& job, long y_step) {
    const long tile = std::min(job.n, 1024L), tiles = ceil_div(job.n, tile);
    const long rows = std::max(1L, piece / tile), pieces = std::max(1L, ceil_div(job.folded.count, rows));
    const long size = job.kernel.accumulator, block = tile * size;
    const long outputs = job.kept.count * tiles;
    const Scratch<char> partials(outputs * pieces * block);
    const auto fold_piece = [&](long task) {
        const long output = task / pieces, p = task % pieces;
        long x_offset, y_offset;
        job.kept.at(output / tiles, x_offset, y_offset);
        const long column = output % tiles * tile, width = std::min(tile, job.n - column);
        char* accumulators = partials.data() + task * block;
        job.kernel.start(accumulators, width);
        const char* x = job.x + x_offset + column * job.item;
        const long end = std::min((p + 1) * rows, job.folded.count), inner = job.folded.rank - 1;
        for (long r = p * rows; r < end;) {  // runs of rows at one stride
            long at, unused;
            job.folded.at(r, at, unused);
            const long run = inner < 0 ? 1 : std::min(end - r, job.folded.shape[inner] - r % job.folded.shape[inner]);
            job.kernel.columns(accumulators, x + at, run, inner < 0 ? 0 : job.folded.step[inner], width);
            r += run;
        }
    };
    const long per_task = std::max(1L, std::min(rows, job.folded.count) * tile);
    parallel_range(outputs * pieces, std::max(1L, 4 * piece / per_task), [&](long begin, long end) {
        for (long task = begin; task < end; ++task) fold_piece(task);
    });
    for (long output = 0; output < outputs; ++output) {
        long x_offset, y_offset;
        job.kept.at(output / tiles, x_offset, y_offset);
        const long column = output % tiles * tile, width = std::min(tile, job.n - column);
        char* accumulators = partials.data() + output * pieces * block;
        for (long p = 1; p < pieces; ++p) job.kernel.combine(accumulators, accumulators + p * block, width);
        char* y = job.y + (y_offset + column * y_step) * job.y_item;
        if (y_step == 1) {
            job.kernel.finish(y, accumulators, job.divisor, width);
            continue;
        }
        for (long j = 0; j < width; ++j)
            job.kernel.finish(y + j * y_step * job.y_item, accumulators + j * size, job.divisor, 1);
    }
}

Owned reduce(const Reduction& kernel, const Array& argument, const Axes& axes, bool keepdims, bool mean = false) {
    const uint64_t mask = axes.mask(argument.rank());
    const DType dtype = argument.dtype();
    Owned y = reduced_output(argument, mask, keepdims, dtype);
    const long item = item_size(dtype);

    if (axes.all && argument.dense()) {  // everything, in memory order
        Job job{kernel, argument.data<char>(), static_cast<char*>(y.raw()), item, item, 1, {}, {}, argument.size()};
        if (mean) job.divisor = job.n;
        ReleaseGil gil(job.n * element_ns);
        reduce_rows(job);
        return y;
    }

    // Axes from slowest to fastest; x is copied if even the fastest has gaps.
    Array x = argument;
    Owned copy;
    int order[max_rank], rank = 0;
    for (int attempt = 0; attempt < 2; ++attempt) {
        rank = 0;
        for (int d = 0; d < x.rank(); ++d)
            if (x.dim(d) != 1) order[rank++] = d;
        std::stable_sort(order, order + rank, [&](int a, int b) { return x.stride(a) > x.stride(b); });
        if (rank == 0 || x.stride(order[rank - 1]) == item) break;
        copy = contiguous(x);
        x = copy;
    }
    Job job{kernel, x.data<char>(), static_cast<char*>(y.raw()), item, item, 1, {}, {}, 1};
    long y_steps[max_rank], y_size = 1;
    for (int d = x.rank() - 1; d >= 0; --d) {
        y_steps[d] = mask >> d & 1 ? 0 : y_size;
        if (!(mask >> d & 1)) y_size *= x.dim(d);
        else if (mean) job.divisor *= x.dim(d);
    }
    if (x.size() == 0) {  // results of nothing
        alignas(8) char accumulator[8];
        kernel.start(accumulator, 1);
        for (long i = 0; i < y_size; ++i) kernel.finish(job.y + i * item, accumulator, job.divisor, 1);
        return y;
    }
    int last = rank - 1;  // the fastest axis, with those before it that are one with it
    if (rank) {
        const bool folds = mask >> order[last] & 1;
        const long y_step = y_steps[order[last]];
        job.n = x.dim(order[last]);
        while (last > 0 && bool(mask >> order[last - 1] & 1) == folds && x.stride(order[last - 1]) == job.n * item &&
               y_steps[order[last - 1]] == job.n * y_step)
            job.n *= x.dim(order[--last]);
    }
    for (int i = 0; i < last; ++i) {
        const int d = order[i];
        (mask >> d & 1 ? job.folded : job.kept).axis(x.dim(d), x.stride(d), y_steps[d]);
    }
    ReleaseGil gil(x.size() * element_ns);
    if (rank && !(mask >> order[rank - 1] & 1)) reduce_columns(job, y_steps[order[rank - 1]]);
    else reduce_rows(job);
    return y;
}

Owned reduce_float(const Reduction (&kernels)[2], const Array& x, const Axes& axes, bool keepdims, bool mean = false) {
    const int index = float_index(x.dtype());
    return index < 0 ? not_implemented() : reduce(kernels[index], x, axes, keepdims, mean);
}

Owned reduce_bool(const Reduction& kernel, const Array& x, const Axes& axes, bool keepdims) {
    return x.is(DType::boolean) ? reduce(kernel, x, axes, keepdims) : not_implemented();
}

// ---- max and min with indices, along one axis (or all elements in row-major order, where axis is None)

struct ExtremeKernels {
    ExtremeRow row;
    Extreme columns;
};

Owned extreme(ExtremeKernels kernels, const Array& argument, const Axes& axes, bool keepdims, bool values, bool indices) {
    if (!axes.all && axes.count != 1) return not_implemented();
    const uint64_t mask = axes.mask(argument.rank());
    if (argument.size() == 0) return not_implemented();  // nothing to take: the reference says so
    const Owned copy = contiguous(argument);
    const Array x = copy;
    const DType dtype = x.dtype();
    Owned v = reduced_output(x, mask, keepdims, dtype), i = reduced_output(x, mask, keepdims, DType::int64);
    long outer = 1, n = x.size(), inner = 1;
    if (!axes.all) {
        int axis = 0;
        while (!(mask >> axis & 1)) outer *= x.dim(axis++);
        n = x.dim(axis);
        inner = x.size() / outer / n;
    }
    const long item = item_size(dtype);
    long* index = i.data<long>();
    char* value = static_cast<char*>(v.raw());
    {
        ReleaseGil gil(x.size() * 2 * element_ns);  // the tuple below is made with the GIL
        parallel_range(outer, std::max(1L, 2 * piece / (n * inner)), [&](long begin, long end) {
            for (long o = begin; o < end; ++o) {
                const char* p = x.data<char>() + o * n * inner * item;
                if (inner == 1) index[o] = kernels.row(value + o * item, p, n);
                else kernels.columns(value + o * inner * item, index + o * inner, p, n, inner);
            }
        });
    }
    if (!values) return i;
    if (!indices) return v;
    return make_tuple(std::move(v), std::move(i));
}

Owned largest(const Array& x, const Axes& axes, bool keepdims, bool values) {
    const int t = float_index(x.dtype());
    if (t < 0) return not_implemented();
    return extreme({reduce_kernels().argmax_row[t], reduce_kernels().argmax_columns[t]}, x, axes, keepdims, values, true);
}

Owned smallest(const Array& x, const Axes& axes, bool keepdims, bool values) {
    const int t = float_index(x.dtype());
    if (t < 0) return not_implemented();
    return extreme({reduce_kernels().argmin_row[t], reduce_kernels().argmin_columns[t]}, x, axes, keepdims, values, true);
}

/// Lengths of order 1 and 2; of others, and of halves, the body's.
Owned norm(const Array& x, nb::handle ord, const Axes& axes, bool keepdims) {
    const bool frobenius = PyUnicode_Check(ord.ptr());
    const double order = frobenius ? 2 : PyFloat_AsDouble(ord.ptr());
    if (order == -1 && PyErr_Occurred()) PyErr_Clear();
    if (order != 1 && order != 2) return not_implemented();
    return reduce_float(order == 1 ? reduce_kernels().norm_1 : reduce_kernels().norm_2, x, axes, keepdims);
}

// The largest or smallest of nothing is refused: by the reference, in the words of every backend.
Owned extreme_value(const Reduction (&kernels)[2], const Array& x, const Axes& axes, bool keepdims) {
    return x.size() == 0 ? not_implemented() : reduce_float(kernels, x, axes, keepdims);
}

// ---- running sums and products, accumulated in float64. Several at once: one addition waits for the one before.

template <class T, bool product, class At>
void running(T* y, const T* x, long n, long count, At at) {  // at(i, k): the place of element i of running sum k
    constexpr long most = 64;
    for (long first = 0; first < count; first += most) {
        const long m = std::min(most, count - first);
        double totals[most];
        std::fill_n(totals, m, product);
        for (long i = 0; i < n; ++i)
            for (long k = 0; k < m; ++k) {
                const long place = at(i, first + k);
                const double value = x[place];
                totals[k] = product ? totals[k] * value : totals[k] + value;
                y[place] = static_cast<T>(totals[k]);
            }
    }
}

/// Rows of n elements, four at once.
template <class T, bool product>
void running_rows(T* y, const T* x, long rows, long n) {
    long r = 0;
    for (; r + 4 <= rows; r += 4, x += 4 * n, y += 4 * n) {
        double totals[4] = {product, product, product, product};
        for (long i = 0; i < n; ++i)
#pragma GCC unroll 4
            for (long k = 0; k < 4; ++k) {
                const double value = x[k * n + i];
                totals[k] = product ? totals[k] * value : totals[k] + value;
                y[k * n + i] = static_cast<T>(totals[k]);
            }
    }
    running<T, product>(y, x, n, rows - r, [n](long i, long k) { return k * n + i; });
}

template <bool product>
Owned cumulative(const Array& argument, long axis) {
    if (!argument.is_float()) return not_implemented();
    if (axis < 0) axis += argument.rank();
    if (axis < 0 || axis >= argument.rank()) return not_implemented();
    const Owned copy = contiguous(argument);
    const Array x = copy;
    Owned y = make_output(x.rank(), x.shape(), x.dtype());
    if (x.size() == 0) return y;
    long outer = 1;
    for (int d = 0; d < axis; ++d) outer *= x.dim(d);
    const long n = x.dim(axis), inner = x.size() / outer / n;
    ReleaseGil gil(x.size() * 1.0);
    const auto run = [&]<class T>(T* to, const T* from) {
        if (inner == 1)
            return parallel_range(outer, std::max(4L, piece / n / 4 * 4), [&](long begin, long end) {
                running_rows<T, product>(to + begin * n, from + begin * n, end - begin, n);
            });
        const long width = std::min(inner, 512L), blocks = ceil_div(inner, width);  // columns of a unit of work
        parallel_range(outer * blocks, std::max(1L, piece / (n * width)), [&](long begin, long end) {
            for (long unit = begin; unit < end; ++unit) {
                const long first = unit % blocks * width, at = unit / blocks * n * inner + first;
                running<T, product>(to + at, from + at, n, std::min(width, inner - first),
                                    [inner](long i, long k) { return i * inner + k; });
            }
        });
    };
    if (x.is(DType::float32)) run(y.data<float>(), x.data<float>());
    else run(y.data<double>(), x.data<double>());
    return y;
}

}  // namespace

void bind_reduce(nb::module_& m) {
    using namespace nb::literals;
    const auto axis = "axis"_a.none() = nb::none();
    const auto keepdims = "keepdims"_a = false;
    const auto def = [&](const char* name, auto f) { m.def(name, f, "x"_a, nb::kw_only(), axis, keepdims); };
    def("sum", [](const Array& x, const Axes& axis, bool k) { return reduce_float(reduce_kernels().sum, x, axis, k); });
    def("mean", [](const Array& x, const Axes& axis, bool k) {
        return reduce_float(reduce_kernels().sum, x, axis, k, true);
    });
    def("prod", [](const Array& x, const Axes& axis, bool k) { return reduce_float(reduce_kernels().prod, x, axis, k); });
    def("amax", [](const Array& x, const Axes& axis, bool k) { return extreme_value(reduce_kernels().max, x, axis, k); });
    def("amin", [](const Array& x, const Axes& axis, bool k) { return extreme_value(reduce_kernels().min, x, axis, k); });
    m.def("norm", &norm, "x"_a, nb::kw_only(), "ord"_a = 2, axis, keepdims);
    def("any", [](const Array& x, const Axes& axis, bool k) { return reduce_bool(reduce_kernels().any, x, axis, k); });
    def("all", [](const Array& x, const Axes& axis, bool k) { return reduce_bool(reduce_kernels().all, x, axis, k); });
    def("max", [](const Array& x, const Axes& axis, bool k) { return largest(x, axis, k, true); });
    def("min", [](const Array& x, const Axes& axis, bool k) { return smallest(x, axis, k, true); });
    def("argmax", [](const Array& x, const Axes& axis, bool k) { return largest(x, axis, k, false); });
    def("argmin", [](const Array& x, const Axes& axis, bool k) { return smallest(x, axis, k, false); });
    m.def("cumsum", &cumulative<false>, "x"_a, nb::kw_only(), "axis"_a);
    m.def("cumprod", &cumulative<true>, "x"_a, nb::kw_only(), "axis"_a);
}

}  // namespace chainrule
