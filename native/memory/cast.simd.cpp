// Conversions between dtypes: to integers cut towards zero, to bool true unless zero, as NumPy has them.
#include "core/map_loops.h"
#include "memory/kernels.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

template <class From, class To>
struct cast_to {
    static To f(From x) { return static_cast<To>(x); }
};

#define ROW(From)                                                                                                     \
    {                                                                                                                 \
        &unary_to<cast_to<From, bool>, From, bool>, &unary_to<cast_to<From, int8_t>, From, int8_t>,                   \
        &unary_to<cast_to<From, int16_t>, From, int16_t>, &unary_to<cast_to<From, int32_t>, From, int32_t>,           \
        &unary_to<cast_to<From, int64_t>, From, int64_t>, &unary_to<cast_to<From, uint8_t>, From, uint8_t>,           \
        &unary_to<cast_to<From, float>, From, float>, &unary_to<cast_to<From, double>, From, double>                  \
    }

}  // namespace

extern const MemoryKernels memory_kernels;
const MemoryKernels memory_kernels = {
    .cast = {ROW(bool), ROW(int8_t), ROW(int16_t), ROW(int32_t), ROW(int64_t), ROW(uint8_t), ROW(float), ROW(double)},
};

}  // namespace chainrule::CHAINRULE_ISA
