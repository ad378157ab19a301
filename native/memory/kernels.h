// The memory kernels' table: conversions between dtypes.
#pragma once

#include "core/isa.h"
#include "core/map_kernel.h"

namespace chainrule {

// From, to, in the order of DType: boolean, int8, int16, int32, int64, uint8, float32, float64.
struct MemoryKernels {
    MapKernel cast[8][8];
    MapKernel from_half[2], to_half[2];  // between float32 and the bits of float16, bfloat16, as int16
};
CHAINRULE_VARIANTS(MemoryKernels, memory_kernels)

}  // namespace chainrule
