// Transposes in registers. Included by variant files only.
#pragma once
#include <utility>

#include "core/simd.h"

namespace chainrule::CHAINRULE_ISA {

// Lane i of the result: one half of a butterfly exchange at distance H (see transpose_block).
template <int H, bool High, class V, int... I>
[[gnu::always_inline]] inline V exchange(V a, V b, std::integer_sequence<int, I...>) {
    constexpr int L = sizeof...(I);
    return __builtin_shufflevector(a, b, ((I & H) ? L + I - (High ? 0 : H) : I + (High ? H : 0))...);
}

template <int H, class V, int L>
[[gnu::always_inline]] inline void butterfly(V (&r)[L]) {
    using Lanes = std::make_integer_sequence<int, L>;
#pragma GCC unroll 16
    for (int i = 0; i < L; i++) {
        if (i & H) continue;
        V a = r[i], b = r[i + H];
        r[i] = exchange<H, false>(a, b, Lanes{});
        r[i + H] = exchange<H, true>(a, b, Lanes{});
    }
    if constexpr (H > 1) butterfly<H / 2>(r);
}

// d[j][i] = s[i][j] for one L x L block, in registers. Not inlined: GCC would hoist 2*L row offsets out of the caller's
// loop and spill them.
template <class T>
[[gnu::noinline]] void transpose_block(const T* s, long lds, T* d, long ldd) {
    constexpr int L = lanes<T>;
    Vec<T> r[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; i++) r[i] = load(s + i * lds);
    butterfly<L / 2>(r);
#pragma GCC unroll 16
    for (int i = 0; i < L; i++) store(d + i * ldd, r[i]);
}

// The same for the first rows x cols elements of a block.
template <class T>
[[gnu::noinline]] void transpose_part(const T* s, long lds, T* d, long ldd, long rows, long cols) {
    constexpr int L = lanes<T>;
    Vec<T> r[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; i++)
        r[i] = i >= rows ? Vec<T>{} : cols < L ? load_part(s + i * lds, cols) : load(s + i * lds);
    butterfly<L / 2>(r);
#pragma GCC unroll 16
    for (int j = 0; j < L; j++) {
        if (j >= cols) break;
        if (rows < L)
            store_part(d + j * ldd, r[j], rows);
        else
            store(d + j * ldd, r[j]);
    }
}

// d[j*ldd + i] = s[i*lds + j], i < rows, j < cols.
template <class T>
void transpose(const T* s, long lds, T* d, long ldd, long rows, long cols) {
    constexpr int L = lanes<T>;
    for (long i = 0; i < rows; i += L)
        for (long j = 0; j < cols; j += L) {
            const T* from = s + i * lds + j;
            T* to = d + j * ldd + i;
            if (rows - i >= L && cols - j >= L)
                transpose_block(from, lds, to, ldd);
            else
                transpose_part(from, lds, to, ldd, rows - i < L ? rows - i : L, cols - j < L ? cols - j : L);
        }
}

}  // namespace chainrule::CHAINRULE_ISA
