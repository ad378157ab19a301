// The transforms of Winograd convolution F(2x2, 3x3) and F(4x4, 3x3), for each instruction set (Lavin and Gray, "Fast algorithms for
// convolutional neural networks", 2016):  Y = A^T [(G g G^T) * (B^T d B)] A. Bound by the caches: additions only.
#include "conv/winograd_kernels.h"
#include "core/simd.h"

namespace chainrule::CHAINRULE_ISA {

namespace {

// One-dimensional transforms; applied to columns, then to rows.
struct Input {  // B^T
    static constexpr int from = 4, to = 4;
    template <class V>
    static void run(const V* d, V* o) {
        o[0] = d[0] - d[2];
        o[1] = d[1] + d[2];
        o[2] = d[2] - d[1];
        o[3] = d[1] - d[3];
    }
};
struct Output {  // A^T
    static constexpr int from = 4, to = 2;
    template <class V>
    static void run(const V* m, V* o) {
        o[0] = m[0] + m[1] + m[2];
        o[1] = m[1] - m[2] - m[3];
    }
};
struct Gradient {  // A
    static constexpr int from = 2, to = 4;
    template <class V>
    static void run(const V* g, V* o) {
        o[0] = g[0];
        o[1] = g[0] + g[1];
        o[2] = g[0] - g[1];
        o[3] = -g[1];
    }
};
struct Filter {  // G
    static constexpr int from = 3, to = 4;
    template <class V>
    static void run(const V* g, V* o) {
        const V half = V{} + elem<V>(0.5), outer = (g[0] + g[2]) * half, inner = g[1] * half;
        o[0] = g[0];
        o[1] = outer + inner;
        o[2] = outer - inner;
        o[3] = g[2];
    }
};
struct FilterBack {  // G^T
    static constexpr int from = 4, to = 3;
    template <class V>
    static void run(const V* s, V* o) {
        const V half = V{} + elem<V>(0.5), plus = (s[1] + s[2]) * half;
        o[0] = s[0] + plus;
        o[1] = (s[1] - s[2]) * half;
        o[2] = plus + s[3];
    }
};

// Of F(4x4, 3x3), whose points are 0, 1, -1, 2, -2.
struct Input4 {
    static constexpr int from = 6, to = 6;
    template <class V>
    static void run(const V* d, V* o) {
        const auto times = [](V x, double factor, V y) { return fma(x, V{} + elem<V>(factor), y); };
        const V a = times(d[2], -4, d[4]), b = times(d[1], -4, d[3]), c = d[4] - d[2], e = (d[3] - d[1]) * (V{} + elem<V>(2));
        o[0] = times(d[0], 4, times(d[2], -5, d[4]));
        o[1] = a + b;
        o[2] = a - b;
        o[3] = c + e;
        o[4] = c - e;
        o[5] = times(d[1], 4, times(d[3], -5, d[5]));
    }
};
struct Output4 {
    static constexpr int from = 6, to = 4;
    template <class V>
    static void run(const V* m, V* o) {
        const auto times = [](V x, double factor, V y) { return fma(x, V{} + elem<V>(factor), y); };
        const V a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], e = m[3] - m[4];
        o[0] = m[0] + a + c;
        o[1] = times(e, 2, b);
        o[2] = times(c, 4, a);
        o[3] = times(e, 8, b) + m[5];
    }
};
struct Filter4 {
    static constexpr int from = 3, to = 6;
    template <class V>
    static void run(const V* g, V* o) {
        const auto by = [](V x, double factor) { return x * (V{} + elem<V>(factor)); };
        const V a = by(g[0] + g[2], -1. / 6), b = by(g[1], -1. / 6), c = by(g[0], 1. / 24) + by(g[2], 1. / 6);
        const V e = by(g[1], 1. / 12);
        o[0] = by(g[0], 0.25);
        o[1] = a + b;
        o[2] = a - b;
        o[3] = c + e;
        o[4] = c - e;
        o[5] = g[2];
    }
};

// read(i, j) gives the matrix, write(i, j, value) takes the transformed one.
template <class Step, class T, class Read, class Write>
[[gnu::always_inline]] inline void transform(Read read, Write write) {
    Vec<T> half[Step::to][Step::from];
#pragma GCC unroll 6
    for (int j = 0; j < Step::from; j++) {
        Vec<T> column[Step::from], o[Step::to];
#pragma GCC unroll 6
        for (int i = 0; i < Step::from; i++) column[i] = read(i, j);
        Step::run(column, o);
#pragma GCC unroll 6
        for (int i = 0; i < Step::to; i++) half[i][j] = o[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < Step::to; i++) {
        Vec<T> o[Step::to];
        Step::run(half[i], o);
#pragma GCC unroll 6
        for (int j = 0; j < Step::to; j++) write(i, j, o[j]);
    }
}

// Pixels to planes, for the input and for the output's gradient; M pixels from tile to tile.
template <class Step, class T, int M = 2>
void scatter(const T* x, long row, long pixel, const TileBlock& block, T* v) {
    for (long r = 0; r < block.rows; r++)
        for (long q = 0; q < block.columns; q++, v += block.ld) {
            const T* s = x + M * r * row + M * q * pixel;
            for (long c = 0; c < block.channels; c += lanes<T>)
                transform<Step, T>([&](int i, int j) { return load(s + i * row + j * pixel + c); },
                                   [&](int i, int j, Vec<T> o) { store(v + (i * Step::to + j) * block.plane + c, o); });
        }
}

template <class Step, class T>
void output(const T* m, const TileBlock& block, const T* bias, T* y, long row, long pixel, long height, long width) {
    constexpr int M = Step::to;
    for (long r = 0; r < block.rows; r++)
        for (long q = 0; q < block.columns; q++, m += block.ld) {
            T* d = y + M * r * row + M * q * pixel;
            const long below = height - M * r, right = width - M * q;
            for (long c = 0; c < block.channels; c += lanes<T>) {
                const long n = block.channels - c;
                const Vec<T> b = !bias ? Vec<T>{} : n < lanes<T> ? load_part(bias + c, n) : load(bias + c);
                transform<Step, T>([&](int i, int j) { return load(m + (i * Step::from + j) * block.plane + c); },
                                     [&](int i, int j, Vec<T> o) {
                                         if (i >= below || j >= right) return;
                                         T* to = d + i * row + j * pixel + c;
                                         Vec<T> value = o + b;
                                         if (block.relu) value = select(value <= Vec<T>{}, Vec<T>{}, value);
                                         if (n < lanes<T>)
                                             store_part(to, value, n);
                                         else
                                             store(to, value);
                                     });
            }
        }
}

template <class Step, class T>
void filter(const T* w, long wstep, long n, T* u, long ustep) {
    for (long c = 0; c < n; c += lanes<T>)
        transform<Step, T>([&](int i, int j) { return load(w + (i * 3 + j) * wstep + c); },
                             [&](int i, int j, Vec<T> o) { store(u + (i * Step::to + j) * ustep + c, o); });
}

template <class T>
void filter_back(const T* u, long ustep, long n, T* w, long wstep) {
    for (long c = 0; c < n; c += lanes<T>)
        transform<FilterBack, T>([&](int i, int j) { return load(u + (i * 4 + j) * ustep + c); },
                                 [&](int i, int j, Vec<T> o) { store(w + (i * 3 + j) * wstep + c, o); });
}

template <class T>
constexpr WinogradKernels<T> table() {
    return {{&scatter<Input, T>, &output<Output, T>, &filter<Filter, T>},
            {&scatter<Input4, T, 4>, &output<Output4, T>, &filter<Filter4, T>},
            &scatter<Gradient, T>,
            &filter_back<T>};
}

}  // namespace

extern const WinogradTables winograd_kernels = {table<float>(), table<double>()};

}  // namespace chainrule::CHAINRULE_ISA
