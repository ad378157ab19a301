// The engine's micro-kernel: C[MR, NV vectors] (+)= A · B, one tile held in registers. Included by variant files only.
//
// Bound by FMAs: MR*NV accumulators cover their latency; each step of K loads NV vectors of B and broadcasts MR values
// of A straight from memory. Measured on Zen 5 (AVX-512, 14x32): 98-99 % of one core's peak while A and B come from
// L1/L2.
#pragma once
#include "core/simd.h"
#include "core/transpose.h"
#include "gemm/kernels.h"

namespace chainrule::CHAINRULE_ISA {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int tile_rows = 14;  // 28 accumulators of 32 registers
#else
constexpr int tile_rows = 6;  // 12 of 16
#endif

// d[p*ldd + j] = s[p*lds + j] for j < cols, zero up to width.
template <class T>
void copy(const T* s, long lds, T* d, long ldd, long rows, long cols, long width) {
    constexpr int L = lanes<T>;
    for (long p = 0; p < rows; p++, s += lds, d += ldd) {
        if (p + 4 < rows)  // rows far apart are out of the hardware prefetcher's reach
            for (long j = 0; j < cols; j += 64 / static_cast<long>(sizeof(T))) __builtin_prefetch(s + 4 * lds + j);
        long j = 0;
        for (; j + L <= cols; j += L) store(d + j, load(s + j));
        if (j < cols) {
            store_part(d + j, load_part(s + j, cols - j), cols - j);
            j = cols;
        }
        for (; j < width; j++) d[j] = 0;
    }
}

// Edges and transposed results: the tile comes through memory, one line of C after the other.
template <class T>
[[gnu::noinline]] void finish_tile(const Tile<T>& t, const T* buf, int rows, int ldbuf) {
    constexpr int L = lanes<T>;
    constexpr int R = (tile_rows + L - 1) / L * L;
    alignas(64) T turned[2 * L * R];
    int lines = rows, length = t.cols, pitch = ldbuf;
    if (t.transposed) {
        transpose(buf, ldbuf, turned, R, (rows + L - 1) / L * L, (t.cols + L - 1) / L * L);
        buf = turned, lines = t.cols, length = rows, pitch = R;
    }
    const bool along = !t.transposed || t.row_bias;  // the bias runs along the line
    for (int i = 0; i < lines; i++) {
        T* c = t.c + i * t.ldc;
        for (int j = 0; j < length; j += L) {
            const int n = length - j;
            Vec<T> v = load(buf + i * pitch + j);
            if (t.accumulate) v += n < L ? load_part(c + j, n) : load(c + j);
            if (t.bias) v += !along ? splat(t.bias[i]) : n < L ? load_part(t.bias + j, n) : load(t.bias + j);
            if (n < L)
                store_part(c + j, v, n);
            else
                store(c + j, v);
        }
    }
}

// Where the elements of a column of A lie, and the way to the next column.
template <class T>
struct UnitRows {
    const T* a;
    long step;
    T at(int i) const { return a[i]; }
    void next() { a += step; }
};
template <class T>
struct AnyRows {
    const T* a;
    long row, step;
    T at(int i) const { return a[i * row]; }
    void next() { a += step; }
};
// Contiguous columns. Fourteen rows need more addresses than there are registers, unless they are few pointers and
// multiples that an address can have; the compiler, left to itself, keeps them on the stack.
template <class T>
struct FarRows {
    const char *a0, *a5, *a10;
    long row, row3;
    FarRows(const T* a, long rows) : a0(reinterpret_cast<const char*>(a)), row(rows * static_cast<long>(sizeof(T))) {
        a5 = a0 + 5 * row, a10 = a5 + 5 * row, row3 = 3 * row;
        asm("" : "+r"(a5), "+r"(a10), "+r"(row3));
    }
    T at(int i) const {
        const char* base = i < 5 ? a0 : i < 10 ? a5 : a10;
        return *reinterpret_cast<const T*>(base + (i % 5 == 3 ? row3 : i % 5 * row));
    }
    void next() { a0 += sizeof(T), a5 += sizeof(T), a10 += sizeof(T); }
};

// How an element of A, in all lanes, and a vector of B are multiplied and added to a sum.
struct Multiply {
    template <class T> static Vec<T> all(T a) { return splat(a); }
    template <class V> static V add(V a, V b, V sum) { return fma(a, b, sum); }
};
#ifdef __AVX512BF16__
// Elements are pairs of bfloat16 along K, as the bits of one float.
struct MultiplyPairs {
    static F32 all(float pair) { return (F32)_mm512_set1_epi32(__builtin_bit_cast(int32_t, pair)); }
    static F32 add(F32 a, F32 b, F32 sum) { return (F32)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b); }
};
#endif

template <class T, int MR, int NV, class M, class Rows>
[[gnu::always_inline]] inline void segment(Vec<T> (&acc)[MR][NV], Rows rows, const T* b, long ldb, long k) {
#pragma GCC unroll 4
    for (long p = 0; p < k; p++) {
        Vec<T> bv[NV];
#pragma GCC unroll 2
        for (int j = 0; j < NV; j++) bv[j] = load(b + j * lanes<T>);
#pragma GCC unroll 14
        for (int i = 0; i < MR; i++) {
            const Vec<T> av = M::all(rows.at(i));
#pragma GCC unroll 2
            for (int j = 0; j < NV; j++) acc[i][j] = M::add(av, bv[j], acc[i][j]);
        }
        rows.next();
        b += ldb;
    }
}

template <class T, int MR, int NV, bool Unit, class M = Multiply>
[[gnu::noinline]] void tile(const Tile<T>& t) {
    constexpr int L = lanes<T>;
    Vec<T> acc[MR][NV];
#pragma GCC unroll 14
    for (int i = 0; i < MR; i++) {
        if (!t.transposed) {
            __builtin_prefetch(t.c + i * t.ldc, 1);
            if (NV > 1) __builtin_prefetch(t.c + i * t.ldc + (NV - 1) * L, 1);
        }
#pragma GCC unroll 2
        for (int j = 0; j < NV; j++) acc[i][j] = Vec<T>{};
    }
    for (long y = 0, x = 0; y < t.ny; x + 1 < t.nx ? x++ : (x = 0, y++)) {
        const T* a = t.a + y * t.ay + x * t.ax;
        const T* b = t.b + y * t.by + x * t.bx;
        if constexpr (Unit)
            segment<T, MR, NV, M>(acc, UnitRows<T>{a, t.step}, b, t.ldb, t.k);
        else if (t.step == 1)
            segment<T, MR, NV, M>(acc, FarRows<T>(a, t.row), b, t.ldb, t.k);
        else
            segment<T, MR, NV, M>(acc, AnyRows<T>{a, t.row, t.step}, b, t.ldb, t.k);
        asm volatile("" ::: "memory");  // what segments share stays in memory: registers are for the innermost loop
    }
    if (t.cols < NV * L || t.transposed) {
        constexpr int R = (MR + L - 1) / L * L;
        alignas(64) T buf[R * NV * L];
#pragma GCC unroll 14
        for (int i = 0; i < MR; i++)
#pragma GCC unroll 2
            for (int j = 0; j < NV; j++) store(buf + (i * NV + j) * L, acc[i][j]);
        for (int i = MR * NV * L; i < R * NV * L; i++) buf[i] = 0;
        finish_tile(t, buf, MR, NV * L);
        return;
    }
    if (t.accumulate)
#pragma GCC unroll 14
        for (int i = 0; i < MR; i++)
#pragma GCC unroll 2
            for (int j = 0; j < NV; j++) acc[i][j] += load(t.c + i * t.ldc + j * L);
    if (t.bias)
#pragma GCC unroll 14
        for (int i = 0; i < MR; i++)
#pragma GCC unroll 2
            for (int j = 0; j < NV; j++) acc[i][j] += load(t.bias + j * L);
#pragma GCC unroll 14
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 2
        for (int j = 0; j < NV; j++) store(t.c + i * t.ldc + j * L, acc[i][j]);
}

// Dot products of up to 4 x 4 rows, both contiguous along K: for so few rows packing would cost more than it saves.
template <class T, int MR, class M = Multiply>
[[gnu::noinline]] void dots(const T* a, long lda, const T* b, long ldb, long k, int cols, T out[4][4]) {
    constexpr int L = lanes<T>;
    const T* bp[4];
    for (int j = 0; j < 4; j++) bp[j] = b + (j < cols ? j : 0) * ldb;
    Vec<T> acc[MR][4] = {};
    long p = 0;
    for (; p + L <= k; p += L)
#pragma GCC unroll 4
        for (int i = 0; i < MR; i++) {
            Vec<T> av = load(a + i * lda + p);
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) acc[i][j] = M::add(av, load(bp[j] + p), acc[i][j]);
        }
    if constexpr (!__is_same(M, Multiply)) {  // what is left are parts of vectors: a pair is no number
        for (int i = 0; i < MR && p < k; i++)
            for (int j = 0; j < 4; j++)
                acc[i][j] = M::add(load_part(a + i * lda + p, k - p), load_part(bp[j] + p, k - p), acc[i][j]);
        p = k;
    }
    for (int i = 0; i < MR; i++)
        for (int j = 0; j < 4; j++) {
            T s = sum(acc[i][j]);
            for (long q = p; q < k; q++) s += a[i * lda + q] * bp[j][q];
            out[i][j] = s;
        }
}

// out[j] += sum over rows of s[i*lds + j]: blocks of 64 rows in T, the blocks in double.
template <class T, int NV>
[[gnu::always_inline]] inline void column_sums_of(const T* s, long lds, long rows, long width, double* out) {
    constexpr int L = lanes<T>, chains = 8 / NV;  // eight sums in flight cover the latency of an addition
    for (long i0 = 0; i0 < rows; i0 += 64) {
        const long n = rows - i0 < 64 ? rows - i0 : 64;
        Vec<T> acc[chains][NV] = {};
        const T* p = s + i0 * lds;
        for (long i = 0; i < n; i += chains)
#pragma GCC unroll 8
            for (int u = 0; u < chains; u++, p += lds) {
                if (i + u >= n) break;
#pragma GCC unroll 4
                for (int v = 0; v < NV; v++) acc[u][v] += width < L ? load_part(p, width) : load(p + v * L);
            }
        T part[NV * L];
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) {
#pragma GCC unroll 8
            for (int u = 1; u < chains; u++) acc[0][v] += acc[u][v];
            store(part + v * L, acc[0][v]);
        }
        for (long j = 0; j < (width < L ? width : NV * L); j++) out[j] += static_cast<double>(part[j]);
    }
}

template <class T>
void column_sums(const T* s, long lds, long rows, long cols, double* out) {
    constexpr int L = lanes<T>;
    long j = 0;
    for (; j + 4 * L <= cols; j += 4 * L) column_sums_of<T, 4>(s + j, lds, rows, 4 * L, out + j);
    for (; j < cols; j += L) column_sums_of<T, 1>(s + j, lds, rows, cols - j, out + j);
}

template <class T>
double run_sum(const T* s, long n) {
    constexpr int L = lanes<T>;
    double out = 0;
    for (long i0 = 0; i0 < n; i0 += 512 * L) {
        const long end = n - i0 < 512 * L ? n : i0 + 512 * L;
        Vec<T> acc[8] = {};
        long i = i0;
        for (; i + 8 * L <= end; i += 8 * L)
#pragma GCC unroll 8
            for (int u = 0; u < 8; u++) acc[u] += load(s + i + u * L);
        for (; i + L <= end; i += L) acc[0] += load(s + i);
        if (i < end) acc[1] += load_part(s + i, end - i);
        out +=
            static_cast<double>(sum(((acc[0] + acc[1]) + (acc[2] + acc[3])) + ((acc[4] + acc[5]) + (acc[6] + acc[7]))));
    }
    return out;
}

}  // namespace chainrule::CHAINRULE_ISA
