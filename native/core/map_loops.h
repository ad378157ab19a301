// Kernels for core/map.h out of functors (*.simd.cpp files): a functor is one line with a template `f` that works on
// vectors, `struct Add { template <class V> static V f(V a, V b) { return a + b; } };`.
#pragma once

#include "core/simd.h"

namespace chainrule::CHAINRULE_ISA {

// An operand: consecutive elements, or one value for all.
template <class T, bool single> struct Source {
    const T* p;
    Vec<T> one{};
    explicit Source(const void* data) : p(static_cast<const T*>(data)) {
        if constexpr (single) one = splat(*p);
    }
    Vec<T> at(long i) const {
        if constexpr (single) return one;
        else return load(p + i);
    }
    Vec<T> part(long i, long n) const {
        if constexpr (single) return one;
        else return load_part(p + i, n);
    }
};

// y[i] = f(sources at i ...); the last, partial vector is computed as a whole one, so a result does not depend on
// where its element lies.
template <class T, class F, class... S>
inline void map_vectors(T* y, long n, F f, const S&... sources) {
    long i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) store(y + i, f(sources.at(i)...));
    if (i < n) store_part(y + i, f(sources.part(i, n - i)...), n - i);
}

// The same with stores past the caches, where y allows it.
template <class T, class F, class... S>
[[gnu::noinline]] void stream_vectors(T* y, long n, F f, const S&... sources) {
    long i = 0;
    if (reinterpret_cast<uintptr_t>(y) % vector_bytes == 0)
        for (; i + lanes<T> <= n; i += lanes<T>) stream(y + i, f(sources.at(i)...));
    for (; i + lanes<T> <= n; i += lanes<T>) store(y + i, f(sources.at(i)...));
    if (i < n) store_part(y + i, f(sources.part(i, n - i)...), n - i);
    fence();
}

template <class Op, class T>
void unary(void* y, const void* a, const void*, const void* c, unsigned single, long n) {
    const auto f = [](Vec<T> a) { return Op::f(a); };
    if (c && !single) return stream_vectors(static_cast<T*>(y), n, f, Source<T, false>(a));
    if (single) map_vectors(static_cast<T*>(y), n, f, Source<T, true>(a));
    else map_vectors(static_cast<T*>(y), n, f, Source<T, false>(a));
}

// f over two operands, the bits of `single` say which of them are single.
template <class T, class F>
void map_two(T* to, long n, const F& f, const void* a, const void* b, unsigned single) {
    switch (single & 3) {
        case 0: return map_vectors(to, n, f, Source<T, false>(a), Source<T, false>(b));
        case 1: return map_vectors(to, n, f, Source<T, true>(a), Source<T, false>(b));
        case 2: return map_vectors(to, n, f, Source<T, false>(a), Source<T, true>(b));
        default: return map_vectors(to, n, f, Source<T, true>(a), Source<T, true>(b));
    }
}

template <class Op, class T>
void binary(void* y, const void* a, const void* b, const void* c, unsigned single, long n) {
    const auto f = [](Vec<T> a, Vec<T> b) { return Op::f(a, b); };
    if (c && single == 0) return stream_vectors(static_cast<T*>(y), n, f, Source<T, false>(a), Source<T, false>(b));
    if (c && single == 2) return stream_vectors(static_cast<T*>(y), n, f, Source<T, false>(a), Source<T, true>(b));
    map_two(static_cast<T*>(y), n, f, a, b, single);
}

// Two operands and one value.
template <class Op, class T>
void binary_with(void* y, const void* a, const void* b, const void* c, unsigned single, long n) {
    const Vec<T> value = splat(*static_cast<const T*>(c));
    const auto f = [value](Vec<T> a, Vec<T> b) { return Op::f(a, b, value); };
    map_two(static_cast<T*>(y), n, f, a, b, single);
}

// One operand and two values that lie side by side.
template <class Op, class T>
void unary_with_two(void* y, const void* a, const void* b, const void*, unsigned single, long n) {
    const Vec<T> first = splat(static_cast<const T*>(b)[0]), second = splat(static_cast<const T*>(b)[1]);
    const auto f = [first, second](Vec<T> a) { return Op::f(a, first, second); };
    if (single & 1) map_vectors(static_cast<T*>(y), n, f, Source<T, true>(a));
    else map_vectors(static_cast<T*>(y), n, f, Source<T, false>(a));
}

// Two operands and two values that lie side by side.
template <class Op, class T>
void binary_with_two(void* y, const void* a, const void* b, const void* c, unsigned single, long n) {
    const Vec<T> first = splat(static_cast<const T*>(c)[0]), second = splat(static_cast<const T*>(c)[1]);
    const auto f = [first, second](Vec<T> a, Vec<T> b) { return Op::f(a, b, first, second); };
    map_two(static_cast<T*>(y), n, f, a, b, single);
}

// Three operands, all dense: for callers that know their memory.
template <class Op, class T>
void ternary_dense(void* y, const void* a, const void* b, const void* c, unsigned, long n) {
    const auto f = [](Vec<T> a, Vec<T> b, Vec<T> c) { return Op::f(a, b, c); };
    map_vectors(static_cast<T*>(y), n, f, Source<T, false>(a), Source<T, false>(b), Source<T, false>(c));
}

// Results of another type than the operands (comparisons): plain loops, which the compiler vectorises.
template <class Op, class T, class Y>
void binary_to(void* y, const void* a, const void* b, const void*, unsigned single, long n) {
    Y* __restrict to = static_cast<Y*>(y);
    const T *__restrict p = static_cast<const T*>(a), *__restrict q = static_cast<const T*>(b);
    if (single == 0) {
        for (long i = 0; i < n; ++i) to[i] = Op::f(p[i], q[i]);
    } else if (single == 2) {
        const T value = *q;
        for (long i = 0; i < n; ++i) to[i] = Op::f(p[i], value);
    } else if (single == 1) {
        const T value = *p;
        for (long i = 0; i < n; ++i) to[i] = Op::f(value, q[i]);
    } else {
        const Y value = Op::f(*p, *q);
        for (long i = 0; i < n; ++i) to[i] = value;
    }
}

template <class Op, class T, class Y>
void unary_to(void* y, const void* a, const void*, const void*, unsigned single, long n) {
    Y* __restrict to = static_cast<Y*>(y);
    const T* __restrict p = static_cast<const T*>(a);
    if (single) {
        const Y value = Op::f(*p);
        for (long i = 0; i < n; ++i) to[i] = value;
    } else {
        for (long i = 0; i < n; ++i) to[i] = Op::f(p[i]);
    }
}

}  // namespace chainrule::CHAINRULE_ISA
