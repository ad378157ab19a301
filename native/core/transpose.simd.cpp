// Transposes, for each instruction set.
#include "core/transpose.h"
#include "core/transpose_kernels.h"

namespace chainrule::CHAINRULE_ISA {

extern const TransposeKernels transpose_kernels = {&transpose<float>, &transpose<double>};

}  // namespace chainrule::CHAINRULE_ISA
