// Elementwise calls in a row as one kernel: what one passes on to the next stays in registers, rounded as if it had been stored.
// A chain is the type of its kernel; which there are is found when a step is recorded (rooms/chain.py). Bound by the memory's
// bandwidth: gelu(a * b + c) of 2^24 floats (268 MB) takes 63 us at best on an H200, call by call 125.
#include "core/map.cuh"
#include "elementwise/functions.cuh"

namespace scalar {
#include "activation/functors.h"

BINARY(lt, a < b)
BINARY(le, a <= b)
BINARY(eq, a == b)
BINARY(ne, a != b)
BINARY(ge, a >= b)
BINARY(gt, a > b)
UNARY(cast, a)
struct where_f { template <class V> static V f(V yes, V a, V b) { return yes != V{} ? a : b; } };
}  // namespace scalar
using namespace scalar;

// What a chain is written with. Its values are numbered: arrays that go in, numbers, and then the results of the steps.
template <class... T> struct In {};
template <class T, int value> struct Out {};
template <class... O> struct Outs {};
/// F of the values A, computed in the wide type of T and rounded to R.
template <class F, class T, class R, int... A> struct Step {};
template <class... S> struct Steps {};

template <int n> struct Pointers { void* at[n]; };
template <int n> struct Numbers { double at[n]; };

// ---- neighbours of several arrays

template <int number, class T, int n> struct Slot { Some<T, n> some; };
template <int n, class Each, class... T> struct Slots;
template <int n, int... I, class... T> struct Slots<n, Places<I...>, T...> : Slot<I, T, n>... {};
template <int number, class T, int n> DEVICE Some<T, n>& slot(Slot<number, T, n>& slots) { return slots.some; }
template <int number, class T, int n> DEVICE const Some<T, n>& slot(const Slot<number, T, n>& slots) { return slots.some; }

// ---- the values of one element

template <int arrays, int numbers, class Given> struct Begin {
    static constexpr int count = arrays + numbers;
    const Given& given;
    const Numbers<numbers>& number;
    int which;
};
template <class Before, class V> struct Values {
    static constexpr int count = Before::count + 1;
    const Before& before;
    V value;
};
template <int i, int arrays, int numbers, class Given> DEVICE auto value(const Begin<arrays, numbers, Given>& all) {
    if constexpr (i < arrays) return slot<i>(all.given).at[all.which];
    else return all.number.at[i - arrays];
}
template <int i, class Before, class V> DEVICE auto value(const Values<Before, V>& all) {
    if constexpr (i == Before::count) return all.value;
    else return value<i>(all.before);
}

/// F of as many of these as it takes.
template <class F, class V> DEVICE auto applied(V a) { return F::f(a); }
template <class F, class V> DEVICE auto applied(V a, V b) {
    if constexpr (requires { F::f(a, b); }) return F::f(a, b);
    else return applied<F>(a);
}
template <class F, class V> DEVICE auto applied(V a, V b, V c) {
    if constexpr (requires { F::f(a, b, c); }) return F::f(a, b, c);
    else return applied<F>(a, b);
}
template <class F, class V> DEVICE auto applied(V a, V b, V c, V d) {
    if constexpr (requires { F::f(a, b, c, d); }) return F::f(a, b, c, d);
    else return applied<F>(a, b, c);
}

/// Do the steps, and then `last` with all values.
template <class All, class Last> DEVICE void done(const All& all, const Last& last, Steps<>) { last(all); }
template <class All, class Last, class F, class T, class R, int... A, class... Rest>
DEVICE void done(const All& all, const Last& last, Steps<Step<F, T, R, A...>, Rest...>) {
    using V = Wide<T>;
    const auto result = widened(narrowed<R>(applied<F>(static_cast<V>(value<A>(all))...)));
    done(Values<All, Wide<R>>{all, result}, last, Steps<Rest...>{});
}

// ---- the kernel

template <int n, int numbers, class... T, int... I, class... To, int... value_of, int... J, class S>
DEVICE void some(const Pointers<sizeof...(To)>& y, const Pointers<sizeof...(T)>& x, const Numbers<numbers>& number,
                 const Layout<1 + sizeof...(T)>& where, int64_t i, In<T...>, Places<I...>, Outs<Out<To, value_of>...>,
                 Places<J...> each_out, S steps) {
    int64_t at[1 + sizeof...(T)];
    where.place(i, at);
    const int64_t last = where.axes > 0 ? where.axes - 1 : 0;
    const Slots<n, Places<I...>, Wide<T>...> given{
        {loaded<n>(Operand<T>{static_cast<const T*>(x.at[I]), {}}, at[I + 1], where.stride[I + 1][last])}...};
    Slots<n, Places<J...>, To...> to;
    for (int k = 0; k < n; ++k) {
        const Begin<sizeof...(T), numbers, decltype(given)> begin{given, number, k};
        done(begin, [&](const auto& all) { ((slot<J>(to).at[k] = narrowed<To>(value<value_of>(all))), ...); }, steps);
    }
    ((*reinterpret_cast<Some<To, n>*>(static_cast<To*>(y.at[J]) + at[0]) = slot<J>(to)), ...);
}

template <int numbers, class... T, int... I, class... To, int... value_of, int... J, class S>
DEVICE void all(const Pointers<sizeof...(To)>& y, const Pointers<sizeof...(T)>& x, const Numbers<numbers>& number,
                const Layout<1 + sizeof...(T)>& where, int64_t n, In<T...> in, Places<I...> each,
                Outs<Out<To, value_of>...> outs, Places<J...> each_out, S steps) {
    constexpr int count = least(static_cast<int>(16 / sizeof(To))..., static_cast<int>(16 / sizeof(T))...);
    int64_t done = 0;
    const bool together = count > 1 && where.pack >= count && (aligned<count>(static_cast<const T*>(x.at[I])) && ...) &&
                          (aligned<count>(static_cast<const To*>(y.at[J])) && ...);
    if (together) {
        const int64_t packs = n / count;
        EACH(i, packs) some<count>(y, x, number, where, i * count, in, each, outs, each_out, steps);
        done = packs * count;
    }
    for (int64_t i = done + thread_number(); i < n; i += thread_count())
        some<1>(y, x, number, where, i, in, each, outs, each_out, steps);
}

template <class I, class O, class S, int arrays, int results, int numbers>
__global__ void chain(Pointers<results> y, Pointers<arrays> x, Numbers<numbers> number, Layout<1 + arrays> where, int64_t n) {
    all(y, x, number, where, n, I{}, typename PlacesTo<arrays>::type{}, O{}, typename PlacesTo<results>::type{}, S{});
}
