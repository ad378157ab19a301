// Layer and root-mean-square normalisation: x is rows of n elements, each by itself. Bound by memory.
//
// The gradients of weight and bias are sums over rows: each chunk of rows sums for itself, then the chunks are added in
// order, so that the number of threads does not show.
#include "norm/sample.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "core/memory.h"
#include "core/params.h"
#include "core/threads.h"
#include "norm/kernels.h"

namespace chainrule {

namespace {

constexpr long grain = 16384, most_chunks = 64;  // elements of a chunk; chunks whose sums are kept apart
constexpr long few = NormKernels<float>::few;    // rows that are summed at once, if they are short

struct Rows {
    long n = 1, rows = 1;

    Rows(const Array& x, int axes) {
        for (int i = 0; i < x.rank(); i++) (i < x.rank() - axes ? rows : n) *= x.dim(i);
    }
    double nanoseconds() const { return static_cast<double>(rows) * static_cast<double>(n) / 4; }
    long step() const { return std::max({1L, grain / std::max(1L, n), (rows + most_chunks - 1) / most_chunks}); }
    long chunks() const { return (rows + step() - 1) / step(); }
};

/// Of long rows from memory one: four at once have 0.65 of the speed (4096x768).
long rows_at_once(long n) { return n > NormKernels<float>::short_row ? 1 : few; }

bool fits(const Array& v, const Array& x, const Shape& shape) {
    if (!v) return true;
    bool same = v.rank() == shape.rank && shape.rank <= x.rank();
    for (int i = 0; same && i < shape.rank; i++)
        same = v.dim(i) == shape.dims[i] && x.dim(x.rank() - shape.rank + i) == shape.dims[i];
    return same;
}

bool taken(const Array& x, const Array& weight, const Array& bias, const Shape& shape) {
    return x.is_float() && x.size() > 0 && (!weight || weight.dtype() == x.dtype()) &&
           (!bias || bias.dtype() == x.dtype()) && fits(weight, x, shape) && fits(bias, x, shape);
}

Owned as_rows(const Array& v) { return v ? contiguous(v) : Owned(); }

template <class T>
const T* values(const Owned& v) {
    return v ? v.data<T>() : nullptr;
}

// y and (x, weight, mean, rstd); rms_norm has a mean of 0.
template <class T, bool centred>
Owned forward(const Array& x, const Array& weight, const Array& bias, const Shape& shape, double eps) {
    const Rows l(x, shape.rank);
    const Owned from = contiguous(x), w = as_rows(weight), b = as_rows(bias);
    const npy_intp rows[1] = {l.rows};
    Owned y = make_output(x.rank(), x.shape(), x.dtype());
    Owned mean = make_output(1, rows, x.dtype()), rstd = make_output(1, rows, x.dtype());
    {
        const ReleaseGil gil(l.nanoseconds());
        const auto& k = norm_kernels().of<T>();
        const T *px = from.data<T>(), *pw = values<T>(w), *pb = values<T>(b);
        T *py = y.data<T>(), *pm = mean.data<T>(), *pr = rstd.data<T>();
        const long group = rows_at_once(l.n);
        parallel_range(l.rows, l.step(), [&](long begin, long end) {
            for (long i = begin; i < end; i += group) {
                const long count = std::min(group, end - i);
                const T zeros[few] = {};
                double m[few] = {}, squares[few];
                if constexpr (centred) k.sample_moments(px + i * l.n, count, l.n, m, squares);
                else k.sample_sums(px + i * l.n, px + i * l.n, count, l.n, zeros, nullptr, m, squares);
                for (long r = 0; r < count; r++) {
                    pm[i + r] = centred ? static_cast<T>(m[r]) : T(0);
                    pr[i + r] = static_cast<T>(1 / std::sqrt(squares[r] / static_cast<double>(l.n) + eps));
                }
                for (long r = i; r < i + count; r++)
                    k.sample_apply(px + r * l.n, l.n, pm[r], pr[r], pw, pb, py + r * l.n);
            }
        });
    }
    return make_tuple(std::move(y), make_tuple(reference(x), reference(weight), std::move(mean), std::move(rstd)));
}

// The sums of chunks, as an array of the weight's shape.
template <class T>
Owned summed(const Scratch<T>& parts, long chunks, long n, const Shape& shape, DType dtype) {
    Owned v = make_output(shape.rank, shape.dims, dtype);
    T* to = v.data<T>();
    parallel_range(n, 1024, [&](long begin, long end) {
        for (long i = begin; i < end; i++) {
            double sum = 0;
            for (long c = 0; c < chunks; c++) sum += static_cast<double>(parts[static_cast<size_t>(c * n + i)]);
            to[i] = static_cast<T>(sum);
        }
    });
    return v;
}

template <class T, bool centred>
Owned backward(const Array& g, const Array& x, const Array& weight, const Array& mean, const Array& rstd,
               const Needs& needs, const Shape& shape) {
    const Rows l(x, shape.rank);
    const Owned grad = contiguous(g), from = contiguous(x), w = as_rows(weight);
    const bool to_weight = needs[1], to_bias = centred && needs[2];
    const size_t room = static_cast<size_t>(l.chunks() * l.n);
    const Scratch<T> weights(to_weight ? room : 0), biases(to_bias ? room : 0);
    Owned gx = needs[0] ? make_output(x.rank(), x.shape(), x.dtype()) : none();
    if (needs[0] || to_weight || to_bias) {
        const ReleaseGil gil(2 * l.nanoseconds());
        const auto& k = norm_kernels().of<T>();
        const T *pg = grad.data<T>(), *px = from.data<T>(), *pw = values<T>(w), *pm = mean.data<T>(), *pr = rstd.data<T>();
        T* to = needs[0] ? gx.data<T>() : nullptr;
        const double n = static_cast<double>(l.n);
        const long group = rows_at_once(l.n);
        parallel_range(l.rows, l.step(), [&](long begin, long end) {
            const long chunk = begin / l.step();
            T* gw = to_weight ? weights.data() + chunk * l.n : nullptr;
            T* gb = to_bias ? biases.data() + chunk * l.n : nullptr;
            if (gw) std::fill_n(gw, l.n, T(0));
            if (gb) std::fill_n(gb, l.n, T(0));
            for (long first = begin; first < end; first += group) {
                const long count = std::min(group, end - first);
                double sum_g[few] = {}, sum_gx[few] = {};
                if (to) k.sample_sums(pg + first * l.n, px + first * l.n, count, l.n, pm + first, pw, sum_g, sum_gx);
                for (long i = first; i < first + count; i++) {
                    const double r = static_cast<double>(pr[i]);
                    k.sample_back(pg + i * l.n, px + i * l.n, l.n, pm[i], pw, pr[i],
                                  static_cast<T>(-r * r * r * sum_gx[i - first] / n),
                                  static_cast<T>(centred ? -r * sum_g[i - first] / n : 0.), to ? to + i * l.n : nullptr, gw, gb);
                }
            }
        });
    }
    Owned gw = to_weight ? summed(weights, l.chunks(), l.n, shape, x.dtype()) : none();
    if constexpr (!centred) return make_tuple(std::move(gx), std::move(gw));
    Owned gb = to_bias ? summed(biases, l.chunks(), l.n, shape, x.dtype()) : none();
    return make_tuple(std::move(gx), std::move(gw), std::move(gb));
}

Owned layer_norm(const Array& x, const Array& weight, const Array& bias, const Shape& normalized_shape, double eps) {
    if (!taken(x, weight, bias, normalized_shape)) return not_implemented();
    return x.is(DType::float32) ? forward<float, true>(x, weight, bias, normalized_shape, eps)
                                : forward<double, true>(x, weight, bias, normalized_shape, eps);
}

Owned layer_norm_vjp(const Array& g, const Array& x, const Array& weight, const Array& mean, const Array& rstd,
                     const Needs& needs, const Shape& normalized_shape, double) {
    if (g.dtype() != x.dtype()) return not_implemented();
    return x.is(DType::float32) ? backward<float, true>(g, x, weight, mean, rstd, needs, normalized_shape)
                                : backward<double, true>(g, x, weight, mean, rstd, needs, normalized_shape);
}

Owned rms_norm(const Array& x, const Array& weight, const Shape& normalized_shape, double eps) {
    if (!taken(x, weight, Array(), normalized_shape)) return not_implemented();
    return x.is(DType::float32) ? forward<float, false>(x, weight, Array(), normalized_shape, eps)
                                : forward<double, false>(x, weight, Array(), normalized_shape, eps);
}

Owned rms_norm_vjp(const Array& g, const Array& x, const Array& weight, const Array& mean, const Array& rstd,
                   const Needs& needs, const Shape& normalized_shape, double) {
    if (g.dtype() != x.dtype()) return not_implemented();
    return x.is(DType::float32) ? backward<float, false>(g, x, weight, mean, rstd, needs, normalized_shape)
                                : backward<double, false>(g, x, weight, mean, rstd, needs, normalized_shape);
}

}  // namespace

void bind_sample_norms(nb::module_& m) {
    using namespace nb::literals;
    m.def("layer_norm", &layer_norm, "x"_a, "weight"_a.none(), "bias"_a.none(), nb::kw_only(), "normalized_shape"_a, "eps"_a);
    m.def("layer_norm_vjp", &layer_norm_vjp, "g"_a, "x"_a, "weight"_a.none(), "mean"_a, "rstd"_a, nb::kw_only(), "needs"_a,
          "normalized_shape"_a, "eps"_a);
    m.def("rms_norm", &rms_norm, "x"_a, "weight"_a.none(), nb::kw_only(), "normalized_shape"_a, "eps"_a);
    m.def("rms_norm_vjp", &rms_norm_vjp, "g"_a, "x"_a, "weight"_a.none(), "mean"_a, "rstd"_a, nb::kw_only(), "needs"_a,
          "normalized_shape"_a, "eps"_a);
}

}  // namespace chainrule
