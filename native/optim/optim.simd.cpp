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
void adam(void* parameter, const void* gradient, void* mean, void* square, void* largest, long n, const AdamStep& s) {
    T *p = static_cast<T*>(parameter), *m = static_cast<T*>(mean), *v = static_cast<T*>(square),
      *top = static_cast<T*>(largest);
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
        if (top) {
            b = maximum(b, load(top + i));
            store(top + i, b);
        }
        store(p + i, x - scale * a / fma(sqrt(b), root, eps));
    });
}

template <class T>
void rmsprop(void* parameter, const void* gradient, void* square, void* mean, void* moved, long n, const RmspropStep& s) {
    T *p = static_cast<T*>(parameter), *v = static_cast<T*>(square), *m = static_cast<T*>(mean),
      *b = static_cast<T*>(moved);
    const T* g = static_cast<const T*>(gradient);
    const auto constant = [](double value) { return splat(static_cast<T>(value)); };
    const Vec<T> lr = constant(s.lr), old = constant(s.alpha), fresh = constant(1 - s.alpha), eps = constant(s.eps),
                 momentum = constant(s.momentum), decay = constant(s.weight_decay), zero = constant(0);
    const bool decays = s.weight_decay != 0;
    vectors<T>(n, [=](long i, auto load, auto store) {
        const Vec<T> x = load(p + i);
        Vec<T> d = load(g + i);
        if (decays) d = fma(decay, x, d);
        Vec<T> size = fma(old, load(v + i), fresh * (d * d));
        store(v + i, size);
        if (m) {
            const Vec<T> a = load(m + i), average = fma(fresh, d - a, a);
            store(m + i, average);
            size = maximum(fma(-average, average, size), zero);
        }
        d = d / (sqrt(size) + eps);
        if (b) {
            d = fma(momentum, load(b + i), d);
            store(b + i, d);
        }
        store(p + i, fma(-lr, d, x));
    });
}

template <class T>
void adagrad(void* parameter, const void* gradient, void* sum, long n, const AdagradStep& s) {
    T *p = static_cast<T*>(parameter), *v = static_cast<T*>(sum);
    const T* g = static_cast<const T*>(gradient);
    const auto constant = [](double value) { return splat(static_cast<T>(value)); };
    const Vec<T> lr = constant(s.lr), eps = constant(s.eps), decay = constant(s.weight_decay);
    const bool decays = s.weight_decay != 0;
    vectors<T>(n, [=](long i, auto load, auto store) {
        const Vec<T> x = load(p + i);
        Vec<T> d = load(g + i);
        if (decays) d = fma(decay, x, d);
        const Vec<T> size = fma(d, d, load(v + i));
        store(v + i, size);
        store(p + i, x - lr * d / (sqrt(size) + eps));
    });
}

template <class T>
void lion(void* parameter, const void* gradient, void* mean, long n, const LionStep& s) {
    T *p = static_cast<T*>(parameter), *m = static_cast<T*>(mean);
    const T* g = static_cast<const T*>(gradient);
    const auto constant = [](double value) { return splat(static_cast<T>(value)); };
    const Vec<T> lr = constant(s.lr), old1 = constant(s.beta1), new1 = constant(1 - s.beta1), old2 = constant(s.beta2),
                 new2 = constant(1 - s.beta2), decay = constant(s.weight_decay),
                 shrink = constant(1 - s.lr * s.weight_decay), one = constant(1), zero = constant(0);
    const bool shrinks = s.weight_decay != 0 && s.decoupled, decays = s.weight_decay != 0 && !s.decoupled;
    vectors<T>(n, [=](long i, auto load, auto store) {
        Vec<T> x = load(p + i), d = load(g + i);
        const Vec<T> a = load(m + i);
        if (shrinks) x *= shrink;
        if (decays) d = fma(decay, x, d);
        const Vec<T> way = fma(old1, a, new1 * d);
        store(m + i, fma(old2, a, new2 * d));
        store(p + i, x - lr * select(way > zero, one, select(way < zero, -one, way)));
    });
}

template <class T>
void adamax(void* parameter, const void* gradient, void* mean, void* largest, long n, const AdamaxStep& s) {
    T *p = static_cast<T*>(parameter), *m = static_cast<T*>(mean), *u = static_cast<T*>(largest);
    const T* g = static_cast<const T*>(gradient);
    const auto constant = [](double value) { return splat(static_cast<T>(value)); };
    const Vec<T> scale = constant(s.scale), new1 = constant(1 - s.beta1), old2 = constant(s.beta2), eps = constant(s.eps),
                 decay = constant(s.weight_decay);
    const bool decays = s.weight_decay != 0;
    vectors<T>(n, [=](long i, auto load, auto store) {
        const Vec<T> x = load(p + i);
        Vec<T> d = load(g + i), a = load(m + i);
        if (decays) d = fma(decay, x, d);
        a = fma(new1, d - a, a);
        const Vec<T> top = maximum(old2 * load(u + i), abs(d) + eps);
        store(m + i, a);
        store(u + i, top);
        store(p + i, x - scale * (a / top));
    });
}

template <class T>
void moment(void* parameter, const void* gradient, void* mean, void* square, long n, const MomentStep& s) {
    T *p = static_cast<T*>(parameter), *m = static_cast<T*>(mean), *v = static_cast<T*>(square);
    const T* g = static_cast<const T*>(gradient);
    const auto constant = [](double value) { return splat(static_cast<T>(value)); };
    const Vec<T> new1 = constant(1 - s.beta1), old2 = constant(s.beta2), new2 = constant(1 - s.beta2), eps = constant(s.eps),
                 decay = constant(s.weight_decay), root = constant(s.root), of_gradient = constant(s.of_gradient),
                 of_mean = constant(s.of_mean);
    const bool decays = s.weight_decay != 0, divided = s.divided;
    vectors<T>(n, [=](long i, auto load, auto store) {
        const Vec<T> x = load(p + i);
        Vec<T> d = load(g + i), a = load(m + i), b = load(v + i);
        if (decays) d = fma(decay, x, d);
        a = fma(new1, d - a, a);
        b = fma(old2, b, new2 * (d * d));
        store(m + i, a);
        store(v + i, b);
        Vec<T> change = fma(of_gradient, d, of_mean * a);
        if (divided) change = change / fma(sqrt(b), root, eps);
        store(p + i, x - change);
    });
}

template <class T>
void adadelta(void* parameter, const void* gradient, void* square, void* changes, long n, const AdadeltaStep& s) {
    T *p = static_cast<T*>(parameter), *v = static_cast<T*>(square), *moved = static_cast<T*>(changes);
    const T* g = static_cast<const T*>(gradient);
    const auto constant = [](double value) { return splat(static_cast<T>(value)); };
    const Vec<T> lr = constant(s.lr), old = constant(s.rho), fresh = constant(1 - s.rho), eps = constant(s.eps),
                 decay = constant(s.weight_decay);
    const bool decays = s.weight_decay != 0;
    vectors<T>(n, [=](long i, auto load, auto store) {
        const Vec<T> x = load(p + i), before = load(moved + i);
        Vec<T> d = load(g + i);
        if (decays) d = fma(decay, x, d);
        const Vec<T> size = fma(old, load(v + i), fresh * (d * d));
        const Vec<T> change = sqrt((before + eps) / (size + eps)) * d;
        store(v + i, size);
        store(moved + i, fma(old, before, fresh * (change * change)));
        store(p + i, fma(-lr, change, x));
    });
}

}  // namespace

extern const OptimKernels optim_kernels;
const OptimKernels optim_kernels = {{&sgd<float>, &sgd<double>},
                                    {&adam<float>, &adam<double>},
                                    {&rmsprop<float>, &rmsprop<double>},
                                    {&adagrad<float>, &adagrad<double>},
                                    {&lion<float>, &lion<double>},
                                    {&adamax<float>, &adamax<double>},
                                    {&moment<float>, &moment<double>},
                                    {&adadelta<float>, &adadelta<double>}};

}  // namespace chainrule::CHAINRULE_ISA
