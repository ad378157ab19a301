// Optimizer steps: the formulas of ops/optim.py, many parameters in one launch, one pass over the memory of each. Bound by
// the memory's bandwidth: Adam moves 28 bytes an element, 437 us for 2^26 floats at the 4.3 TB/s of an H200.
//
// Learning rate and step count stay on the device: `rates` of one thread makes of them what the steps need, in double.
#include "core/device.cuh"

constexpr int chunk = 32;        // parameters in one launch
constexpr int members = 5;       // of each: the parameter, its gradient, three states

/// Pointers to member k of parameter i at [k][i]; null where there is no such state.
template <class T> struct Group {
    T* at[members][chunk];
};
struct Sizes {
    int64_t at[chunk];
};
struct Numbers {
    double at[8];
};

DEVICE double read(const void* number, int64_t wide) {
    return wide ? *static_cast<const double*>(number) : *static_cast<const float*>(number);
}

/// Counts `step` up, unless it is null, and writes to `rates`: the learning rate, what the mean is multiplied with, what the
/// root of the square is. For Adam the two betas are given; for Adagrad (beta1 < 0) the decay of the rate is in beta2.
__global__ void rates(double* y, void* step, const void* lr, int64_t wide_step, int64_t wide_lr, double beta1, double beta2) {
    if (thread_number()) return;
    const double rate = read(lr, wide_lr);
    y[0] = y[1] = rate;
    y[2] = 1;
    if (!step) return;
    const double t = read(step, wide_step) + 1;
    if (wide_step) *static_cast<double*>(step) = t;
    else *static_cast<float*>(step) = static_cast<float>(t);
    if (beta1 < 0) {
        y[0] = rate / (1 + (t - 1) * beta2);
    } else {
        y[1] = rate / (1 - pow(beta1, t));
        y[2] = 1 / sqrt(1 - pow(beta2, t));
    }
}

template <class V> struct Rates {
    V lr, scale, root;
};

// Each rule: numbers as its line in rooms/optim.py lists them; p, g and the states s of one element, computed in V.
struct sgd {
    template <class V> static DEVICE void of(V& p, V g, V (&s)[3], const Numbers& n, const Rates<V>& r) {
        const V momentum = V(n.at[0]), fresh = V(n.at[1]), decay = V(n.at[2]);
        if (n.at[2] != 0) g = fma(decay, p, g);
        if (n.at[0] != 0) {
            s[0] = n.at[4] != 0 ? g : fma(momentum, s[0], fresh * g);
            g = n.at[3] != 0 ? fma(momentum, s[0], g) : s[0];
        }
        p = fma(-r.lr, g, p);
    }
};
struct adam {
    template <class V> static DEVICE void of(V& p, V g, V (&s)[3], const Numbers& n, const Rates<V>& r) {
        const V new1 = V(1 - n.at[0]), old2 = V(n.at[1]), new2 = V(1 - n.at[1]), eps = V(n.at[2]), decay = V(n.at[3]);
        if (n.at[3] != 0 && n.at[4] != 0) p *= V(1) - r.lr * decay;
        else if (n.at[3] != 0) g = fma(decay, p, g);
        s[0] = fma(new1, g - s[0], s[0]);
        s[1] = fma(old2, s[1], new2 * (g * g));
        V square = s[1];
        if (n.at[5] != 0) square = s[2] = s[2] >= square ? s[2] : square;
        p = p - r.scale * s[0] / fma(sqrt(square), r.root, eps);
    }
};
struct rmsprop {
    template <class V> static DEVICE void of(V& p, V g, V (&s)[3], const Numbers& n, const Rates<V>& r) {
        const V old = V(n.at[0]), fresh = V(1 - n.at[0]), eps = V(n.at[1]), momentum = V(n.at[2]), decay = V(n.at[3]);
        const bool centered = n.at[4] != 0;
        if (n.at[3] != 0) g = fma(decay, p, g);
        s[0] = fma(old, s[0], fresh * (g * g));
        V size = s[0];
        if (centered) {
            s[1] = fma(fresh, g - s[1], s[1]);
            size = fma(-s[1], s[1], size);
            size = size < V(0) ? V(0) : size;
        }
        g = g / (sqrt(size) + eps);
        if (n.at[2] != 0) {
            V& moved = centered ? s[2] : s[1];
            g = moved = fma(momentum, moved, g);
        }
        p = fma(-r.lr, g, p);
    }
};
struct adagrad {
    template <class V> static DEVICE void of(V& p, V g, V (&s)[3], const Numbers& n, const Rates<V>& r) {
        if (n.at[1] != 0) g = fma(V(n.at[1]), p, g);
        s[0] = fma(g, g, s[0]);
        p = p - r.lr * g / (sqrt(s[0]) + V(n.at[0]));
    }
};
struct lion {
    template <class V> static DEVICE void of(V& p, V g, V (&s)[3], const Numbers& n, const Rates<V>& r) {
        const V decay = V(n.at[2]);
        if (n.at[2] != 0 && n.at[3] != 0) p *= V(1) - r.lr * decay;
        else if (n.at[2] != 0) g = fma(decay, p, g);
        const V way = fma(V(n.at[0]), s[0], V(1 - n.at[0]) * g);
        s[0] = fma(V(n.at[1]), s[0], V(1 - n.at[1]) * g);
        p = p - r.lr * (way > V(0) ? V(1) : way < V(0) ? V(-1) : way);
    }
};

/// One step of a rule. Blocks: pieces, parameters.
template <class Rule, class T> __global__ void step(Group<T> group, Sizes sizes, Numbers numbers, const double* rate) {
    using V = Wide<T>;
    const int64_t which = blockIdx.y, n = sizes.at[which];
    const Rates<V> r{V(rate[0]), V(rate[1]), V(rate[2])};
    T *p = group.at[0][which], *g = group.at[1][which];
    EACH(i, n) {
        V x = widened(p[i]), s[3] = {};
        for (int k = 0; k < 3; ++k)
            if (group.at[2 + k][which]) s[k] = widened(group.at[2 + k][which][i]);
        Rule::of(x, static_cast<V>(widened(g[i])), s, numbers, r);
        for (int k = 0; k < 3; ++k)
            if (group.at[2 + k][which]) group.at[2 + k][which][i] = narrowed<T>(s[k]);
        p[i] = narrowed<T>(x);
    }
}

// ---- the norm of all gradients, and one factor for them

template <class T> struct Several {
    T* at[chunk];
};

/// Sums of squares, or with order 1 of sizes, of pieces of arrays: y[first + array * pieces + piece].
template <class T>
__global__ void norms(double* y, Several<T> given, Sizes sizes, int64_t first, int64_t order) {
    double sum = 0;
    EACH(i, sizes.at[blockIdx.y]) {
        const double x = widened(given.at[blockIdx.y][i]);
        sum += order == 1 ? fabs(x) : x * x;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) y[first + static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x] = sum;
}

/// The norm, in the dtype of the gradients, and what they are multiplied with. One block.
template <class T> __global__ void norm_factor(T* norm, double* factor, const double* parts, int64_t n, double most, int64_t order) {
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += parts[i];
    sum = block_sum(sum);
    if (threadIdx.x) return;
    norm[0] = narrowed<T>(order == 1 ? sum : sqrt(sum));
    const Wide<T> scale = static_cast<Wide<T>>(most) / (widened(norm[0]) + static_cast<Wide<T>>(1e-6));
    factor[0] = scale < Wide<T>(1) ? scale : Wide<T>(1);
    if (widened(norm[0]) != widened(norm[0])) factor[0] = widened(norm[0]);  // NaN is told, not hidden
}

template <class T> __global__ void scaled(Several<T> given, Sizes sizes, const double* factor) {
    const Wide<T> by = static_cast<Wide<T>>(factor[0]);
    if (by == Wide<T>(1)) return;
    T* g = given.at[blockIdx.y];
    EACH(i, sizes.at[blockIdx.y]) g[i] = narrowed<T>(widened(g[i]) * by);
}
