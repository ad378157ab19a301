// Depthwise convolution, for each instruction set. Bound by loads: one of x and one of w for each FMA, in gradients of 3x3
// one of x alone (8x128x28x28: 601 -> 424 us; the rest is turning row-major images).
#include "conv/depthwise_kernels.h"
#include "core/simd.h"

namespace chainrule::CHAINRULE_ISA {

namespace {

// Four outputs side by side share the weights.
template <class T, int N>
[[gnu::always_inline]] inline void outputs_of(const T* x, const DepthwiseRow& s, const T* w, Vec<T> bias, T* y,
                                              long y_step, long n) {
    Vec<T> acc[N];
#pragma GCC unroll 4
    for (int i = 0; i < N; i++) acc[i] = bias;
    for (long ty = 0; ty < s.ny; ty++)
        for (long tx = 0; tx < s.nx; tx++, w += s.channels) {
            const T* p = x + ty * s.row + tx * s.tap;
            const Vec<T> weight = load_some(w, n);
#pragma GCC unroll 4
            for (int i = 0; i < N; i++) acc[i] = fma(weight, load_some(p + i * s.step, n), acc[i]);
        }
#pragma GCC unroll 4
    for (int i = 0; i < N; i++) store_some(y + i * y_step, acc[i], n);
}

template <class T>
void forward(const T* x, const DepthwiseRow& s, const T* w, const T* bias, T* y, long y_step) {
    for (long c = 0; c < s.channels; c += lanes<T>) {
        const long n = s.channels - c;
        const Vec<T> b = bias ? load_some(bias + c, n) : Vec<T>{};
        long o = 0;
        for (; o + 4 <= s.outputs; o += 4)
            outputs_of<T, 4>(x + o * s.step + c, s, w + c, b, y + o * y_step + c, y_step, n);
        for (; o < s.outputs; o++) outputs_of<T, 1>(x + o * s.step + c, s, w + c, b, y + o * y_step + c, y_step, n);
    }
}

// All taps at once: each pixel of g is loaded once. Whole vectors: n is a constant where this is called.
template <class T, int NY, int NX>
[[gnu::always_inline]] inline void gradient_of(const T* x, const DepthwiseRow& s, const T* g, long g_step, T* gw, long n) {
    Vec<T> acc[NY * NX] = {};
    for (long o = 0; o < s.outputs; o++) {
        const Vec<T> grad = load_some(g + o * g_step, n);
#pragma GCC unroll 9
        for (int t = 0; t < NY * NX; t++)
            acc[t] = fma(load_some(x + o * s.step + t / NX * s.row + t % NX * s.tap, n), grad, acc[t]);
    }
#pragma GCC unroll 9
    for (int t = 0; t < NY * NX; t++) {
        T* to = gw + t * s.channels;
        store_some(to, load_some(to, n) + acc[t], n);
    }
}

template <class T>
void gradient(const T* x, const DepthwiseRow& s, const T* g, long g_step, T* gw) {
    long c = 0;
    if (s.ny == 3 && s.nx == 3)
        for (; c + lanes<T> <= s.channels; c += lanes<T>)
            gradient_of<T, 3, 3>(x + c, s, g + c, g_step, gw + c, lanes<T>);
    for (; c < s.channels; c += lanes<T>) {
        const long n = s.channels - c;
        T* to = gw + c;
        for (long ty = 0; ty < s.ny; ty++)
            for (long tx = 0; tx < s.nx; tx++, to += s.channels) {
                const T *p = x + ty * s.row + tx * s.tap + c, *q = g + c;
                Vec<T> acc[4] = {load_some(to, n)};
                long o = 0;
                for (; o + 4 <= s.outputs; o += 4)
#pragma GCC unroll 4
                    for (int i = 0; i < 4; i++)
                        acc[i] = fma(load_some(p + (o + i) * s.step, n), load_some(q + (o + i) * g_step, n), acc[i]);
                for (; o < s.outputs; o++)
                    acc[0] = fma(load_some(p + o * s.step, n), load_some(q + o * g_step, n), acc[0]);
                store_some(to, (acc[0] + acc[1]) + (acc[2] + acc[3]), n);
            }
    }
}

}  // namespace

extern const DepthwiseTables depthwise_kernels = {{&forward<float>, &gradient<float>},
                                                  {&forward<double>, &gradient<double>}};

}  // namespace chainrule::CHAINRULE_ISA
