// What comes right after batch normalisation in a recorded step: relu, or 2x2 max pooling and perhaps relu of that. It is
// done piece by piece while the normalised values are in the cache, and the gradient on its way back likewise: the wide
// arrays between the ops are never made. The kernels are those of the ops by themselves, so no bit is another.
//
// Bound by memory: forward reads x once more than its statistics do and writes what is left; backward writes the
// gradient where batch normalisation's will be, and sums it at once. With pooling and relu
// 64x32x28x28 takes 0.50 ms there and 0.62 back, row-major (by themselves 0.61 and 0.78); 32x64x56x56, which no cache
// holds, 2.8 and 5.2 ms (5.8 and 7.1). relu alone gains there, but not back, so its gradient stays a call of its own.
#pragma once

#include <cstdint>

#include "activation/kernels.h"
#include "norm/batch.h"
#include "norm/kernels.h"
#include "pool/kernels.h"

namespace chainrule {

struct After {
    bool relu = false, pool = false;
    long h = 0, w = 0;  // of the images, both even if pooled
    explicit operator bool() const { return relu || pool; }
};

constexpr long piece_rows = 64;  // pixels at a time, as many as the sums of gradients have in a block

template <class T>
void norm_and_after(const Layout& l, const After& after, const T* x, const T* mean, const T* a, const T* b, T* y,
                    uint8_t* index) {
    const auto& k = norm_kernels().of<T>();
    const auto& pool = pool_kernels().of<T>();
    const auto cut = [&](T* v, long n) {
        if (after.relu) activation_kernels().relu[sizeof(T) == 8](v, v, nullptr, nullptr, 0, n);
    };
    const long pair = 2 * after.w * l.c;
    if (after.pool && l.rows)
        return parallel_range(l.n * after.h / 2, std::max(1L, norm_grain / pair), [&](long begin, long end) {
            const Scratch<T> room(static_cast<size_t>(pair));
            for (long p = begin; p < end; p++) {
                const long to = p * pair / 4;
                k.apply_rows(x + p * pair, 2 * after.w, l.c, mean, a, b, room.data());
                pool.max2_last(room.data(), 1, after.w, l.c, y + to, index + to);
                cut(y + to, pair / 4);
            }
        });
    l.each(
        [&](long, long at, long rows) {
            for (long r = 0; r < rows; r += piece_rows) {
                const long n = std::min(piece_rows, rows - r), from = at + r * l.c;
                k.apply_rows(x + from, n, l.c, mean, a, b, y + from);
                cut(y + from, n * l.c);
            }
        },
        [&](long c, long at, long runs) {
            const long most = std::clamp(4096 / l.s, 1L, runs), share = after.pool ? 4 : 1;
            const Scratch<T> room(static_cast<size_t>(after.pool ? most * l.s : 0));
            for (long r = 0; r < runs; r += most) {
                const long n = std::min(most, runs - r), from = at + r * l.s, to = from / share;
                T* wide = after.pool ? room.data() : y + from;
                k.apply_runs(x + from, n, l.s, mean + c + r, a + c + r, b + c + r, wide);
                if (after.pool) pool.max2(wide, n * after.h / 2, after.w, after.w / 2, y + to, index + to);
                cut(y + to, n * l.s / share);
            }
        });
}

/// The gradient as batch normalisation takes it, of what `after` was given g. y: what relu gave.
template <class T>
struct Before {
    const Layout& l;
    const After& after;
    const T *g, *y;
    const uint8_t* index;

    // Of `rows` pixels, or of a plane, from element `at` on.
    void rows(long at, long rows, T* to) const {
        if (!after.pool) return cut(to, at, rows * l.c);
        const T* cutting = after.relu ? y : nullptr;
        pool_kernels().of<T>().max2_last_back(g, cutting, index, after.w, l.c, at / l.c, rows, to);
    }
    void plane(long at, T* to) const {
        if (!after.pool) return cut(to, at, l.s);
        const Scratch<T> narrow(static_cast<size_t>(after.relu ? l.s / 4 : 0));
        if (after.relu) cut(narrow.data(), at / 4, l.s / 4);
        const T* grad = after.relu ? narrow.data() : g + at / 4;
        pool_kernels().of<T>().max2_back(grad, index + at / 4, after.h / 2, after.w, to);
    }

  private:
    void cut(T* to, long at, long n) const {
        activation_kernels().relu_vjp[sizeof(T) == 8](to, g + at, y + at, nullptr, 0, n);
    }
};

}  // namespace chainrule
