// relu of what a convolution has just written, while it is in the cache.
#pragma once

#include "activation/kernels.h"
#include "conv/images.h"

namespace chainrule {

/// Rows [r0, r0 + rows) of all channels of image n.
template <class T>
void cut_rows(const Images<T>& y, long n, long r0, long rows) {
    const auto relu = activation_kernels().relu[sizeof(T) == 8];
    T* to = y.data + n * y.sn + r0 * y.sh;
    if (y.sc == 1 && y.sw == y.c && y.sh == y.w * y.c) return relu(to, to, nullptr, nullptr, 0, rows * y.sh);
    for (long c = 0; c < y.c; c++, to += y.sc) {
        if (y.sw == 1 && y.sh == y.w) {
            relu(to, to, nullptr, nullptr, 0, rows * y.w);
        } else {
            for (long r = 0; r < rows; r++)
                for (long q = 0; q < y.w; q++) {
                    T& value = to[r * y.sh + q * y.sw];
                    if (value <= T(0)) value = T(0);
                }
        }
    }
}

}  // namespace chainrule
