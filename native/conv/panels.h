// Weights as the micro-kernel reads them.
#pragma once

#include <algorithm>

#include "conv/geometry.h"
#include "core/threads.h"

namespace chainrule {

// Panels [group][panel][tap y][tap x][in][width], zero behind the last channel.
template <class T>
void pack_weights(const Weights<T>& w, const Axis& ay, const Axis& ax, long groups, long panels, long width, T* d) {
    parallel_range(groups * panels, std::max(1L, 16384 / std::max(1L, ay.taps * ax.taps * w.ins * width)),
                   [&](long begin, long end) {
                       for (long u = begin; u < end; u++) {
                           const long j0 = u % panels * width, outs = std::min(width, w.outs - j0);
                           const T* s = w.data + u / panels * w.group + j0 * w.out;
                           T* to = d + u * ay.taps * ax.taps * w.ins * width;
                           for (long ty = 0; ty < ay.taps; ty++)
                               for (long tx = 0; tx < ax.taps; tx++) {
                                   const T* tap = s + (ay.kernel_first + ty * ay.kernel_step) * w.sy +
                                                  (ax.kernel_first + tx * ax.kernel_step) * w.sx;
                                   for (long i = 0; i < w.ins; i++, to += width) {
                                       for (long o = 0; o < outs; o++) to[o] = tap[i * w.in + o * w.out];
                                       std::fill(to + outs, to + width, T(0));
                                   }
                               }
                       }
                   });
}

}  // namespace chainrule
