// Pooling, for each instruction set. Bound by memory: each input is read once, each output and index written once. 2x2
// windows run at 70-90 GB/s from the caches on planes of 4x4 to 64x64 (Zen 4, one core), both ways.
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
#if defined(__AVX512F__)
    if constexpr (sizeof(I) == 1 && sizeof(T) == 4)
        return _mm512_mask_cvtepi32_storeu_epi8(p, static_cast<__mmask16>(n < 16 ? (1u << n) - 1 : 0xffff), (__m512i)v);
#endif
    const auto narrow = __builtin_convertvector(v, typename IndexVec<T, I>::type);
    if (n >= lanes<T>)
        std::memcpy(p, &narrow, sizeof narrow);
    else
        std::memcpy(p, &narrow, n * sizeof(I));
}
template <class T, class I>
ints<Vec<T>> load_index(const I* p, long n) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    if constexpr (sizeof(I) == 1 && sizeof(T) == 4)
        return (ints<Vec<T>>)_mm512_cvtepu8_epi32(
            _mm_maskz_loadu_epi8(static_cast<__mmask16>(n < 16 ? (1u << n) - 1 : 0xffff), p));
#endif
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

// The four pixels of each window, in the order of the taps, of 2 vectors of a row and those below.
template <class T>
struct Quad {
    Vec<T> tap[4];
    Quad(Vec<T> a, Vec<T> b, Vec<T> c, Vec<T> d)
        : tap{every_second<0>(a, b, Lanes<T>{}), every_second<1>(a, b, Lanes<T>{}), every_second<0>(c, d, Lanes<T>{}),
              every_second<1>(c, d, Lanes<T>{})} {}
    Quad(const T* top, const T* bottom, long n)
        : Quad(load_at_most(top, 2 * n), load_at_most(top + lanes<T>, 2 * n - lanes<T>), load_at_most(bottom, 2 * n),
               load_at_most(bottom + lanes<T>, 2 * n - lanes<T>)) {}
};

// Rows of W elements, alternately top and bottom, that fill two vectors: the tops (or bottoms), and the way back.
template <int W, bool Bottom, class V, int... I>
V rows_of(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (I / W * 2 * W + I % W + (Bottom ? W : 0))...);
}
template <int W, bool High, class V, int... I>
V alternate(V top, V bottom, std::integer_sequence<int, I...>) {
    constexpr int L = sizeof...(I), H = High ? L : 0;
    return __builtin_shufflevector(top, bottom, ((I + H) / (2 * W) * W + I % W + ((I + H) / W % 2 ? L : 0))...);
}

// Calls f.template operator()<W>() if rows of w elements are a power of two that fits into a vector.
template <class T, class F>
[[gnu::always_inline]] inline bool of_width(long w, F f) {
    if (w == 2) return f.template operator()<2>(), true;
    if constexpr (lanes<T> >= 4)
        if (w == 4) return f.template operator()<4>(), true;
    if constexpr (lanes<T> >= 8)
        if (w == 8) return f.template operator()<8>(), true;
    if constexpr (lanes<T> >= 16)
        if (w == 16) return f.template operator()<16>(), true;
    return false;
}

constexpr int buffered = 32;  // vectors of narrow rows put side by side, tops and bottoms

// f(the windows of up to a vector of outputs side by side, the first of them, how many)
template <class T, class F>
[[gnu::always_inline]] inline void each_quad(const T* x, long pairs, long w, long out, F f) {
    constexpr long L = lanes<T>;
    const auto even = [&]<int W>() {
        const long total = pairs * out;
        for (long j = 0; j < total; j += L) {
            T rest[4 * L];
            const T* s = x + 4 * j;
            if (total - j < L) {
                for (long i = 0; i < 4 * L; i++) rest[i] = i < 4 * (total - j) ? s[i] : T(0);
                s = rest;
            }
            const Vec<T> a = load(s), b = load(s + L), c = load(s + 2 * L), d = load(s + 3 * L);
            f(Quad<T>(rows_of<W, false>(a, b, Lanes<T>{}), rows_of<W, false>(c, d, Lanes<T>{}),
                      rows_of<W, true>(a, b, Lanes<T>{}), rows_of<W, true>(c, d, Lanes<T>{})),
              j, total - j < L ? total - j : L);
        }
    };
    if (w == 2 * out && of_width<T>(w, even)) return;
    if (2 * out > L) {
        for (long p = 0; p < pairs; p++, x += 2 * w)
            for (long j = 0; j < out; j += L)
                f(Quad<T>(x + 2 * j, x + w + 2 * j, out - j), p * out + j, out - j < L ? out - j : L);
        return;
    }
    T top[(buffered + 1) * L], bottom[(buffered + 1) * L];
    const long most = buffered * L / (2 * out);
    for (long p0 = 0; p0 < pairs; p0 += most) {
        const long count = pairs - p0 < most ? pairs - p0 : most, total = count * out;
        for (long p = 0; p < count; p++, x += 2 * w) {
            store(top + p * 2 * out, load_at_most(x, 2 * out));
            store(bottom + p * 2 * out, load_at_most(x + w, 2 * out));
        }
        for (long j = 0; j < total; j += L)
            f(Quad<T>(top + 2 * j, bottom + 2 * j, total - j), p0 * out + j, total - j < L ? total - j : L);
    }
}

// The way back: f(first output, how many, Vec[2] of the row above, Vec[2] of that below) gives the inputs' values.
template <class T, class F>
[[gnu::always_inline]] inline void each_spread(T* x, long pairs, long w, F f) {
    constexpr long L = lanes<T>;
    const long out = w / 2;
    Vec<T> top[2], bottom[2];
    const auto even = [&]<int W>() {
        const long total = pairs * out;
        for (long j = 0; j < total; j += L) {
            const long n = total - j < L ? total - j : L;
            f(j, n, top, bottom);
            T* d = x + 4 * j;
            store_at_most(d, alternate<W, false>(top[0], bottom[0], Lanes<T>{}), 4 * n);
            store_at_most(d + L, alternate<W, true>(top[0], bottom[0], Lanes<T>{}), 4 * n - L);
            store_at_most(d + 2 * L, alternate<W, false>(top[1], bottom[1], Lanes<T>{}), 4 * n - 2 * L);
            store_at_most(d + 3 * L, alternate<W, true>(top[1], bottom[1], Lanes<T>{}), 4 * n - 3 * L);
        }
    };
    if (of_width<T>(w, even)) return;
    if (w > L) {
        for (long p = 0; p < pairs; p++, x += 2 * w)
            for (long j = 0; j < out; j += L) {
                const long n = out - j;
                f(p * out + j, n < L ? n : L, top, bottom);
                store_at_most(x + 2 * j, top[0], 2 * n);
                store_at_most(x + 2 * j + L, top[1], 2 * n - L);
                store_at_most(x + w + 2 * j, bottom[0], 2 * n);
                store_at_most(x + w + 2 * j + L, bottom[1], 2 * n - L);
            }
        return;
    }
    T above[(buffered + 2) * L], below[(buffered + 2) * L];
    const long most = buffered * L / w;
    for (long p0 = 0; p0 < pairs; p0 += most) {
        const long count = pairs - p0 < most ? pairs - p0 : most, total = count * out;
        for (long j = 0; j < total; j += L) {
            f(p0 * out + j, total - j < L ? total - j : L, top, bottom);
            for (int i : {0, 1}) store(above + 2 * j + i * L, top[i]), store(below + 2 * j + i * L, bottom[i]);
        }
        for (long p = 0; p < count; p++, x += 2 * w) {
            store_at_most(x, load(above + p * w), w);
            store_at_most(x + w, load(below + p * w), w);
        }
    }
}

template <class T>
void max2(const T* x, long pairs, long w, long n, T* y, uint8_t* index) {
    each_quad(x, pairs, w, n, [&](const Quad<T>& quad, long j, long count) {
        Vec<T> best = quad.tap[0];
        ints<Vec<T>> at{};
        for (int k = 1; k < 4; k++) keep_greater<T>(best, at, quad.tap[k], k);
        store_at_most(y + j, best, count);
        store_index<T>(index + j, at, count);
    });
}

template <class T>
void average2(const T* x, long pairs, long w, long n, T* y) {
    each_quad(x, pairs, w, n, [&](const Quad<T>& quad, long j, long count) {
        const Vec<T> sum = (quad.tap[0] + quad.tap[1]) + (quad.tap[2] + quad.tap[3]);
        store_at_most(y + j, sum * splat(T(0.25)), count);
    });
}

template <class T>
void max2_back(const T* g, const uint8_t* index, long pairs, long w, T* gx) {
    const auto odd = parity<ints<Vec<T>>>(Lanes<T>{});
    each_spread(gx, pairs, w, [&](long j, long count, Vec<T>(&top)[2], Vec<T>(&bottom)[2]) {
        const Vec<T> grad = load_at_most(g + j, count);
        const auto at = load_index<T>(index + j, count);
        const auto half = [&](Vec<T> v, ints<Vec<T>> k, int i) {
            top[i] = select(k == odd, v, Vec<T>{});
            bottom[i] = select(k == odd + 2, v, Vec<T>{});
        };
        half(doubled<0>(grad, Lanes<T>{}), doubled<0>(at, Lanes<T>{}), 0);
        half(doubled<1>(grad, Lanes<T>{}), doubled<1>(at, Lanes<T>{}), 1);
    });
}

template <class T>
void average2_back(const T* g, long pairs, long w, T* gx) {
    each_spread(gx, pairs, w, [&](long j, long count, Vec<T>(&top)[2], Vec<T>(&bottom)[2]) {
        const Vec<T> grad = load_at_most(g + j, count) * splat(T(0.25));
        top[0] = bottom[0] = doubled<0>(grad, Lanes<T>{});
        top[1] = bottom[1] = doubled<1>(grad, Lanes<T>{});
    });
}

// ---- 2x2 windows on channels-last images: channels in the lanes

template <class T>
void max2_last(const T* x, long pairs, long w, long c, T* y, uint8_t* index) {
    for (long o = 0; o < pairs * (w / 2); o++, y += c, index += c) {
        const T* s = x + (o / (w / 2) * 2 * w + o % (w / 2) * 2) * c;
        each_vector<T>(c, [&](long j, long n) {
            Vec<T> best = load_at_most(s + j, n);
            ints<Vec<T>> at{};
            keep_greater<T>(best, at, load_at_most(s + c + j, n), 1);
            keep_greater<T>(best, at, load_at_most(s + w * c + j, n), 2);
            keep_greater<T>(best, at, load_at_most(s + w * c + c + j, n), 3);
            store_at_most(y + j, best, n);
            store_index<T>(index + j, at, n);
        });
    }
}

template <class T>
void max2_last_back(const T* g, const T* y, const uint8_t* index, long w, long c, long first, long count, T* gx) {
    for (long p = first; p < first + count; p++, gx += c) {
        const long row = p / w, q = p % w, from = (row / 2 * (w / 2) + q / 2) * c;
        const auto tap = splat_index<T>(row % 2 * 2 + q % 2);
        each_vector<T>(c, [&](long j, long n) {
            Vec<T> grad = load_at_most(g + from + j, n);
            if (y) grad = select(load_at_most(y + from + j, n) <= Vec<T>{}, Vec<T>{}, grad);
            store_at_most(gx + j, select(load_index<T>(index + from + j, n) == tap, grad, Vec<T>{}), n);
        });
    }
}

template <class T>
constexpr PoolKernels<T> table() {
    return {{&max_forward<T, uint8_t>, &max_backward<T, uint8_t>},
            {&max_forward<T, int32_t>, &max_backward<T, int32_t>},
            &average<T>,
            &average_back<T>,
            &max2<T>,
            &average2<T>,
            &max2_back<T>,
            &average2_back<T>,
            &max2_last<T>,
            &max2_last_back<T>};
}

}  // namespace

extern const PoolTables pool_kernels = {table<float>(), table<double>()};

}  // namespace chainrule::CHAINRULE_ISA
