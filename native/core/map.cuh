// Elementwise kernels: y[i] = f(a[i], b[i] ...), where the arrays are walked together by a Layout. Elements are loaded and stored
// 16 bytes at a time where they lie so in all arrays, along the rows of a broadcast, too. Bound by the memory's bandwidth.
#pragma once

#include "core/device.cuh"

/// An operand: an array, or where that is null, one number.
template <class T> struct Operand {
    using type = T;
    const T* array;
    Wide<T> number;
};

/// What the host hands over a number as.
template <class T> struct NumberOf { using type = int64_t; };
template <> struct NumberOf<float> { using type = double; };
template <> struct NumberOf<double> { using type = double; };
template <class T> using Number = typename NumberOf<Wide<T>>::type;

/// Elements of which only the size matters.
template <int bytes> struct Word;
template <> struct Word<1> { using type = uint8_t; };
template <> struct Word<2> { using type = uint16_t; };
template <> struct Word<4> { using type = uint32_t; };
template <> struct Word<8> { using type = uint64_t; };

/// Some elements next to each other.
template <class T, int n> struct alignas(sizeof(T) * n < 16 ? sizeof(T) * n : 16) Some {
    T at[n];
};

template <int... I> struct Places {};
template <int n, int... I> struct PlacesTo : PlacesTo<n - 1, n - 1, I...> {};
template <int... I> struct PlacesTo<0, I...> { using type = Places<I...>; };

template <int n, class T> DEVICE Some<Wide<T>, n> loaded(const Operand<T>& a, int64_t at, int64_t step) {
    Some<Wide<T>, n> y;
    if (n > 1 && a.array && step) {
        const Some<T, n> x = *reinterpret_cast<const Some<T, n>*>(a.array + at);
        for (int k = 0; k < n; ++k) y.at[k] = widened(x.at[k]);
    } else {
        const Wide<T> x = a.array ? widened(a.array[at]) : a.number;
        for (int k = 0; k < n; ++k) y.at[k] = x;
    }
    return y;
}

template <int n, class T> DEVICE bool aligned(const T* array) {
    return (reinterpret_cast<uint64_t>(array) & (sizeof(Some<T, n>) - 1)) == 0;
}

/// What a function gave: one value, or one for each of several arrays.
template <class V> DEVICE V part(V value, int) { return value; }
template <class V, int m> DEVICE V part(const Some<V, m>& values, int which) { return values.at[which]; }

/// The elements from number `i` on, n of them.
template <int n, class F, class To, int m, class... T, int... I>
DEVICE void map_some(const F& f, To* const (&y)[m], const Layout<1 + sizeof...(T)>& where, int64_t i, Places<I...>,
                     const Operand<T>&... a) {
    int64_t at[1 + sizeof...(T)];
    where.place(i, at);
    const int64_t last = where.axes > 0 ? where.axes - 1 : 0;
    const auto all = [&](const auto&... x) {
        Some<To, n> to[m];
        for (int k = 0; k < n; ++k) {
            const auto value = f(x.at[k]...);
            for (int j = 0; j < m; ++j) to[j].at[k] = narrowed<To>(part(value, j));
        }
        for (int j = 0; j < m; ++j) {
            if (n > 1) *reinterpret_cast<Some<To, n>*>(y[j] + at[0]) = to[j];
            else y[j][at[0]] = to[j].at[0];
        }
    };
    all(loaded<n>(a, at[I + 1], where.stride[I + 1][last])...);
}

constexpr int least(int a) { return a; }
template <class... A> constexpr int least(int a, int b, A... c) { return least(a < b ? a : b, c...); }

/// y = f(a ...), computed in the wide types of the operands; of several arrays y, which lie alike, f gives Some values. Each
/// thread of a grid of one axis takes part.
template <class F, class To, int m, class... T>
DEVICE void map_to(const F& f, To* const (&y)[m], const Layout<1 + sizeof...(T)>& where, int64_t n, const Operand<T>&... a) {
    constexpr int count = least(16 / sizeof(To), static_cast<int>(16 / sizeof(T))...);
    using Each = typename PlacesTo<sizeof...(T)>::type;
    int64_t done = 0;
    bool together = count > 1 && where.pack >= count && (aligned<count>(a.array) && ...);
    for (int j = 0; j < m; ++j) together = together && aligned<count>(y[j]);
    if (together) {
        const int64_t packs = n / count;
        EACH(i, packs) map_some<count>(f, y, where, i * count, Each{}, a...);
        done = packs * count;
    }
    for (int64_t i = done + thread_number(); i < n; i += thread_count()) map_some<1>(f, y, where, i, Each{}, a...);
}
template <class F, class To, class... T>
DEVICE void map(const F& f, To* y, const Layout<1 + sizeof...(T)>& where, int64_t n, const Operand<T>&... a) {
    To* const only[1] = {y};
    map_to(f, only, where, n, a...);
}
