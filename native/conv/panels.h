// Weights as the micro-kernel reads them.
#pragma once

#include <algorithm>

#include "conv/geometry.h"
#include "core/memory.h"
#include "core/threads.h"
#include "gemm/kernels.h"

namespace chainrule {

// The taps of inputs [i0, i0 + n) and outputs [j0, j0 + width) of one group: d[((i - i0)*taps + tap)*width + j - j0],
// zero behind the last output. Bound by memory where a kernel lies in one piece, by scalar loads else.
template <class T>
void gather_taps(const TileKernels<T>& k, const Weights<T>& w, const Axis& ay, const Axis& ax, long j0, long i0, long n,
                 long width, T* d) {
    const long taps = ay.taps * ax.taps, outs = std::min(width, w.outs - j0);
    const T* s = w.data + i0 * w.in + j0 * w.out;
    if (outs < width) std::fill(d, d + n * taps * width, T(0));
    const auto one_by_one = [](const Axis& a) { return a.taps == 1 || a.kernel_step == 1 || a.kernel_step == -1; };
    const bool reversed = ay.kernel_step < 0;
    if (taps == w.taps && w.sx == 1 && w.sy == ax.taps && one_by_one(ay) && one_by_one(ax)) {
        if (w.in == taps && !reversed) return k.transpose(s, w.out, d, width, outs, n * taps);
        for (long i = 0; w.out == taps && i < n; i++, s += w.in, d += taps * width) {
            if (taps == 1) std::copy(s, s + outs, d);
            else k.transpose(s, taps, reversed ? d + (taps - 1) * width : d, reversed ? -width : width, outs, taps);
        }
        if (w.out == taps) return;
    }
    for (long i = 0; i < n; i++)
        for (long ty = 0; ty < ay.taps; ty++)
            for (long tx = 0; tx < ax.taps; tx++, d += width) {
                const T* tap = s + i * w.in + (ay.kernel_first + ty * ay.kernel_step) * w.sy +
                               (ax.kernel_first + tx * ax.kernel_step) * w.sx;
                for (long o = 0; o < outs; o++) d[o] = tap[o * w.out];
            }
}

// How many inputs at a time: taps of about 64 KiB.
template <class T>
long inputs_at_once(long taps, long width) {
    return std::max(1L, 65536 / static_cast<long>(sizeof(T)) / std::max(1L, taps * width));
}

// Panels [group][panel][tap y][tap x][in][width], zero behind the last channel.
template <class T>
void pack_weights(const TileKernels<T>& k, const Weights<T>& w, const Axis& ay, const Axis& ax, long groups,
                  long panels, long width, T* d) {
    const long taps = ay.taps * ax.taps, size = taps * w.ins * width, chunk = inputs_at_once<T>(taps, width);
    parallel_range(groups * panels, std::max(1L, 65536 / std::max(1L, size)), [&](long begin, long end) {
        const Scratch<T> part(static_cast<size_t>(taps * chunk * width));
        for (long u = begin; u < end; u++) {
            Weights<T> group = w;
            group.data += u / panels * w.group;
            for (long i0 = 0; i0 < w.ins; i0 += chunk) {
                const long n = std::min(chunk, w.ins - i0);
                gather_taps(k, group, ay, ax, u % panels * width, i0, n, width, part.data());
                for (long tap = 0; tap < taps; tap++)
                    k.copy(part.data() + tap * width, taps * width, d + u * size + (tap * w.ins + i0) * width, width, n,
                           width, width);
            }
        }
    });
}

// The way back: sums[((i - i0)*taps + tap)*width + o] for o < outs to gw[o*ins*taps + i*taps + tap].
template <class T>
void scatter_taps(const TileKernels<T>& k, const T* sums, long taps, long ins, long i0, long n, long outs, long width,
                  T* gw) {
    k.transpose(sums, width, gw + i0 * taps, ins * taps, n * taps, outs);
}

}  // namespace chainrule
