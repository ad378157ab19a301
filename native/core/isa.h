// Instruction sets: kernels (*.simd.cpp) are compiled once per set, each time in a namespace named by the macro
// CHAINRULE_ISA (baseline, avx2, avx512), and one is chosen when the module is loaded.
//
// A room shares a table of function pointers between its two kinds of file:
//
//     kernels.h        struct SoftmaxKernels { void (*rows_f32)(const float*, float*, long, long); };
//                      CHAINRULE_VARIANTS(SoftmaxKernels, softmax_kernels)
//     rows.simd.cpp    #include "core/simd.h"
//                      namespace chainrule::CHAINRULE_ISA { ...; const SoftmaxKernels softmax_kernels = {&rows}; }
//     cpu.cpp          softmax_kernels().rows_f32(x, y, rows, columns);
//
// A *.simd.cpp file holds kernels only: no std containers, nothing outside its namespace. An inline function compiled
// there for AVX could otherwise be the copy the linker keeps for everyone.
#pragma once

namespace chainrule {

enum class Isa { baseline, avx2, avx512 };

/// The set in use: the best of this processor, or the one named by CHAINRULE_SIMD.
Isa isa();
/// Its name, as CHAINRULE_SIMD spells it.
const char* isa_name();
/// Whether kernels may use AVX512-BF16 as well. A set that CHAINRULE_SIMD names is that set and no more.
bool bfloat16_products();
/// Reads the processor and CHAINRULE_SIMD; called once, when the module is loaded. Throws on a set it cannot run.
void choose_isa();

}  // namespace chainrule

#ifdef CHAINRULE_X86
#define CHAINRULE_VARIANTS(Table, name)                        \
    namespace baseline { extern const Table name; }            \
    namespace avx2 { extern const Table name; }                \
    namespace avx512 { extern const Table name; }              \
    inline const Table& name() {                               \
        switch (isa()) {                                       \
            case Isa::avx512: return avx512::name;             \
            case Isa::avx2: return avx2::name;                 \
            default: return baseline::name;                    \
        }                                                      \
    }
#else
#define CHAINRULE_VARIANTS(Table, name)                        \
    namespace baseline { extern const Table name; }            \
    inline const Table& name() { return baseline::name; }
#endif
