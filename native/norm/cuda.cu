// Batch, layer and root-mean-square normalisation. Bound by memory.
//
// Of a sample (a row) the mean is found first, then the squared distances from it, so that a large mean does not cancel; the
// row comes from the cache after the first time. On an H200 layer_norm of 8192 x 768 floats (50 MB) takes 12 us at best, 16 us
// predicted, its gradient (75 MB, and the sums for weight and bias) 18 us at best, 26 us predicted.
// Of a channel the sums of distances from its first element, and of their squares, are taken in double in one pass, then
// x is read again and y written: 64 x 64 x 112 x 112 floats (616 MB in all) take 144 us at best, 160 us predicted.
#include "core/fold.cuh"
#include "core/map.cuh"
#include "core/rows.cuh"

// ---- samples

/// Elements i ... of a weight or a bias that is of T, or wide, or (`rest`) not there.
template <class T, int count>
DEVICE Unit<Wide<T>, count> some(const T* narrow, const Wide<T>* wide, int64_t i, Wide<T> rest) {
    if (wide) return Unit<Wide<T>, count>::of(wide + i);
    Unit<Wide<T>, count> y;
    if (narrow) {
        const auto v = Unit<T, count>::of(narrow + i);
        for (int k = 0; k < count; ++k) y.at[k] = widened(v.at[k]);
    } else {
        for (int k = 0; k < count; ++k) y.at[k] = rest;
    }
    return y;
}

/// y = (x - mean) rstd weight + bias of m dense rows of n, and the mean and rstd of each; without `mean` that is 0.
template <class T>
__global__ void layer_norm(T* y, Wide<T>* rstd, Wide<T>* mean, const T* x, const T* weight, const T* bias,
                           const Wide<T>* wide_weight, const Wide<T>* wide_bias, int64_t m, int64_t n, int64_t packed,
                           double eps) {
    using V = Wide<T>;
    const int64_t row = group_row();
    const bool there = row < m;
    const T* from = x + (there ? row * n : 0);
    const int64_t count = there ? n : 0;
    V centre = 0;
    if (mean) {
        V sum = 0;
        each_unit<T>(count, packed, [&](auto of, int64_t u) {
            const auto v = Unit<T, of.count>::of(from + u);
            for (int k = 0; k < of.count; ++k) sum += widened(v.at[k]);
        });
        centre = group_sum(sum) / static_cast<V>(n);
    }
    V rest = 0, squares = 0;
    each_unit<T>(count, packed, [&](auto of, int64_t u) {
        const auto v = Unit<T, of.count>::of(from + u);
        for (int k = 0; k < of.count; ++k) {
            const V d = widened(v.at[k]) - centre;
            rest += d;
            squares += d * d;
        }
    });
    const Both<V> sums = group_sums(rest, squares);
    const V shift = mean ? sums.a / static_cast<V>(n) : V(0);  // 0 but for the rounding of the centre
    centre += shift;
    const V scale = 1 / sqrt(sums.b / static_cast<V>(n) - shift * shift + static_cast<V>(eps));
    if (there && threadIdx.x == 0) {
        rstd[row] = scale;
        if (mean) mean[row] = centre;
    }
    each_unit<T>(count, packed, [&](auto of, int64_t u) {
        constexpr int units = of.count;
        const auto v = Unit<T, units>::of(from + u);
        const auto w = some<T, units>(weight, wide_weight, u, 1), b = some<T, units>(bias, wide_bias, u, 0);
        Unit<T, units> to;
        for (int k = 0; k < units; ++k) to.at[k] = narrowed<T>((widened(v.at[k]) - centre) * scale * w.at[k] + b.at[k]);
        to.to(y + row * n + u);
    });
}

/// gx = rstd (h - mean(h) - u mean(h u)), h = g weight, u = (x - mean) rstd; and each block's sums of g u and of g over its
/// rows: parts (blocks, 2, n), unless null. They are kept in shared memory, (groups, 2, n), if `shared`.
template <class T>
__global__ void layer_norm_slopes(T* gx, Wide<T>* parts, const T* g, const T* x, const T* weight, const Wide<T>* wide_weight,
                                  const Wide<T>* rstd, const Wide<T>* mean, int64_t m, int64_t n, int64_t packed,
                                  int64_t shared) {
    using V = Wide<T>;
    DYNAMIC_SHARED(V, table);
    V* own = shared ? table + threadIdx.y * 2 * n : parts ? parts + blockIdx.x * 2 * n : nullptr;
    if (parts)
        each_unit<T>(n, packed, [&](auto of, int64_t u) {
            for (int k = 0; k < of.count; ++k) own[u + k] = own[n + u + k] = 0;
        });
    const int64_t groups = static_cast<int64_t>(gridDim.x) * blockDim.y, rounds = (m + groups - 1) / groups;
    for (int64_t round = 0; round < rounds; ++round) {
        const int64_t row = group_row() + round * groups;
        const bool there = row < m;
        const int64_t first = there ? row * n : 0, count = there ? n : 0;
        const V scale = there ? rstd[row] : V(0), centre = there && mean ? mean[row] : V(0);
        V b = 0, c = 0;
        if (gx) {
            V sum = 0, product = 0;
            each_unit<T>(count, packed, [&](auto of, int64_t u) {
                const auto d = Unit<T, of.count>::of(g + first + u), v = Unit<T, of.count>::of(x + first + u);
                const auto w = some<T, of.count>(weight, wide_weight, u, 1);
                for (int k = 0; k < of.count; ++k) {
                    const V h = widened(d.at[k]) * w.at[k];
                    sum += h;
                    product += h * (widened(v.at[k]) - centre);
                }
            });
            const Both<V> sums = group_sums(sum, product);
            b = -scale * scale * scale * sums.b / static_cast<V>(n);
            c = mean ? -scale * sums.a / static_cast<V>(n) : V(0);
        }
        each_unit<T>(count, packed, [&](auto of, int64_t u) {
            const auto d = Unit<T, of.count>::of(g + first + u), v = Unit<T, of.count>::of(x + first + u);
            if (gx) {
                const auto w = some<T, of.count>(weight, wide_weight, u, 1);
                Unit<T, of.count> to;
                for (int k = 0; k < of.count; ++k)
                    to.at[k] = narrowed<T>(widened(d.at[k]) * w.at[k] * scale + ((widened(v.at[k]) - centre) * b + c));
                to.to(gx + first + u);
            }
            if (parts)
                for (int k = 0; k < of.count; ++k) {
                    own[u + k] += widened(d.at[k]) * ((widened(v.at[k]) - centre) * scale);
                    own[n + u + k] += widened(d.at[k]);
                }
        });
    }
    if (!shared) return;
    __syncthreads();
    const int me = threadIdx.y * blockDim.x + threadIdx.x, all = blockDim.x * blockDim.y;
    for (int64_t i = me; i < 2 * n; i += all) {
        V sum = 0;
        for (int k = 0; k < static_cast<int>(blockDim.y); ++k) sum += table[k * 2 * n + i];
        parts[blockIdx.x * 2 * n + i] = sum;
    }
}

// ---- channels

/// The sums of the distances from the first element of a channel, and of their squares.
template <class T> struct Moments : Sums<T> {
    static constexpr bool pairs = false;
    using Accumulator = typename Sums<T>::Accumulator;
    static DEVICE double centre(const T* x, const double*, int64_t) { return static_cast<double>(widened(x[0])); }
    static DEVICE void take(Accumulator& a, T x, T, double centre, int64_t, int64_t, double) {
        const double d = static_cast<double>(widened(x)) - centre;
        a.a += d;
        a.b += d * d;
    }
    static DEVICE void finish(double* y, int64_t*, int64_t at, Accumulator a, int64_t, double) {
        y[2 * at] = a.a;
        y[2 * at + 1] = a.b;
    }
};

/// The sums of g (which is t), and of g (x - mean).
template <class T> struct Slopes : Moments<T> {
    static constexpr bool pairs = true;
    using Accumulator = typename Sums<T>::Accumulator;
    static DEVICE double centre(const T*, const double* means, int64_t channel) { return means[channel]; }
    static DEVICE void take(Accumulator& a, T x, T g, double centre, int64_t, int64_t, double) {
        const double d = static_cast<double>(widened(g));
        a.a += d;
        a.b += d * (static_cast<double>(widened(x)) - centre);
    }
};

/// Of each of c channels the mean, and factors (3, c): mean, rstd, and that times weight. From sums of distances from the first
/// element of a channel of x, of `count` elements, which the running statistics take part in; or from a given mean and var.
template <class T>
__global__ void channels(double* means, Wide<T>* factors, Wide<T>* running_mean, Wide<T>* running_var, const double* sums,
                         const T* x, const Wide<T>* weight, const Wide<T>* given_mean, const Wide<T>* given_var, int64_t c,
                         int64_t x_step, int64_t mean_step, int64_t var_step, double count, double momentum, double eps) {
    using V = Wide<T>;
    EACH(i, c) {
        double mean, var;
        if (sums) {
            const double shift = sums[2 * i] / count, squares = sums[2 * i + 1] - sums[2 * i] * shift;
            mean = static_cast<double>(widened(x[i * x_step])) + shift;
            var = (squares < 0 ? 0 : squares) / count;
            V& m = running_mean[i * mean_step];
            V& v = running_var[i * var_step];
            m = static_cast<V>((1 - momentum) * static_cast<double>(m) + momentum * mean);
            v = static_cast<V>((1 - momentum) * static_cast<double>(v) + momentum * var * (count / (count - 1)));
        } else {
            mean = static_cast<double>(given_mean[i]);
            var = static_cast<double>(given_var[i]);
        }
        const double r = 1 / sqrt(var + eps);
        means[i] = mean;
        factors[i] = static_cast<V>(mean);
        factors[c + i] = static_cast<V>(r);
        factors[2 * c + i] = static_cast<V>(weight ? r * static_cast<double>(weight[i]) : r);
    }
}

/// y = (x - mean) scale + bias, each of the last three one for a channel.
template <class T>
__global__ void batch_norm(T* y, const T* x, const Wide<T>* mean, const Wide<T>* scale, const Wide<T>* bias, Layout<5> where,
                           int64_t n) {
    using V = Wide<T>;
    map([](V v, V m, V a, V b) { return fma(v - m, a, b); }, y, where, n, Operand<T>{x, 0}, Operand<V>{mean, 0},
        Operand<V>{scale, 0}, Operand<V>{bias, 0});
}

/// From the sums of Slopes, of c channels: the gradients by weight, bias, mean and var, each unless null; and what the
/// gradient by x takes: slopes (2, c). `count` is the elements of a channel, 0 if its statistics were given.
template <class T>
__global__ void channel_slopes(T* slopes, T* weight, T* bias, T* mean, T* var, const double* sums, const T* factors, int64_t c,
                               double count) {
    EACH(i, c) {
        const double r = static_cast<double>(factors[c + i]), a = static_cast<double>(factors[2 * c + i]);
        const double sum = sums[2 * i], product = sums[2 * i + 1];
        slopes[i] = count > 0 ? static_cast<T>(-a * r * r * product / count) : T(0);
        slopes[c + i] = count > 0 ? static_cast<T>(-a * sum / count) : T(0);
        if (weight) weight[i] = static_cast<T>(r * product);
        if (bias) bias[i] = static_cast<T>(sum);
        if (mean) mean[i] = static_cast<T>(-a * sum);
        if (var) var[i] = static_cast<T>(-0.5 * a * r * r * product);
    }
}

/// gx = a g + b (x - mean) + k, each of a, b, mean and k one for a channel; with given statistics a g alone.
template <class T>
__global__ void batch_norm_slopes(T* gx, const T* g, const Wide<T>* a, const T* x, const Wide<T>* mean, const Wide<T>* b,
                                  const Wide<T>* k, Layout<7> where, int64_t n) {
    using V = Wide<T>;
    map([](V d, V f, V v, V m, V s, V c) { return fma(d, f, fma(v - m, s, c)); }, gx, where, n, Operand<T>{g, 0},
        Operand<V>{a, 0}, Operand<T>{x, 0}, Operand<V>{mean, 0}, Operand<V>{b, 0}, Operand<V>{k, 0});
}
