// Products of bfloat16: operands are brought into pairs along K, where they do not lie so already, and multiplied by the
// driver of gemm.cpp. Contiguous along K and an even number of them: as they are. Contiguous the other way: two rows are
// interleaved. That pass reads an operand once, in 2 bytes an element; weights (out, in) and activations need none.
#include <algorithm>

#include "core/memory.h"
#include "core/threads.h"
#include "gemm/gemm.h"
#include "gemm/kernels.h"

namespace chainrule {

namespace {

// An operand in pairs: rows of it stand `row` floats apart, pairs along K `step`.
class Pairs {
  public:
    Pairs(const PairKernels& kernels, const BFloat16* x, long rows, long row, long k, long step)
        : copy_(in_place(x, rows, row, k, step) ? 0 : static_cast<size_t>(rows) * ((k + 1) / 2)) {
        const long half = (k + 1) / 2;
        if (in_place(x, rows, row, k, step)) {
            data = reinterpret_cast<const float*>(x);
            this->row = row / 2, this->step = 1;
            return;
        }
        float* to = copy_.data();
        const auto* bits = reinterpret_cast<const uint16_t*>(x);
        data = to;
        if (row == 1) {
            this->row = 1, this->step = rows;
            parallel_range(half, std::max(1L, 65536 / std::max(1L, rows)), [&](long begin, long end) {
                for (long p = begin; p < end; p++) {
                    const uint16_t* s = bits + 2 * p * step;
                    kernels.interleave(s, 2 * p + 1 < k ? s + step : nullptr, to + p * rows, rows);
                }
            });
            return;
        }
        this->row = half, this->step = 1;
        parallel_range(rows, std::max(1L, 32768 / std::max(1L, half)), [&](long begin, long end) {
            for (long i = begin; i < end; i++) {
                auto* pairs = reinterpret_cast<uint16_t*>(to + i * half);
                const uint16_t* s = bits + i * row;
                if (step == 1) std::copy(s, s + k, pairs);
                else
                    for (long p = 0; p < k; p++) pairs[p] = s[p * step];
                if (k % 2) pairs[k] = 0;
            }
        });
    }

    const float* data;
    long row, step;

  private:
    static bool in_place(const BFloat16* x, long rows, long row, long k, long step) {
        return reinterpret_cast<uintptr_t>(x) % 4 == 0 && k % 2 == 0 && step == 1 && (row % 2 == 0 || rows == 1);
    }
    const Scratch<float> copy_;
};

}  // namespace

void gemm(const Product<BFloat16>& p) {
    if (p.m == 0 || p.n == 0) return;
    const PairKernels& kernels = *pair_kernels();
    const Pairs a(kernels, p.a, p.m, p.a_row, p.k, p.a_col), b(kernels, p.b, p.n, p.b_col, p.k, p.b_row);
    const Scratch<float> sums(static_cast<size_t>(p.m) * p.ldc), bias(p.bias ? static_cast<size_t>(p.n) : 0);
    if (p.bias) kernels.widen(&p.bias->bits, bias.data(), p.n);
    gemm(Product<float>{p.m, p.n, (p.k + 1) / 2, a.data, a.row, a.step, b.data, b.step, b.row, sums.data(), p.ldc,
                        p.bias ? bias.data() : nullptr, false, p.activate},
         Rounded{kernels, p.c, p.activated});
}

// The blocks of rows that are summed in float32 are those of the kernel of float32.
template <>
void column_sums(const BFloat16* s, long lds, long rows, long cols, double* sums) {
    const PairKernels& kernels = *pair_kernels();
    std::fill(sums, sums + cols, 0.);
    parallel_range(cols, rows * cols > 100'000 ? 64 : cols, [&](long begin, long end) {
        const long n = end - begin;
        const Scratch<float> wide(static_cast<size_t>(64 * n));
        for (long i0 = 0; i0 < rows; i0 += 64) {
            const long block = std::min(64L, rows - i0);
            for (long i = 0; i < block; i++) kernels.widen(&s[(i0 + i) * lds + begin].bits, wide.data() + i * n, n);
            kernels.tiles.column_sums(wide.data(), n, block, n, sums + begin);
        }
    });
}

}  // namespace chainrule
