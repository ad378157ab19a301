// What the forward and the backward of attention share: where each head's rows lie, masks, dropout, products of blocks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "attention/kernels.h"
#include "core/array.h"
#include "core/memory.h"
#include "core/threads.h"
#include "gemm/kernels.h"
#include "random/kernels.h"

namespace chainrule {

inline long ceil_div(long a, long b) { return (a + b - 1) / b; }
inline long round_up(long a, long b) { return ceil_div(a, b) * b; }

// An array (..., n, size) as matrices, one for each combination of the leading axes.
template <class T>
struct Matrices {
    const T* base;
    std::vector<long> at;  // where each begins, in elements
    long n, size, row, col;
    Matrices(const Array& x)
        : base(x.data<T>()),
          n(x.dim(x.rank() - 2)),
          size(x.dim(x.rank() - 1)),
          row(x.stride(x.rank() - 2) / static_cast<long>(sizeof(T))),
          col(x.stride(x.rank() - 1) / static_cast<long>(sizeof(T))) {
        long count = 1;
        for (int i = 0; i + 2 < x.rank(); i++) count *= x.dim(i);
        at.resize(static_cast<size_t>(count));
        for (long m = 0; m < count; m++) {
            long rest = m, offset = 0;
            for (int i = x.rank() - 3; i >= 0; i--) {
                offset += rest % x.dim(i) * x.stride(i) / static_cast<long>(sizeof(T));
                rest /= x.dim(i);
            }
            at[static_cast<size_t>(m)] = offset;
        }
    }
    long count() const { return static_cast<long>(at.size()); }
    T* matrix(long m) const { return const_cast<T*>(base) + at[static_cast<size_t>(m)]; }
};

// The same with rows that can be read in vectors: in place where they lie so, else a copy with zeros behind.
template <class T>
struct Rows : Matrices<T> {
    long width;  // of a row, a multiple of the vector's
    Rows(const Array& x)
        : Matrices<T>(x), width(round_up(this->size, gemm_kernels().of<T>().lanes)), copy_(copy_size()) {
        if (this->col == 1 && width == this->size) return;
        const long block = this->n * width;
        parallel_range(this->count(), std::max(1L, 8192 / std::max(1L, block)), [&](long begin, long end) {
            for (long m = begin; m < end; m++) {
                const T* from = this->matrix(m);
                T* to = copy_.data() + m * block;
                for (long i = 0; i < this->n; i++, from += this->row, to += width)
                    for (long j = 0; j < width; j++) to[j] = j < this->size ? from[j * this->col] : T(0);
            }
        });
        this->base = copy_.data();
        this->row = width;
        this->col = 1;
        for (long m = 0; m < this->count(); m++) this->at[static_cast<size_t>(m)] = m * block;
    }

  private:
    size_t copy_size() const {
        return this->col == 1 && width == this->size ? 0 : static_cast<size_t>(this->count() * this->n * width);
    }
    Scratch<T> copy_;
};

// Matrices transposed into panels [n / W][size][W], W the width of a tile, zeros beyond n: all at once, or each by the
// task that uses it, in its own memory, while the cache has it.
template <class T>
struct Panels {
    const long panels, depth, width, size;  // size: of one matrix
    Panels(const Rows<T>& x, bool all)
        : panels(ceil_div(x.n, 2 * gemm_kernels().of<T>().lanes)),
          depth(x.size),
          width(2 * gemm_kernels().of<T>().lanes),
          size(panels * depth * width),
          x_(x),
          data_(static_cast<size_t>(all ? x.count() * size : 0)),
          all_(all) {
        if (!all) return;
        parallel_range(x.count() * panels, std::max(1L, 8192 / std::max(1L, depth * width)), [&](long begin, long end) {
            for (long u = begin; u < end; u++) fill(u / panels, u % panels, data_.data() + u * depth * width);
        });
    }
    // Those of matrix m, perhaps made now in `own`.
    const T* of(long m, T* own) const {
        if (all_) return data_.data() + m * size;
        for (long j = 0; j < panels; j++) fill(m, j, own + j * depth * width);
        return own;
    }

  private:
    void fill(long m, long panel, T* to) const {
        const long first = panel * width, rows = std::min(width, x_.n - first);
        gemm_kernels().of<T>().transpose(x_.matrix(m) + first * x_.row, x_.row, to, width, rows, depth);
        for (long p = 0; p < depth && rows < width; p++) std::fill(to + p * width + rows, to + (p + 1) * width, T(0));
    }
    const Rows<T>& x_;
    Scratch<T> data_;
    bool all_;
};

constexpr long heads_for_threads = 8;  // of k and v, from which on each is a task

// A problem: shapes, what a query may look at, what is dropped.
template <class T>
struct Attention {
    static constexpr long keys = 256;  // the most of a block

    Matrices<T> const& q;
    Array mask;
    bool causal;
    T scale;
    long heads, group;  // of q; how many of them share k and v
    long t, s;
    std::vector<long> at;  // in mask, of each head, in bytes
    long mask_row = 0, mask_col = 0;
    Stream stream{};
    uint64_t threshold = 0;
    T keep = 1;

    Attention(const Array& queries, const Matrices<T>& q, const Matrices<T>& k, const Array& mask, const Array& state,
              bool is_causal, std::optional<double> factor, double dropout)
        : q(q),
          mask(mask),
          causal(is_causal),
          scale(static_cast<T>(factor ? *factor : 1 / std::sqrt(static_cast<double>(std::max(1L, q.size))))),
          heads(q.count()),
          group(k.count() ? q.count() / k.count() : 1),
          t(q.n),
          s(k.n) {
        if (dropout > 0 && state) {
            stream = {static_cast<uint64_t>(state.data<int64_t>()[0]),
                      static_cast<uint64_t>(*reinterpret_cast<const int64_t*>(state.data<char>() + state.stride(0)))};
            threshold = static_cast<uint64_t>(std::nearbyint(dropout * 0x1p32));
            keep = dropout < 1 ? static_cast<T>(1 / (1 - dropout)) : T(0);
        }
        if (!mask) return;
        const int rank = queries.rank(), missing = rank - mask.rank();
        const auto stride = [&](int axis) {
            return axis < missing || mask.dim(axis - missing) == 1 ? 0L : mask.stride(axis - missing);
        };
        mask_row = stride(rank - 2), mask_col = stride(rank - 1);
        at.resize(static_cast<size_t>(heads));
        for (long h = 0; h < heads; h++) {
            long rest = h, offset = 0;
            for (int i = rank - 3; i >= 0; i--) {
                offset += rest % queries.dim(i) * stride(i);
                rest /= queries.dim(i);
            }
            at[static_cast<size_t>(h)] = offset;
        }
    }

    // How many of the keys k0 .. k0 + n - 1 query i may look at, as far as causality goes.
    long seen(long i, long k0, long n) const { return causal ? std::clamp(i + 1 - k0, 0L, n) : n; }

    // What the mask adds to the scores of query i; or null.
    const T* added(T* row, long h, long i, long k0, long n) const {
        if (!mask) return nullptr;
        const char* from = mask.data<char>() + at[static_cast<size_t>(h)] + i * mask_row + k0 * mask_col;
        const T lowest = -std::numeric_limits<T>::infinity();
        if (mask.is(DType::boolean) && mask_col == 1) {
            for (long j = 0; j < n; j++) row[j] = from[j] ? T(0) : lowest;
        } else if (mask.is(DType::boolean)) {
            for (long j = 0; j < n; j++) row[j] = from[j * mask_col] ? T(0) : lowest;
        } else {
            for (long j = 0; j < n; j++) row[j] = *reinterpret_cast<const T*>(from + j * mask_col);
        }
        return row;
    }

    // What dropout multiplies the weights of query i by; or null.
    const T* kept(T* row, long h, long i, long k0, long n) const {
        if (!threshold) return nullptr;
        bool dropped[keys + 4];
        const long word = (h * t + i) * s + k0, first = word / 4 * 4;
        random_kernels().bernoulli(dropped, {stream.seed, stream.offset + static_cast<uint64_t>(first / 4)}, 0,
                                   word + n - first, threshold);
        for (long j = 0; j < n; j++) row[j] = dropped[word - first + j] ? T(0) : keep;
        return row;
    }
};

// C[m, n] (+)= A[m, depth] · B[depth, n] on one thread. Column j of B lies in panel j / W; n is a multiple of the
// vector's width, and C may be written up to there.
template <class T>
struct Block {
    const T* a;
    long row, step;
    const T* b;
    long ldb, panel;
    T* c;
    long ldc;
    bool accumulate = false;

    void run(long m, long n, long depth) const {
        const auto& k = gemm_kernels().of<T>();
        const long width = 2 * k.lanes, parts = ceil_div(m, k.rows);
        for (long j = 0; j < n; j += width) {
            const int cols = static_cast<int>(std::min(width, n - j));
            const auto& kernels = k.tile[row == 1][cols > k.lanes];
            for (long part = 0; part < parts; part++) {
                const long i = part * m / parts, rows = (part + 1) * m / parts - i;
                const Tile<T> tile{.a = a + i * row,
                                   .row = row,
                                   .step = step,
                                   .b = b + j / width * panel,
                                   .ldb = ldb,
                                   .k = depth,
                                   .c = c + i * ldc + j,
                                   .ldc = ldc,
                                   .cols = cols,
                                   .accumulate = accumulate};
                kernels[rows - 1](tile);
            }
        }
    }
};

}  // namespace chainrule
