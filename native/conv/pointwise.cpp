// 1x1 convolutions of row-major images, forward and input gradient: y[out, pixel] = sum of w[out, in] x[in, pixel], where
// both lie as they are. Bound by FMAs (8x1024x14x14 -> 256: 80 % of one core's peak), of few channels by memory.
#include "conv/pointwise.h"

#include <algorithm>

#include "core/memory.h"
#include "core/threads.h"
#include "gemm/kernels.h"

namespace chainrule {

// So many products are added one after the other, then their sum to the others': the rounding error of a sum grows with
// the square root of its length. Of 1024 channels it is half as large so (2.9e-7, not 5.7e-7), for 1 % of the time.
constexpr long longest_sum = 256;

template <class T>
void pointwise(const Images<const T>& x, const Weights<T>& w, long groups, const T* bias, const Images<T>& y) {
    const auto& k = gemm_kernels().of<T>();
    const long width = 2 * k.lanes, size = x.h * x.w, panels = (size + width - 1) / width;
    const long tiles = (w.outs + k.rows - 1) / k.rows;
    // Tile i of a group: outputs [first(i), first(i + 1)), its weights [in][output]. Even parts: 16 = 8 + 8. The bias is
    // the weight of one more input, of ones.
    const long depth = w.ins + (bias ? 1 : 0);
    const auto first = [&](long i) { return i * w.outs / tiles; };
    const Scratch<T> packed(static_cast<size_t>(groups * w.outs * depth));
    for (long u = 0; u < groups * tiles; u++) {
        const long o0 = first(u % tiles), rows = first(u % tiles + 1) - o0;
        const T* s = w.data + u / tiles * w.group + o0 * w.out;
        T* d = packed.data() + (u / tiles * w.outs + o0) * depth;
        if (w.in == 1) {
            k.transpose(s, w.out, d, rows, rows, w.ins);
        } else {
            for (long i = 0; i < w.ins; i++)
                for (long o = 0; o < rows; o++) d[i * rows + o] = s[i * w.in + o * w.out];
        }
        if (bias) std::copy_n(bias + u / tiles * w.outs + o0, rows, d + w.ins * rows);
    }

    const long together = std::clamp(65536 / (depth * width), 1L, 4L);  // panels of pixels copied at once: 256 KiB
    const long chunks = (panels + together - 1) / together;
    const auto task = [&](long u, T* copy) {
        const long n = u / chunks / groups, group = u / chunks % groups, p0 = u % chunks * together;
        const T* from = x.data + n * x.sn + group * w.ins * x.sc;
        const long count = std::min(together, panels - p0);
        for (long p = 0; p < count; p++) {
            const long q = (p0 + p) * width;
            k.copy(from + q, x.sc, copy + p * depth * width, width, w.ins, std::min(width, size - q), width);
        }
        for (long i = 0; i < tiles; i++) {
            const long o0 = first(i), rows = first(i + 1) - o0, channel = group * w.outs + o0;
            for (long p = 0; p < count; p++) {
                const long q = (p0 + p) * width, cols = std::min(width, size - q);
                Tile<T> t{.a = packed.data() + (group * w.outs + o0) * depth,
                          .row = 1,
                          .step = rows,
                          .b = copy + p * depth * width,
                          .ldb = width,
                          .k = 0,
                          .c = y.data + n * y.sn + channel * y.sc + q,
                          .ldc = y.sc,
                          .cols = static_cast<int>(cols)};
                for (long done = 0; done < depth; done += t.k) {
                    t.k = std::min(longest_sum, depth - done);
                    k.tile[1][cols > k.lanes][rows - 1](t);
                    t.a += t.k * rows;
                    t.b += t.k * width;
                    t.accumulate = true;
                }
            }
        }
    };
    const double flops = 2. * static_cast<double>(together * width * w.ins * w.outs);
    parallel_range(x.n * groups * chunks, std::max(1L, static_cast<long>(1e6 / flops)), [&](long begin, long end) {
        const Scratch<T> copy(static_cast<size_t>(together * depth * width));
        for (long p = 0; p < together && bias; p++)
            std::fill_n(copy.data() + (p * depth + w.ins) * width, width, T(1));
        for (long u = begin; u < end; u++) task(u, copy.data());
    });
}

template void pointwise(const Images<const float>&, const Weights<float>&, long, const float*, const Images<float>&);
template void pointwise(const Images<const double>&, const Weights<double>&, long, const double*,
                        const Images<double>&);

}  // namespace chainrule
