// Bindings of the norm room: batch normalisation with batch statistics and with given ones, and the gradients.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "core/array.h"
#include "core/memory.h"
#include "core/params.h"
#include "core/threads.h"
#include "norm/kernels.h"
#include "norm/sample.h"

using namespace nb::literals;

namespace chainrule {

namespace {

constexpr long grain = 32768;  // elements of a chunk

// x as (n, c, s): channels last (or s = 1) are n*s rows of c, else n*c runs of s.
struct Layout {
    long n, c, s = 1;
    bool rows;

    explicit Layout(const Array& x) : n(x.dim(0)), c(x.dim(1)), rows(x.rank() == 2) {
        for (int i = 2; i < x.rank(); i++) s *= x.dim(i);
        if (!rows && x.stride(1) == item_size(x.dtype())) {
            npy_intp strides[max_rank];
            last_strides(x, strides);
            rows = true;
            for (int i = 0; i < x.rank(); i++) rows = rows && (x.dim(i) == 1 || x.stride(i) == strides[i]);
        }
    }
    static void last_strides(const Array& x, npy_intp* strides) {
        npy_intp step = item_size(x.dtype());
        strides[1] = step;
        step *= x.dim(1);
        for (int i = x.rank() - 1; i >= 2; i--) {
            strides[i] = step;
            step *= x.dim(i);
        }
        strides[0] = step;
    }
    // A new array of x's shape in this layout, and an array in it: itself or a copy.
    Owned make(const Array& x) const {
        npy_intp strides[max_rank];
        if (rows) last_strides(x, strides);
        return make_output(x.rank(), x.shape(), x.dtype(), rows ? strides : nullptr);
    }
    Owned arranged(const Array& x) const {
        const Layout own(x);
        if (rows ? own.rows && (x.rank() > 2 || x.contiguous()) : x.contiguous()) {
            Py_INCREF(x.object());
            return Owned(x.object());
        }
        Owned y = make(x);
        auto* to = reinterpret_cast<PyArrayObject*>(static_cast<Array>(y).object());
        if (PyArray_CopyInto(to, reinterpret_cast<PyArrayObject*>(x.object())) < 0) throw nb::python_error();
        return y;
    }
    double count() const { return static_cast<double>(n) * static_cast<double>(s); }
    double nanoseconds() const { return count() * static_cast<double>(c) / 4; }
    long step() const { return std::max(1L, grain / std::max(1L, c)); }       // rows in a chunk
    long runs() const { return std::max(1L, 1024 / std::max(1L, s)); }       // images in a chunk
    long chunks() const { return rows ? (n * s + step() - 1) / step() : (n + runs() - 1) / runs(); }
    double in_chunk(long chunk) const {  // elements of a channel
        return static_cast<double>(rows ? std::min(step(), n * s - chunk * step())
                                        : std::min(runs(), n - chunk * runs()) * s);
    }

    template <class Rows>
    void each_row(Rows on_rows) const {
        parallel_range(n * s, step(), [&](long begin, long end) { on_rows(begin / step(), begin * c, end - begin); });
    }
    // on_rows(chunk, first element, rows), or on_runs(chunk, channel, first element, runs).
    template <class Rows, class Runs>
    void each_chunk(Rows on_rows, Runs on_runs) const {
        if (rows) return each_row(on_rows);
        parallel_range(chunks() * c, std::max(1L, grain / (runs() * std::max(1L, s))), [&](long begin, long end) {
            for (long p = begin; p < end; p++) {
                const long first = p / c * runs();
                on_runs(p / c, p % c, (first * c + p % c) * s, std::min(runs(), n - first));
            }
        });
    }
    // on_rows the same, or on_runs(first channel, first element, runs) of one channel after the other.
    template <class Rows, class Runs>
    void each(Rows on_rows, Runs on_runs) const {
        if (rows) return each_row(on_rows);
        parallel_range(n * c, std::max(1L, grain / std::max(1L, s)), [&](long begin, long end) {
            for (long p = begin, count; p < end; p += count) {
                count = std::min(end - p, c - p % c);
                on_runs(p % c, p * s, count);
            }
        });
    }
};

// Per-channel numbers of the kernel in one block of scratch memory.
template <class T>
class Channels {
  public:
    Channels(long c, long count) : c_(c), values_(static_cast<size_t>(c * count)) {}
    T* operator[](long i) const { return values_.data() + i * c_; }

  private:
    long c_;
    Scratch<T> values_;
};

template <class T>
T at(const Array& v, long i) {
    T value;
    std::memcpy(&value, static_cast<const char*>(v.raw()) + i * v.stride(0), sizeof(T));
    return value;
}

bool fits(const Array& v, const Array& x) { return !v || (v.rank() == 1 && v.dim(0) == x.dim(1)); }
bool same(const Array& v, const Array& x) { return !v || v.dtype() == x.dtype(); }

// What the gradients need: x, the mean, 1/sqrt(variance + eps), and that times the weight.
template <class T>
struct Saved {
    Owned mean, rstd, scale;
    explicit Saved(const Array& x) {
        const npy_intp shape[1] = {x.dim(1)};
        for (Owned* v : {&mean, &rstd, &scale}) *v = make_output(1, shape, x.dtype());
    }
    void set(long i, double m, double variance, double eps, const Array& weight) {
        const double r = 1 / std::sqrt(variance + eps);
        mean.data<T>()[i] = static_cast<T>(m);
        rstd.data<T>()[i] = static_cast<T>(r);
        scale.data<T>()[i] = static_cast<T>(weight ? r * static_cast<double>(at<T>(weight, i)) : r);
    }
};

template <class T>
Owned normalise(const Array& x, const Owned& from, const Layout& l, const Array& bias, Saved<T>& saved) {
    Owned y = l.make(x);
    {
        const ReleaseGil gil(l.nanoseconds());
        const auto& k = norm_kernels().of<T>();
        const T *px = from.data<T>(), *mean = saved.mean.template data<T>(), *a = saved.scale.template data<T>();
        T* py = y.data<T>();
        const Scratch<T> b(static_cast<size_t>(l.c));
        for (long i = 0; i < l.c; i++) b[static_cast<size_t>(i)] = bias ? at<T>(bias, i) : T(0);
        const T* pb = b.data();
        l.each([&](long, long at, long rows) { k.apply_rows(px + at, rows, l.c, mean, a, pb, py + at); },
               [&](long c, long at, long runs) {
                   k.apply_runs(px + at, runs, l.s, mean + c, a + c, pb + c, py + at);
               });
    }
    Py_INCREF(x.object());
    return make_tuple(std::move(y), make_tuple(Owned(x.object()), std::move(saved.mean), std::move(saved.rstd),
                                               std::move(saved.scale)));
}

template <class T>
Owned train_of(const Array& x, const Array& weight, const Array& bias, const Array& running_mean,
               const Array& running_var, double momentum, double eps) {
    const Layout l(x);
    const Owned from = l.arranged(x);
    const T* px = from.data<T>();
    const long chunks = l.chunks();
    const Channels<double> means(l.c, chunks), m2s(l.c, chunks);
    {
        const ReleaseGil gil(l.nanoseconds());
        const auto& k = norm_kernels().of<T>();
        l.each_chunk(
            [&](long p, long at, long rows) { k.moments_rows(px + at, rows, l.c, means[p], m2s[p]); },
            [&](long p, long c, long at, long runs) {
                k.moments_runs(px + at, runs, l.c * l.s, l.s, means[p] + c, m2s[p] + c);
            });
    }
    Saved<T> saved(x);
    const auto mix = [&](const Array& running, long i, double fresh) {
        if (!running) return;
        const T value = static_cast<T>((1 - momentum) * static_cast<double>(at<T>(running, i)) + momentum * fresh);
        std::memcpy(static_cast<char*>(running.raw()) + i * running.stride(0), &value, sizeof(T));
    };
    for (long i = 0; i < l.c; i++) {
        double mean = 0, m2 = 0, before = 0;
        for (long p = 0; p < chunks; p++) {  // Chan's merge, in chunk order
            const double count = l.in_chunk(p);
            const double delta = means[p][i] - mean, share = count / (before + count);
            mean += delta * share;
            m2 += m2s[p][i] + delta * delta * before * share;
            before += count;
        }
        saved.set(i, mean, m2 / before, eps, weight);
        mix(running_mean, i, mean);
        mix(running_var, i, m2 / (before - 1));
    }
    return normalise<T>(x, from, l, bias, saved);
}

Owned batch_norm_train(Array x, Array weight, Array bias, Array running_mean, Array running_var, double momentum,
                       double eps) {
    if (!x.is_float() || !same(weight, x) || !same(bias, x) || !same(running_mean, x) || !same(running_var, x))
        return not_implemented();
    if (x.rank() < 2 || !fits(weight, x) || !fits(bias, x) || !fits(running_mean, x) || !fits(running_var, x))
        throw std::invalid_argument("[batch_norm_train] x must be (n, c, ...) and the others (c,)");
    if ((running_mean && !running_mean.writable()) || (running_var && !running_var.writable()))
        throw std::invalid_argument("[batch_norm_train] the running statistics are read-only");
    if (x.size() == 0) return not_implemented();
    return x.is(DType::float32) ? train_of<float>(x, weight, bias, running_mean, running_var, momentum, eps)
                                : train_of<double>(x, weight, bias, running_mean, running_var, momentum, eps);
}

template <class T>
Owned eval_of(const Array& x, const Array& weight, const Array& bias, const Array& mean, const Array& var, double eps) {
    const Layout l(x);
    Saved<T> saved(x);
    for (long i = 0; i < l.c; i++)
        saved.set(i, static_cast<double>(at<T>(mean, i)), static_cast<double>(at<T>(var, i)), eps, weight);
    return normalise<T>(x, l.arranged(x), l, bias, saved);
}

Owned batch_norm_eval(Array x, Array weight, Array bias, Array mean, Array var, double eps) {
    if (!x.is_float() || !same(weight, x) || !same(bias, x) || !same(mean, x) || !same(var, x))
        return not_implemented();
    if (x.rank() < 2 || !fits(weight, x) || !fits(bias, x) || !fits(mean, x) || !fits(var, x))
        throw std::invalid_argument("[batch_norm_eval] x must be (n, c, ...) and the others (c,)");
    return x.is(DType::float32) ? eval_of<float>(x, weight, bias, mean, var, eps)
                                : eval_of<double>(x, weight, bias, mean, var, eps);
}

// The gradients of both. With batch statistics gx = a (g - mean(g) - xhat mean(g xhat)), with given ones gx = a g.
template <class T>
Owned gradients(const Array& g, const Array& x, const Array& mean_, const Array& rstd_, const Array& scale_,
                const Needs& needs, bool batch) {
    const Layout l(x);
    const Owned from = l.arranged(x), grad = l.arranged(g);
    const T *px = from.data<T>(), *pg = grad.data<T>();
    const T *mean = mean_.data<T>(), *rstd = rstd_.data<T>(), *scale = scale_.data<T>();
    const auto& k = norm_kernels().of<T>();
    const long chunks = l.chunks();
    const Channels<double> sums(l.c, 2);  // of g, of g (x - mean)
    std::fill_n(sums[0], 2 * l.c, 0.);
    const bool others = needs[1] || needs[2] || needs[3] || needs[4];
    if (others || batch) {
        const ReleaseGil gil(l.nanoseconds());
        const Channels<double> parts(l.c, 2 * chunks);
        std::fill_n(parts[0], 2 * chunks * l.c, 0.);
        l.each_chunk(
            [&](long p, long at, long rows) {
                k.sums_rows(pg + at, px + at, rows, l.c, mean, parts[2 * p], parts[2 * p + 1]);
            },
            [&](long p, long c, long at, long runs) {
                k.sums_runs(pg + at, px + at, runs, l.c * l.s, l.s, mean[c], parts[2 * p] + c, parts[2 * p + 1] + c);
            });
        for (long p = 0; p < chunks; p++)
            for (long i = 0; i < 2 * l.c; i++) sums[0][i] += parts[2 * p][i];
    }
    const npy_intp shape[1] = {l.c};
    const auto per_channel = [&](int argument, auto value) {
        if (!needs[argument]) return none();
        Owned v = make_output(1, shape, x.dtype());
        for (long i = 0; i < l.c; i++) v.data<T>()[i] = static_cast<T>(value(i));
        return v;
    };
    const auto a = [&](long i) { return static_cast<double>(scale[i]); };
    const auto r = [&](long i) { return static_cast<double>(rstd[i]); };
    Owned gx = none();
    if (needs[0]) {
        gx = l.make(x);
        T* to = gx.data<T>();
        const ReleaseGil gil(l.nanoseconds());
        const Channels<T> v(l.c, 2);
        for (long i = 0; i < l.c; i++) {
            v[0][i] = batch ? static_cast<T>(-a(i) * r(i) * r(i) * sums[1][i] / l.count()) : T(0);
            v[1][i] = batch ? static_cast<T>(-a(i) * sums[0][i] / l.count()) : T(0);
        }
        const T *b = v[0], *c0 = v[1];
        if (batch)
            l.each([&](long, long at,
                       long rows) { k.back_rows(pg + at, px + at, rows, l.c, mean, scale, b, c0, to + at); },
                   [&](long c, long at, long runs) {
                       k.back_runs(pg + at, px + at, runs, l.s, mean + c, scale + c, b + c, c0 + c, to + at);
                   });
        else
            l.each([&](long, long at, long rows) { k.apply_rows(pg + at, rows, l.c, b, scale, c0, to + at); },
                   [&](long c, long at, long runs) {
                       k.apply_runs(pg + at, runs, l.s, b + c, scale + c, c0 + c, to + at);
                   });
    }
    Owned gw = per_channel(1, [&](long i) { return r(i) * sums[1][i]; });
    Owned gb = per_channel(2, [&](long i) { return sums[0][i]; });
    if (batch) return make_tuple(std::move(gx), std::move(gw), std::move(gb), none(), none());
    Owned gm = per_channel(3, [&](long i) { return -a(i) * sums[0][i]; });
    Owned gv = per_channel(4, [&](long i) { return -0.5 * a(i) * r(i) * r(i) * sums[1][i]; });
    return make_tuple(std::move(gx), std::move(gw), std::move(gb), std::move(gm), std::move(gv));
}

template <bool batch>
Owned backward(const Array& g, const Array& x, const Array& mean, const Array& rstd, const Array& scale,
               const Needs& needs) {
    return x.is(DType::float32) ? gradients<float>(g, x, mean, rstd, scale, needs, batch)
                                : gradients<double>(g, x, mean, rstd, scale, needs, batch);
}

Owned batch_norm_train_vjp(Array g, Array x, Array mean, Array rstd, Array scale, Needs needs, double, double) {
    return backward<true>(g, x, mean, rstd, scale, needs);
}
Owned batch_norm_eval_vjp(Array g, Array x, Array mean, Array rstd, Array scale, Needs needs, double) {
    return backward<false>(g, x, mean, rstd, scale, needs);
}

}  // namespace

void bind_norm(nb::module_& m) {
    m.def("batch_norm_train", &batch_norm_train, "x"_a, "weight"_a.none(), "bias"_a.none(), "running_mean"_a.none(),
          "running_var"_a.none(), nb::kw_only(), "momentum"_a, "eps"_a);
    m.def("batch_norm_train_vjp", &batch_norm_train_vjp, "g"_a, "x"_a, "mean"_a, "rstd"_a, "scale"_a, nb::kw_only(),
          "needs"_a, "momentum"_a, "eps"_a);
    m.def("batch_norm_eval", &batch_norm_eval, "x"_a, "weight"_a.none(), "bias"_a.none(), "mean"_a, "var"_a,
          nb::kw_only(), "eps"_a);
    m.def("batch_norm_eval_vjp", &batch_norm_eval_vjp, "g"_a, "x"_a, "mean"_a, "rstd"_a, "scale"_a, nb::kw_only(),
          "needs"_a, "eps"_a);
    bind_sample_norms(m);
}

}  // namespace chainrule
