// Pooling, for each instruction set. Bound by memory: each input is read once, each output and index written once.
#include <cstring>
#include <utility>

#include "core/simd.h"
#include "pool/kernels.h"

namespace chainrule::CHAINRULE_ISA {

namespace {

template <class T, class I>
struct IndexVec {
    typedef I type __attribute__((vector_size(lanes<T> * sizeof(I))));
};

// n elements, or none if it is below 1, or a whole vector if it is above.
template <class T>
Vec<T> load_at_most(const T* p, long n) {
    return n >= lanes<T> ? load(p) : load_part(p, n > 0 ? n : 0);
}
template <class T>
void store_at_most(T* p, Vec<T> v, long n) {
    if (n >= lanes<T>) return store(p, v);
#if defined(__AVX512F__)
    if (n > 0) store_part(p, v, n);
#else
    for (int i = 0; i < lanes<T> - 1; i++)
        if (i < n) p[i] = v[i];
#endif
}

template <class T, class I>
void store_index(I* p, ints<Vec<T>> v, long n) {
    const auto narrow = __builtin_convertvector(v, typename IndexVec<T, I>::type);
    if (n >= lanes<T>)
        std::memcpy(p, &narrow, sizeof narrow);
    else
        std::memcpy(p, &narrow, n * sizeof(I));
}
template <class T, class I>
ints<Vec<T>> load_index(const I* p, long n) {
    typename IndexVec<T, I>::type narrow{};
    if (n >= lanes<T>)
        std::memcpy(&narrow, p, sizeof narrow);
    else
        std::memcpy(&narrow, p, n * sizeof(I));
    return __builtin_convertvector(narrow, ints<Vec<T>>);
}

template <class T>
ints<Vec<T>> splat_index(long k) {
    using Element = std::remove_reference_t<decltype(ints<Vec<T>>{}[0])>;
    return ints<Vec<T>>{} + static_cast<Element>(k);
}

// Where v is greater, or the first NaN, take it.
template <class T>
void keep_greater(Vec<T>& best, ints<Vec<T>>& index, Vec<T> v, long k) {
    const auto take = ~(v <= best) & (best == best);
    best = select(take, v, best);
    index = take ? splat_index<T>(k) : index;
}

// The taps of one output that lie inside the image, [y0, y1) x [x0, x1), and where tap (0, 0) is.
struct Taps {
    long y0, y1, x0, x1, top, left;
};

// Calls f(output row, output column, its taps) for every output.
template <class F>
void each_output(const Window& wy, const Window& wx, F f) {
    for (long r = 0; r < wy.out; r++) {
        Taps taps{wy.first_tap(r), wy.end_tap(r), 0, 0, wy.start(r), 0};
        for (long q = 0; q < wx.out; q++) {
            taps.x0 = wx.first_tap(q), taps.x1 = wx.end_tap(q), taps.left = wx.start(q);
            f(r, q, taps);
        }
    }
}

// Calls f(channel, lanes in use) over the channels in vectors.
template <class T, class F>
[[gnu::always_inline]] inline void each_vector(long channels, F f) {
    long c = 0;
    for (; c + lanes<T> <= channels; c += lanes<T>) f(c, static_cast<long>(lanes<T>));
    if (c < channels) f(c, channels - c);
}

template <class T, class I>
void max_forward(Pixels<const T> x, long channels, const Window& wy, const Window& wx, Pixels<T> y, Pixels<I> index) {
    const T lowest = -static_cast<T>(__builtin_inf());
    each_output(wy, wx, [&](long r, long q, const Taps& t) {
        each_vector<T>(channels, [&](long c, long n) {
            Vec<T> best = splat(lowest);
            auto at = splat_index<T>(t.y0 * wx.kernel + t.x0);
            for (long ky = t.y0; ky < t.y1; ky++) {
                const T* from = x.at(t.top + ky * wy.dilation, t.left) + c;
                for (long kx = t.x0; kx < t.x1; kx++)
                    keep_greater<T>(best, at, load_at_most(from + kx * wx.dilation * x.pixel, n), ky * wx.kernel + kx);
            }
            store_at_most(y.at(r, q) + c, best, n);
            store_index<T>(index.at(r, q) + c, at, n);
        });
    });
}

// Adds (stores, where every input has one output) part(tap number) to the inputs under an output's taps.
template <class T, class F>
[[gnu::always_inline]] inline void spread(Pixels<T> gx, const Taps& t, const Window& wy, const Window& wx, bool once,
                                          long c, long n, F part) {
    for (long ky = t.y0; ky < t.y1; ky++) {
        T* to = gx.at(t.top + ky * wy.dilation, t.left) + c;
        for (long kx = t.x0; kx < t.x1; kx++) {
            T* pixel = to + kx * wx.dilation * gx.pixel;
            const Vec<T> value = part(ky * wx.kernel + kx);
            store_at_most(pixel, once ? value : load_at_most(pixel, n) + value, n);
        }
    }
}

template <class T, class I>
void max_backward(Pixels<const T> g, Pixels<const I> index, long channels, const Window& wy, const Window& wx,
                  Pixels<T> gx) {
    const bool once = wy.tiles() && wx.tiles();
    each_output(wy, wx, [&](long r, long q, const Taps& t) {
        each_vector<T>(channels, [&](long c, long n) {
            const Vec<T> grad = load_at_most(g.at(r, q) + c, n);
            const auto at = load_index<T>(index.at(r, q) + c, n);
            spread<T>(gx, t, wy, wx, once, c, n,
                      [&](long k) { return select(at == splat_index<T>(k), grad, Vec<T>{}); });
        });
    });
}

// One over the number of taps the average counts.
template <class T>
T share(const Window& wy, const Window& wx, const Taps& t, bool padded) {
    return T(1) / static_cast<T>(padded ? wy.kernel * wx.kernel : (t.y1 - t.y0) * (t.x1 - t.x0));
}

template <class T>
void average(Pixels<const T> x, long channels, const Window& wy, const Window& wx, bool padded, Pixels<T> y) {
    each_output(wy, wx, [&](long r, long q, const Taps& t) {
        const Vec<T> scale = splat(share<T>(wy, wx, t, padded));
        each_vector<T>(channels, [&](long c, long n) {
            Vec<T> sum{};
            for (long ky = t.y0; ky < t.y1; ky++) {
                const T* from = x.at(t.top + ky, t.left) + c;
                for (long kx = t.x0; kx < t.x1; kx++) sum += load_at_most(from + kx * x.pixel, n);
            }
            store_at_most(y.at(r, q) + c, sum * scale, n);
        });
    });
}

template <class T>
void average_back(Pixels<const T> g, long channels, const Window& wy, const Window& wx, bool padded, Pixels<T> gx) {
    const bool once = wy.tiles() && wx.tiles();
    each_output(wy, wx, [&](long r, long q, const Taps& t) {
        const Vec<T> scale = splat(share<T>(wy, wx, t, padded));
        each_vector<T>(channels, [&](long c, long n) {
            const Vec<T> part = load_at_most(g.at(r, q) + c, n) * scale;
            spread<T>(gx, t, wy, wx, once, c, n, [&](long) { return part; });
        });
    });
}

// ---- 2x2 windows on row-major rows: pixels in the lanes, even and odd ones parted by shuffles

template <int Odd, class V, int... I>
V every_second(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (2 * I + Odd)...);
}
template <int High, class V, int... I>
V doubled(V a, std::integer_sequence<int, I...>) {
    constexpr int L = sizeof...(I);
    return __builtin_shufflevector(a, a, ((I + High * L) / 2)...);
}
template <class V, int... I>
V parity(std::integer_sequence<int, I...>) {
    return V{(I % 2)...};
}
template <class T>
using Lanes = std::make_integer_sequence<int, lanes<T>>;

// The four pixels of each window, in the order of the taps.
template <class T>
struct Quad {
    Vec<T> tap[4];
    Quad(const T* top, const T* bottom, long n) {
        constexpr int L = lanes<T>;
        const Vec<T> a = load_at_most(top, 2 * n), b = load_at_most(top + L, 2 * n - L);
        const Vec<T> c = load_at_most(bottom, 2 * n), d = load_at_most(bottom + L, 2 * n - L);
        tap[0] = every_second<0>(a, b, Lanes<T>{});
        tap[1] = every_second<1>(a, b, Lanes<T>{});
        tap[2] = every_second<0>(c, d, Lanes<T>{});
        tap[3] = every_second<1>(c, d, Lanes<T>{});
    }
};

template <class T>
void max2(const T* top, const T* bottom, T* y, uint8_t* index, long n) {
    constexpr int L = lanes<T>;
    for (long j = 0; j < n; j += L) {
        const Quad<T> quad(top + 2 * j, bottom + 2 * j, n - j);
        Vec<T> best = quad.tap[0];
        ints<Vec<T>> at{};
        for (int k = 1; k < 4; k++) keep_greater<T>(best, at, quad.tap[k], k);
        store_at_most(y + j, best, n - j);
        store_index<T>(index + j, at, n - j < L ? n - j : L);
    }
}

template <class T>
void average2(const T* top, const T* bottom, T* y, long n) {
    for (long j = 0; j < n; j += lanes<T>) {
        const Quad<T> quad(top + 2 * j, bottom + 2 * j, n - j);
        store_at_most(y + j, ((quad.tap[0] + quad.tap[1]) + (quad.tap[2] + quad.tap[3])) * splat(T(0.25)), n - j);
    }
}

template <class T>
void max2_back(const T* g, const uint8_t* index, T* top, T* bottom, long n) {
    constexpr int L = lanes<T>;
    const auto odd = parity<ints<Vec<T>>>(Lanes<T>{});
    const auto half = [&](Vec<T> grad, ints<Vec<T>> at, long j, long count) {
        store_at_most(top + j, select(at == odd, grad, Vec<T>{}), count);
        store_at_most(bottom + j, select(at == odd + 2, grad, Vec<T>{}), count);
    };
    for (long j = 0; j < n; j += L) {
        const Vec<T> grad = load_at_most(g + j, n - j);
        const auto at = load_index<T>(index + j, n - j < L ? n - j : L);
        half(doubled<0>(grad, Lanes<T>{}), doubled<0>(at, Lanes<T>{}), 2 * j, 2 * (n - j));
        half(doubled<1>(grad, Lanes<T>{}), doubled<1>(at, Lanes<T>{}), 2 * j + L, 2 * (n - j) - L);
    }
}

template <class T>
void average2_back(const T* g, T* top, T* bottom, long n) {
    constexpr int L = lanes<T>;
    for (long j = 0; j < n; j += L) {
        const Vec<T> grad = load_at_most(g + j, n - j) * splat(T(0.25));
        const Vec<T> low = doubled<0>(grad, Lanes<T>{}), high = doubled<1>(grad, Lanes<T>{});
        for (T* row : {top, bottom}) {
            store_at_most(row + 2 * j, low, 2 * (n - j));
            store_at_most(row + 2 * j + L, high, 2 * (n - j) - L);
        }
    }
}

template <class T>
constexpr PoolKernels<T> table() {
    return {{&max_forward<T, uint8_t>, &max_backward<T, uint8_t>},
            {&max_forward<T, int32_t>, &max_backward<T, int32_t>},
            &average<T>,
            &average_back<T>,
            &max2<T>,
            &max2_back<T>,
            &average2<T>,
            &average2_back<T>};
}

}  // namespace

extern const PoolTables pool_kernels = {table<float>(), table<double>()};

}  // namespace chainrule::CHAINRULE_ISA
