// The transforms of Winograd convolution F(2x2, 3x3), for each instruction set (Lavin and Gray, "Fast algorithms for
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

// read(i, j) gives the matrix, write(i, j, value) takes the transformed one.
template <class Step, class T, class Read, class Write>
[[gnu::always_inline]] inline void transform(Read read, Write write) {
    Vec<T> half[Step::to][Step::from];
#pragma GCC unroll 4
    for (int j = 0; j < Step::from; j++) {
        Vec<T> column[Step::from], o[Step::to];
#pragma GCC unroll 4
        for (int i = 0; i < Step::from; i++) column[i] = read(i, j);
        Step::run(column, o);
#pragma GCC unroll 4
        for (int i = 0; i < Step::to; i++) half[i][j] = o[i];
    }
#pragma GCC unroll 4
    for (int i = 0; i < Step::to; i++) {
        Vec<T> o[Step::to];
        Step::run(half[i], o);
#pragma GCC unroll 4
        for (int j = 0; j < Step::to; j++) write(i, j, o[j]);
    }
}

// Pixels to planes, for the input and for the output's gradient.
template <class Step, class T>
void scatter(const T* x, long row, long pixel, const TileBlock& block, T* v) {
    for (long r = 0; r < block.rows; r++)
        for (long q = 0; q < block.columns; q++, v += block.ld) {
            const T* s = x + 2 * r * row + 2 * q * pixel;
            for (long c = 0; c < block.channels; c += lanes<T>)
                transform<Step, T>([&](int i, int j) { return load(s + i * row + j * pixel + c); },
                                   [&](int i, int j, Vec<T> o) { store(v + (i * 4 + j) * block.plane + c, o); });
        }
}

template <class T>
void output(const T* m, const TileBlock& block, const T* bias, T* y, long row, long pixel, long height, long width) {
    for (long r = 0; r < block.rows; r++)
        for (long q = 0; q < block.columns; q++, m += block.ld) {
            T* d = y + 2 * r * row + 2 * q * pixel;
            const bool below = 2 * r + 1 < height, right = 2 * q + 1 < width;
            for (long c = 0; c < block.channels; c += lanes<T>) {
                const long n = block.channels - c;
                const Vec<T> b = !bias ? Vec<T>{} : n < lanes<T> ? load_part(bias + c, n) : load(bias + c);
                transform<Output, T>([&](int i, int j) { return load(m + (i * 4 + j) * block.plane + c); },
                                     [&](int i, int j, Vec<T> o) {
                                         if ((i && !below) || (j && !right)) return;
                                         T* to = d + i * row + j * pixel + c;
                                         if (n < lanes<T>)
                                             store_part(to, o + b, n);
                                         else
                                             store(to, o + b);
                                     });
            }
        }
}

template <class T>
void filter(const T* w, long wstep, long n, T* u, long ustep) {
    for (long c = 0; c < n; c += lanes<T>)
        transform<Filter, T>([&](int i, int j) { return load(w + (i * 3 + j) * wstep + c); },
                             [&](int i, int j, Vec<T> o) { store(u + (i * 4 + j) * ustep + c, o); });
}

template <class T>
void filter_back(const T* u, long ustep, long n, T* w, long wstep) {
    for (long c = 0; c < n; c += lanes<T>)
        transform<FilterBack, T>([&](int i, int j) { return load(u + (i * 4 + j) * ustep + c); },
                                 [&](int i, int j, Vec<T> o) { store(w + (i * 3 + j) * wstep + c, o); });
}

template <class T>
constexpr WinogradKernels<T> table() {
    return {&scatter<Input, T>, &output<T>, &scatter<Gradient, T>, &filter<T>, &filter_back<T>};
}

}  // namespace

extern const WinogradTables winograd_kernels = {table<float>(), table<double>()};

}  // namespace chainrule::CHAINRULE_ISA
