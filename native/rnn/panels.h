// A weight matrix packed once for the many small products of a sequence.
#pragma once

#include <algorithm>

#include "core/memory.h"
#include "gemm/kernels.h"

namespace chainrule {

/// A (depth, cols) matrix in panels two vectors wide, as the tiles of gemm read it: multiplied with some rows at a time,
/// on the calling thread.
template <class T>
class Panels {
  public:
    Panels(long depth, long cols)
        : depth_(depth), cols_(cols), panels_((cols + width_ - 1) / width_),
          data_(static_cast<size_t>(depth * panels_ * width_)) {}

    /// Takes the matrix from its rows, `lds` apart.
    void rows(const T* s, long lds) {
        each([&](T* panel, long j, long n) { k_.copy(s + j, lds, panel, width_, depth_, n, width_); });
    }
    /// Takes the matrix from its columns, `lds` apart.
    void columns(const T* s, long lds) {
        each([&](T* panel, long j, long n) {
            if (n < width_) std::fill(panel, panel + depth_ * width_, T(0));
            k_.transpose(s + j * lds, lds, panel, width_, n, depth_);
        });
    }
    /// C[rows, cols] = A[rows, depth] · matrix + bias, or C += A · matrix.
    void multiply(long rows, const T* a, long lda, T* c, long ldc, bool accumulate, const T* bias = nullptr) const {
        const long tiles = (rows + k_.rows - 1) / k_.rows;
        each([&](const T* panel, long j, long n) {
            for (long i = 0, left = tiles; left > 0; left--) {
                const long height = (rows - i + left - 1) / left;
                Tile<T> t{.a = a + i * lda, .row = lda, .step = 1, .b = panel, .ldb = width_, .k = depth_,
                          .c = c + i * ldc + j, .ldc = ldc, .cols = static_cast<int>(n)};
                t.accumulate = accumulate;
                t.bias = bias ? bias + j : nullptr;
                k_.tile[0][n > k_.lanes][height - 1](t);
                i += height;
            }
        });
    }

  private:
    // f(panel, first column, columns)
    template <class F>
    void each(F f) const {
        for (long p = 0; p < panels_; p++)
            f(data_.data() + p * depth_ * width_, p * width_, std::min<long>(width_, cols_ - p * width_));
    }

    const TileKernels<T>& k_ = gemm_kernels().of<T>();
    const long width_ = 2 * k_.lanes;
    long depth_, cols_, panels_;
    Scratch<T> data_;
};

}  // namespace chainrule
