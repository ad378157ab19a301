// Bindings of the norm room: batch normalisation with batch statistics and with given ones, and the gradients.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "core/array.h"
#include "core/memory.h"
#include "core/params.h"
#include "core/threads.h"
#include "conv/images.h"
#include "norm/after.h"
#include "norm/kernels.h"
#include "norm/sample.h"

using namespace nb::literals;

namespace chainrule {

namespace {

bool fits(const Array& v, const Array& x) { return !v || (v.rank() == 1 && v.dim(0) == x.dim(1)); }
bool same(const Array& v, const Array& x) { return !v || v.dtype() == x.dtype(); }

template <class T>
Owned normalise(const Array& x, const Owned& from, const Layout& l, const Array& bias, Saved<T>& saved,
                const After& after) {
    const long h = after.h / 2, w = after.w / 2;
    Owned y = after.pool ? make_images(l.n, l.c, h, w, x.dtype(), l.rows) : l.make(x);
    Owned index = after.pool ? make_images(l.n, l.c, h, w, DType::uint8, l.rows) : none();
    {
        const ReleaseGil gil(l.nanoseconds());
        const auto& k = norm_kernels().of<T>();
        const T *px = from.data<T>(), *mean = saved.mean.template data<T>(), *a = saved.scale.template data<T>();
        T* py = y.data<T>();
        const Scratch<T> b(static_cast<size_t>(l.c));
        for (long i = 0; i < l.c; i++) b[static_cast<size_t>(i)] = bias ? at<T>(bias, i) : T(0);
        const T* pb = b.data();
        if (after)
            norm_and_after(l, after, px, mean, a, pb, py, after.pool ? index.data<uint8_t>() : nullptr);
        else
            l.each([&](long, long at, long rows) { k.apply_rows(px + at, rows, l.c, mean, a, pb, py + at); },
                   [&](long c, long at, long runs) {
                       k.apply_runs(px + at, runs, l.s, mean + c, a + c, pb + c, py + at);
                   });
    }
    Py_INCREF(x.object());
    Owned kept = make_tuple(Owned(x.object()), std::move(saved.mean), std::move(saved.rstd), std::move(saved.scale));
    if (after) return make_tuple(std::move(y), std::move(kept), std::move(index));
    return make_tuple(std::move(y), std::move(kept));
}

template <class T>
Owned train_of(const Array& x, const Array& weight, const Array& bias, const Array& running_mean,
               const Array& running_var, double momentum, double eps, const After& after = {}) {
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
    return normalise<T>(x, from, l, bias, saved, after);
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
Owned eval_of(const Array& x, const Array& weight, const Array& bias, const Array& mean, const Array& var, double eps,
              const After& after = {}) {
    const Layout l(x);
    Saved<T> saved(x);
    for (long i = 0; i < l.c; i++)
        saved.set(i, static_cast<double>(at<T>(mean, i)), static_cast<double>(at<T>(var, i)), eps, weight);
    return normalise<T>(x, l.arranged(x), l, bias, saved, after);
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
                const Needs& needs, bool batch, const After& after = {}, const Array& y = {}, const Array& index = {}) {
    const Layout l(x);
    const Owned from = l.arranged(x), given = l.arranged(g);
    const T *px = from.data<T>(), *pg = given.data<T>();
    const T *mean = mean_.data<T>(), *rstd = rstd_.data<T>(), *scale = scale_.data<T>();
    const auto& k = norm_kernels().of<T>();
    const Before<T> before{l, after, pg, y ? y.data<T>() : nullptr, index ? index.data<uint8_t>() : nullptr};
    const long chunks = l.chunks();
    const Channels<double> sums(l.c, 2);  // of g, of g (x - mean)
    std::fill_n(sums[0], 2 * l.c, 0.);
    // What comes from behind `after` goes where the gradient of x will be.
    Owned gx = needs[0] || after ? l.make(x) : none();
    T* to = needs[0] || after ? gx.data<T>() : nullptr;
    const T* grad = after ? to : pg;
    const long piece = after ? piece_rows : l.n * l.s;
    const bool others = needs[1] || needs[2] || needs[3] || needs[4];
    if (others || batch || after) {
        const ReleaseGil gil(l.nanoseconds());
        const Channels<double> parts(l.c, 2 * chunks);
        std::fill_n(parts[0], 2 * chunks * l.c, 0.);
        l.each_chunk(
            [&](long p, long at, long rows) {
                for (long n; rows > 0; rows -= n, at += n * l.c) {
                    n = std::min(piece, rows);
                    if (after) before.rows(at, n, to + at);
                    k.sums_rows(grad + at, px + at, n, l.c, mean, parts[2 * p], parts[2 * p + 1]);
                }
            },
            [&](long p, long c, long at, long runs) {
                const long step = l.c * l.s;
                for (long r = 0; after && r < runs; r++) before.plane(at + r * step, to + at + r * step);
                k.sums_runs(grad + at, px + at, runs, step, l.s, mean[c], parts[2 * p] + c, parts[2 * p + 1] + c);
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
    if (needs[0]) {
        const ReleaseGil gil(l.nanoseconds());
        const Channels<T> v(l.c, 2);
        for (long i = 0; i < l.c; i++) {
            v[0][i] = batch ? static_cast<T>(-a(i) * r(i) * r(i) * sums[1][i] / l.count()) : T(0);
            v[1][i] = batch ? static_cast<T>(-a(i) * sums[0][i] / l.count()) : T(0);
        }
        const T *b = v[0], *c0 = v[1];
        if (batch)
            l.each([&](long, long at,
                       long rows) { k.back_rows(grad + at, px + at, rows, l.c, mean, scale, b, c0, to + at); },
                   [&](long c, long at, long runs) {
                       k.back_runs(grad + at, px + at, runs, l.s, mean + c, scale + c, b + c, c0 + c, to + at);
                   });
        else
            l.each([&](long, long at, long rows) { k.apply_rows(grad + at, rows, l.c, b, scale, c0, to + at); },
                   [&](long c, long at, long runs) {
                       k.apply_runs(grad + at, runs, l.s, b + c, scale + c, c0 + c, to + at);
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

// Together with what comes after, for recorded steps, which see to it that it fits: dense images that 2x2 windows
// tile. Gives (result, (x, mean, rstd, scale), index of the largest or None).
After after_of(const Array& x, bool relu, bool pool) {
    if (x.rank() < (pool ? 4 : 2) || (pool && (x.rank() != 4 || x.dim(2) % 2 || x.dim(3) % 2)))
        throw std::invalid_argument("[batch_norm_and] x must be images that 2x2 windows tile");
    return {relu, pool, pool ? x.dim(2) : 0, pool ? x.dim(3) : 0};
}

Owned batch_norm_train_and(Array x, Array weight, Array bias, Array running_mean, Array running_var, double momentum,
                           double eps, bool relu, bool pool) {
    const After after = after_of(x, relu, pool);
    return x.is(DType::float32) ? train_of<float>(x, weight, bias, running_mean, running_var, momentum, eps, after)
                                : train_of<double>(x, weight, bias, running_mean, running_var, momentum, eps, after);
}

Owned batch_norm_eval_and(Array x, Array weight, Array bias, Array mean, Array var, double eps, bool relu, bool pool) {
    const After after = after_of(x, relu, pool);
    return x.is(DType::float32) ? eval_of<float>(x, weight, bias, mean, var, eps, after)
                                : eval_of<double>(x, weight, bias, mean, var, eps, after);
}

// The gradient: y is the result where there was a relu, index what pooling gave.
Owned batch_norm_and_vjp(Array g, Array y, Array index, Array x, Array mean, Array rstd, Array scale, Needs needs,
                         bool batch, bool relu, bool pool) {
    const After after = after_of(x, relu, pool);
    return x.is(DType::float32) ? gradients<float>(g, x, mean, rstd, scale, needs, batch, after, y, index)
                                : gradients<double>(g, x, mean, rstd, scale, needs, batch, after, y, index);
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
    m.def("_batch_norm_train_and", &batch_norm_train_and, "x"_a, "weight"_a.none(), "bias"_a.none(),
          "running_mean"_a.none(), "running_var"_a.none(), nb::kw_only(), "momentum"_a, "eps"_a, "relu"_a, "pool"_a);
    m.def("_batch_norm_eval_and", &batch_norm_eval_and, "x"_a, "weight"_a.none(), "bias"_a.none(), "mean"_a, "var"_a,
          nb::kw_only(), "eps"_a, "relu"_a, "pool"_a);
    m.def("_batch_norm_and_vjp", &batch_norm_and_vjp, "g"_a, "y"_a.none(), "index"_a.none(), "x"_a, "mean"_a, "rstd"_a,
          "scale"_a, nb::kw_only(), "needs"_a, "batch"_a, "relu"_a, "pool"_a);
    bind_sample_norms(m);
}

}  // namespace chainrule
