// The random kernels' table. Every function draws from the stream of `seed` (Philox4x32-10), elements begin .. end - 1
// of a draw whose first block is `offset`; begin is a multiple of 4.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace chainrule {

struct Stream {
    uint64_t seed, offset;
};

struct RandomKernels {
    void (*uniform_f32)(float* y, Stream, long begin, long end);
    void (*uniform_f64)(double* y, Stream, long begin, long end);
    void (*normal_f32)(float* y, Stream, long begin, long end);
    void (*normal_f64)(double* y, Stream, long begin, long end);
    void (*integers)(int64_t* y, Stream, long begin, long end, int64_t low, uint64_t span);
    /// True where a word is below the threshold.
    void (*bernoulli)(bool* y, Stream, long begin, long end, uint64_t threshold);
    /// 64-bit words.
    void (*words)(uint64_t* y, Stream, long begin, long end);
    /// Kept and scaled where a word reaches the threshold, else 0.
    void (*dropout_f32)(float* y, bool* mask, const float* x, Stream, long begin, long end, uint64_t threshold, float scale);
    void (*dropout_f64)(double* y, bool* mask, const double* x, Stream, long begin, long end, uint64_t threshold, double scale);
};
CHAINRULE_VARIANTS(RandomKernels, random_kernels)

}  // namespace chainrule
