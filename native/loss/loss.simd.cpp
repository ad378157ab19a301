// Loss kernels: the formulas of ops/loss.py in one pass. Sums of float32 are accumulated in float64.
#include "core/map_loops.h"
#include "core/vmath.h"
#include "loss/kernels.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// Each loss: its value, and its slopes by x and by t.

template <class V> V number(double value) { return splat(static_cast<elem<V>>(value)); }

struct Mse {
    template <class V> static V value(V x, V t, V) { return (x - t) * (x - t); }
    template <class V> static V slope(V x, V t, V) { return (x - t) + (x - t); }
    template <class V> static V target_slope(V x, V t, V p) { return -slope(x, t, p); }
};

struct Mae {
    template <class V> static V value(V x, V t, V) { return abs(x - t); }
    template <class V> static V slope(V x, V t, V) {
        const V d = x - t, zero{};
        return (d != d) ? d : (d > zero ? number<V>(1) : zero) - (d < zero ? number<V>(1) : zero);
    }
    template <class V> static V target_slope(V x, V t, V p) { return -slope(x, t, p); }
};

struct Huber {
    template <class V> static V value(V x, V t, V delta) {
        const V d = abs(x - t), near = minimum(d, delta);
        return near * (d - number<V>(0.5) * near);
    }
    template <class V> static V slope(V x, V t, V delta) { return copysign(minimum(abs(x - t), delta), x - t); }
    template <class V> static V target_slope(V x, V t, V p) { return -slope(x, t, p); }
};

struct SmoothL1 {
    template <class V> static V value(V x, V t, V beta) { return Huber::value(x, t, beta) / beta; }
    template <class V> static V slope(V x, V t, V beta) { return Huber::slope(x, t, beta) / beta; }
    template <class V> static V target_slope(V x, V t, V p) { return -slope(x, t, p); }
};

struct Bce {
    template <class V> static V yes(V x) { return maximum(log(x), number<V>(-100)); }
    template <class V> static V no(V x) { return maximum(log1p(-x), number<V>(-100)); }
    template <class V> static V value(V x, V t, V) { return -(t * yes(x) + (number<V>(1) - t) * no(x)); }
    template <class V> static V slope(V x, V t, V) {
        return (x - t) / maximum((number<V>(1) - x) * x, number<V>(1e-12));
    }
    template <class V> static V target_slope(V x, V, V) { return no(x) - yes(x); }
};

struct BceWithLogits {
    template <class V> static V value(V x, V t, V) { return maximum(x, V{}) - x * t + log1p(exp(-abs(x))); }
    template <class V> static V slope(V x, V t, V) { return sigmoid(x) - t; }
    template <class V> static V target_slope(V x, V, V) { return -x; }
};

template <class Loss>
struct value_f {
    template <class V> static V f(V x, V t, V p) { return Loss::value(x, t, p); }
};

inline void add_wide(F64 (&sums)[4], F64 v, int c) { sums[c & 3] += v; }
inline void add_wide(F64 (&sums)[4], F32 v, int c) {
    HalfF32 halves[2];
    std::memcpy(halves, &v, sizeof v);
    for (int h = 0; h < 2; ++h) sums[(2 * c + h) & 3] += widen(halves[h]);
}

template <class Loss, class T>
double total(const void* x, const void* t, const void* parameter, long n) {
    const T *px = static_cast<const T*>(x), *pt = static_cast<const T*>(t);
    const Vec<T> p = splat(*static_cast<const T*>(parameter));
    constexpr int w = lanes<T>;
    F64 sums[4]{};
    long i = 0;
    for (; i + 2 * w <= n; i += 2 * w)
        for (int c = 0; c < 2; ++c) add_wide(sums, Loss::value(load(px + i + c * w), load(pt + i + c * w), p), c);
    for (; i + w <= n; i += w) add_wide(sums, Loss::value(load(px + i), load(pt + i), p), 0);
    double rest = 0;
    if (i < n) {
        T last[w];
        store(last, Loss::value(load_part(px + i, n - i), load_part(pt + i, n - i), p));
        for (long k = 0; k < n - i; ++k) rest += static_cast<double>(last[k]);
    }
    return sum((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
}

template <class Loss, class T>
void gradients(void* gx, void* gt, const void* x, const void* t, const void* parameter, const void* g, bool single, long n) {
    const Vec<T> p = splat(*static_cast<const T*>(parameter));
    const auto by_x = [p](Vec<T> x, Vec<T> t, Vec<T> g) { return Loss::slope(x, t, p) * g; };
    const auto by_t = [p](Vec<T> x, Vec<T> t, Vec<T> g) { return Loss::target_slope(x, t, p) * g; };
    const Source<T, false> a(x), b(t);
    const auto both = [&](const auto& weight) {
        if (gx) map_vectors(static_cast<T*>(gx), n, by_x, a, b, weight);
        if (gt) map_vectors(static_cast<T*>(gt), n, by_t, a, b, weight);
    };
    if (single) both(Source<T, true>(g));
    else both(Source<T, false>(g));
}

template <class Loss, class T>
constexpr LossKernel kernel() {
    return {&binary_with<value_f<Loss>, T>, &total<Loss, T>, &gradients<Loss, T>};
}

}  // namespace

#define LOSS(Loss) {kernel<Loss, float>(), kernel<Loss, double>()}
extern const LossKernels loss_kernels;
const LossKernels loss_kernels = {
    .mse = LOSS(Mse),
    .mae = LOSS(Mae),
    .huber = LOSS(Huber),
    .smooth_l1 = LOSS(SmoothL1),
    .bce = LOSS(Bce),
    .bce_with_logits = LOSS(BceWithLogits),
};

}  // namespace chainrule::CHAINRULE_ISA
