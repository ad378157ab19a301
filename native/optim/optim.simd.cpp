// Optimizer kernels: the formulas of ops/optim.py, one pass over the memory of each parameter.
#include "core/simd.h"
#include "optim/kernels.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// f(i, k, load, store) for vectors at i of k elements; the last is partial.
template <class T, class F>
inline void vectors(long n, F f) {
    const auto whole = [](const T* p) { return load(p); };
    const auto keep = [](T* p, Vec<T> v) { store(p, v); };
    long i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) f(i, whole, keep);
    const long k = n - i;
    if (k) f(i, [k](const T* p) { return load_part(p, k); }, [k](T* p, Vec<T> v) { store_part(p, v, k); });
}

template <class T>
void sgd(void* parameter, const void* gradient, void* velocity, long n, const SgdStep& s) {
    T *p = static_cast<T*>(parameter), *v = static_cast<T*>(velocity);
    const T* g = static_cast<const T*>(gradient);
    const auto constant = [](double value) { return splat(static_cast<T>(value)); };
    const Vec<T> lr = constant(s.lr), momentum = constant(s.momentum), fresh = constant(1 - s.dampening),
                 decay = constant(s.weight_decay);
    const bool decays = s.weight_decay != 0, moves = s.momentum != 0, first = s.first, nesterov = s.nesterov;
    vectors<T>(n, [=](long i, auto load, auto store) {
        const Vec<T> x = load(p + i);
        Vec<T> d = load(g + i);
        if (decays) d = fma(decay, x, d);
        if (moves) {
            const Vec<T> moving = first ? d : fma(momentum, load(v + i), fresh * d);
            store(v + i, moving);
            d = nesterov ? fma(momentum, moving, d) : moving;
        }
        store(p + i, fma(-lr, d, x));
    });
}

template <class T>
void adam(void* parameter, const void* gradient, void* mean, void* square, long n, const AdamStep& s) {
    T *p = static_cast<T*>(parameter), *m = static_cast<T*>(mean), *v = static_cast<T*>(square);
    const T* g = static_cast<const T*>(gradient);
    const auto constant = [](double value) { return splat(static_cast<T>(value)); };
    const Vec<T> new1 = constant(1 - s.beta1), old2 = constant(s.beta2), new2 = constant(1 - s.beta2),
                 scale = constant(s.scale), root = constant(s.root), eps = constant(s.eps),
                 decay = constant(s.weight_decay), shrink = constant(1 - s.lr * s.weight_decay);
    const bool shrinks = s.weight_decay != 0 && s.decoupled, decays = s.weight_decay != 0 && !s.decoupled;
    vectors<T>(n, [=](long i, auto load, auto store) {
        Vec<T> x = load(p + i), d = load(g + i), a = load(m + i), b = load(v + i);
        if (shrinks) x *= shrink;
        if (decays) d = fma(decay, x, d);
        a = fma(new1, d - a, a);
        b = fma(old2, b, new2 * (d * d));
        store(m + i, a);
        store(v + i, b);
        store(p + i, x - scale * a / fma(sqrt(b), root, eps));
    });
}

}  // namespace

extern const OptimKernels optim_kernels;
const OptimKernels optim_kernels = {{&sgd<float>, &sgd<double>}, {&adam<float>, &adam<double>}};

}  // namespace chainrule::CHAINRULE_ISA
