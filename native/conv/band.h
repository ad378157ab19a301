// Rows of an image as the micro-kernel wants them: channels contiguous, zeros around.
#pragma once

#include <algorithm>

#include "conv/geometry.h"
#include "conv/images.h"
#include "core/memory.h"
#include "gemm/kernels.h"

namespace chainrule {

// A window onto an image: pixel (r, q), channel c at data[r*row + q*pixel + c].
template <class T>
struct Band {
    const T* data;
    long row, pixel;
};

// Copies rows [r0, r0 + rows) and columns [q0, q0 + cols) of image n into d, pixels `width` >= channels apart (the rest
// zero), zero outside the image.
template <class T>
Band<T> load_band(const TileKernels<T>& k, const Images<const T>& x, long n, long r0, long rows, long q0, long cols,
                  long width, T* d) {
    const long row = cols * width;
    const long left = std::clamp(-q0, 0L, cols), right = std::clamp(x.w - q0, left, cols);  // columns inside
    // Rows shorter than a vector are turned together.
    const long top = std::clamp(r0, 0L, x.h), bottom = std::clamp(r0 + rows, top, x.h);
    const bool at_once = x.sw == 1 && x.c > 1 && x.sh == x.w && right - left == x.w && x.w < k.lanes;
    const Scratch<T> turned(static_cast<size_t>(at_once ? (bottom - top) * x.w * width : 0));
    if (at_once) {
        if (width > x.c) std::fill_n(turned.data(), (bottom - top) * x.w * width, T(0));
        k.transpose(x.data + n * x.sn + top * x.sh, x.sc, turned.data(), width, x.c, (bottom - top) * x.w);
    }
    for (long r = 0; r < rows; r++, d += row) {
        if (r0 + r < 0 || r0 + r >= x.h) {
            std::fill(d, d + row, T(0));
            continue;
        }
        std::fill(d, d + left * width, T(0));
        std::fill(d + right * width, d + row, T(0));
        const T* s = x.data + n * x.sn + (r0 + r) * x.sh + (q0 + left) * x.sw;
        T* to = d + left * width;
        const long inside = right - left;
        if (at_once) {
            const T* from = turned.data() + (r0 + r - top) * x.w * width;
            std::copy(from, from + x.w * width, to);
        } else if (x.sc == 1 && x.sw == x.c && width == x.c) {
            std::copy(s, s + inside * width, to);
        } else if (x.sc == 1) {
            k.copy(s, x.sw, to, width, inside, x.c, width);
        } else if (x.sw == 1 && x.c > 1) {
            k.transpose(s, x.sc, to, width, x.c, inside);
            for (long q = 0; q < inside && width > x.c; q++)
                std::fill(to + q * width + x.c, to + (q + 1) * width, T(0));
        } else {
            for (long q = 0; q < inside; q++)
                for (long c = 0; c < width; c++) to[q * width + c] = c < x.c ? s[q * x.sw + c * x.sc] : T(0);
        }
    }
    return {d - rows * row, row, width};
}

// How many output rows a task takes: about 256 KiB of input, all rows if there is little work.
inline long band_rows(const Axis& ay, long columns, long channels, long item) {
    const long line = std::max(1L, columns * channels * item);
    const long lines = std::max(1L, (256 * 1024) / line);
    const long rows = std::max(1L, (lines - (ay.taps - 1) * ay.tap_step) / ay.step);
    const long bands = (ay.outputs + rows - 1) / rows;
    return (ay.outputs + bands - 1) / std::max(1L, bands);
}

}  // namespace chainrule
