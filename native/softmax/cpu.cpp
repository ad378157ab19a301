// Bindings of the softmax room: softmax, log_softmax, cross_entropy and their gradients.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "core/array.h"
#include "core/memory.h"
#include "core/params.h"
#include "core/threads.h"
#include "softmax/kernels.h"

using namespace nb::literals;

namespace chainrule {

namespace {

constexpr long grain = 16384;  // elements in a chunk, about 5 us

// Row-major x around one axis: outer x n x inner.
struct Split {
    long outer = 1, n = 1, inner = 1;
    Split(const Array& x, long axis) {
        if (axis < 0) axis += x.rank();
        if (axis < 0 || axis >= std::max(x.rank(), 1)) throw std::out_of_range("[softmax] axis is outside of x's axes");
        for (int i = 0; i < x.rank(); i++) (i < axis ? outer : i > axis ? inner : n) *= x.dim(i);
    }
    double nanoseconds() const { return static_cast<double>(outer * n * inner); }
};

// rows(first row, count) over the outer rows if the axis is innermost, else columns(outer index, j0, j1).
template <class Rows, class Columns>
void each_piece(const Split& s, Rows rows, Columns columns) {
    if (s.outer * s.n * s.inner == 0) return;
    if (s.inner == 1) {
        parallel_range(s.outer, std::max(1L, grain / s.n), [&](long begin, long end) { rows(begin, end - begin); });
        return;
    }
    const long width = std::max(128L, grain / s.n / 128 * 128), pieces = (s.inner + width - 1) / width;
    parallel_range(s.outer * pieces, std::max(1L, grain / (s.n * std::min(width, s.inner))), [&](long begin, long end) {
        for (long u = begin; u < end; u++)
            columns(u / pieces, u % pieces * width, std::min(s.inner, (u % pieces + 1) * width));
    });
}

template <class T>
Owned forward_of(const Array& x, long axis, bool logarithm) {
    const Split s(x, axis);
    const Owned from = contiguous(x);
    Owned y = make_output(x.rank(), x.shape(), x.dtype());
    {
        const ReleaseGil gil(s.nanoseconds());
        const auto& k = softmax_kernels().of<T>();
        const T* px = from.data<T>();
        T* py = y.data<T>();
        const auto row = logarithm ? k.log_softmax : k.softmax;
        const auto column = logarithm ? k.log_softmax_inner : k.softmax_inner;
        each_piece(
            s, [&](long r, long count) { row(px + r * s.n, py + r * s.n, count, s.n); },
            [&](long o, long j0, long j1) {
                column(px + o * s.n * s.inner, py + o * s.n * s.inner, s.n, s.inner, j0, j1);
            });
    }
    Py_INCREF(static_cast<Array>(y).object());
    Owned saved(static_cast<Array>(y).object());
    return make_tuple(std::move(y), make_tuple(std::move(saved)));
}

template <class T>
Owned backward_of(const Array& g, const Array& y, long axis, bool logarithm) {
    const Split s(y, axis);
    const Owned grad = contiguous(g), from = contiguous(y);
    Owned gx = make_output(y.rank(), y.shape(), y.dtype());
    const ReleaseGil gil(s.nanoseconds());
    const auto& k = softmax_kernels().of<T>();
    const T *pg = grad.data<T>(), *py = from.data<T>();
    T* px = gx.data<T>();
    const auto row = logarithm ? k.log_softmax_back : k.softmax_back;
    const auto column = logarithm ? k.log_softmax_back_inner : k.softmax_back_inner;
    each_piece(
        s, [&](long r, long count) { row(pg + r * s.n, py + r * s.n, px + r * s.n, count, s.n); },
        [&](long o, long j0, long j1) {
            const long at = o * s.n * s.inner;
            column(pg + at, py + at, px + at, s.n, s.inner, j0, j1);
        });
    return gx;
}

template <bool logarithm>
Owned forward(Array x, long axis) {
    if (!x.is_float()) return not_implemented();
    return x.is(DType::float32) ? forward_of<float>(x, axis, logarithm) : forward_of<double>(x, axis, logarithm);
}

template <bool logarithm>
Owned backward(Array g, Array y, Needs needs, long axis) {
    if (!needs[0]) return make_tuple(none());
    return make_tuple(y.is(DType::float32) ? backward_of<float>(g, y, axis, logarithm)
                                           : backward_of<double>(g, y, axis, logarithm));
}

[[noreturn]] void not_a_class(int64_t target, long row, long classes) {
    const std::string message = "[cross_entropy] target " + std::to_string(target) + " at row " + std::to_string(row) +
                                " is not a class: x has " + std::to_string(classes) + " classes (0 to " +
                                std::to_string(classes - 1) + ")";
    const nb::object error = nb::module_::import_("chainrule.domain.errors").attr("IndexRangeError");
    PyErr_SetString(error.ptr(), message.c_str());
    throw nb::python_error();
}

template <class T>
Owned cross_entropy_of(const Array& x, const Array& target, bool mean, int64_t ignore) {
    const long rows = x.dim(0), n = x.dim(1);
    const Owned from = contiguous(x), labels = contiguous(target);
    const int64_t* t = labels.data<int64_t>();
    long counted = 0;
    for (long r = 0; r < rows; r++) {
        if (t[r] == ignore) continue;
        if (t[r] < 0 || t[r] >= n) not_a_class(t[r], r, n);
        counted++;
    }
    Owned loss = make_output(0, nullptr, x.dtype()), gx = make_output(2, x.shape(), x.dtype());
    {
        const ReleaseGil gil(static_cast<double>(rows * n));
        const T scale = mean ? T(1) / static_cast<T>(std::max(counted, 1L)) : T(1);
        const long step = std::max(1L, grain / std::max(1L, n)), chunks = (rows + step - 1) / step;
        const Scratch<double> partial(static_cast<size_t>(chunks));
        const T* px = from.data<T>();
        T* pg = gx.data<T>();
        parallel_range(rows, step, [&](long begin, long end) {
            partial[static_cast<size_t>(begin / step)] = softmax_kernels().of<T>().cross_entropy(
                px + begin * n, t + begin, ignore, scale, pg + begin * n, end - begin, n);
        });
        double sum = 0;
        for (long i = 0; i < chunks; i++) sum += partial[static_cast<size_t>(i)];
        *loss.data<T>() = static_cast<T>(mean ? sum / static_cast<double>(counted) : sum);  // of no rows: not a number
    }
    return make_tuple(std::move(loss), make_tuple(std::move(gx)));
}

Owned cross_entropy(Array x, Array target, Array weight, const char* reduction, double label_smoothing,
                    int64_t ignore_index) {
    const std::string how = reduction;
    if (!x.is_float() || x.rank() != 2 || target.rank() != 1 || !target.is(DType::int64) || weight ||
        label_smoothing != 0 || (how != "mean" && how != "sum"))
        return not_implemented();
    if (target.dim(0) != x.dim(0)) throw std::invalid_argument("[cross_entropy] x and target differ in their rows");
    return x.is(DType::float32) ? cross_entropy_of<float>(x, target, how == "mean", ignore_index)
                                : cross_entropy_of<double>(x, target, how == "mean", ignore_index);
}

template <class T>
Owned scaled(const Array& g, const Array& gradient) {
    Owned gx = make_output(2, gradient.shape(), gradient.dtype());
    const T scale = *g.data<T>();
    const T* from = gradient.data<T>();
    T* to = gx.data<T>();
    parallel_range(gradient.size(), 4 * grain, [&](long begin, long end) {
        for (long i = begin; i < end; i++) to[i] = from[i] * scale;
    });
    return gx;
}

Owned cross_entropy_vjp(Array g, Array gradient, Needs needs, const char*, double, int64_t) {
    if (!needs[0]) return make_tuple(none(), none(), none());
    return make_tuple(g.is(DType::float32) ? scaled<float>(g, gradient) : scaled<double>(g, gradient), none(), none());
}

}  // namespace

void bind_softmax(nb::module_& m) {
    m.def("softmax", &forward<false>, "x"_a, nb::kw_only(), "axis"_a);
    m.def("softmax_vjp", &backward<false>, "g"_a, "y"_a, nb::kw_only(), "needs"_a, "axis"_a);
    m.def("log_softmax", &forward<true>, "x"_a, nb::kw_only(), "axis"_a);
    m.def("log_softmax_vjp", &backward<true>, "g"_a, "y"_a, nb::kw_only(), "needs"_a, "axis"_a);
    m.def("cross_entropy", &cross_entropy, "x"_a, "target"_a, "weight"_a.none(), nb::kw_only(), "reduction"_a,
          "label_smoothing"_a, "ignore_index"_a);
    m.def("cross_entropy_vjp", &cross_entropy_vjp, "g"_a, "gradient"_a, nb::kw_only(), "needs"_a, "reduction"_a,
          "label_smoothing"_a, "ignore_index"_a);
}

}  // namespace chainrule
