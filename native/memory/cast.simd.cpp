// Conversions between dtypes: to integers cut towards zero, to bool true unless zero, as NumPy has them.
#include "core/map_loops.h"
#include "memory/kernels.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// A copy, of elements of any kind.
template <class T>
void copy(void* y, const void* a, const void* b, const void* c, unsigned single, long n) {
    struct same {
        static T f(T x) { return x; }
    };
    const long bytes = n * static_cast<long>(sizeof(T));
    if (single) return unary_to<same, T, T>(y, a, b, c, single, n);
    if (!c) return static_cast<void>(std::memcpy(y, a, bytes));
    const auto f = [](Vec<int32_t> v) { return v; };
    const long whole = bytes / 4;
    stream_vectors(static_cast<int32_t*>(y), whole, f, Source<int32_t, false>(a));
    std::memcpy(static_cast<char*>(y) + whole * 4, static_cast<const char*>(a) + whole * 4, bytes - whole * 4);
}

template <class From, class To>
struct cast_to {
    static To f(From x) { return static_cast<To>(x); }
};

// The 16-bit floats by their bits. Rounding is to the nearest, half to even; NaN stays NaN, as NumPy and ml_dtypes have it.

template <class To, class From>
To as(From x) {
    return __builtin_bit_cast(To, x);
}

struct from_bfloat16 {
    static float f(int16_t x) { return as<float>(static_cast<uint32_t>(static_cast<uint16_t>(x)) << 16); }
};

struct to_bfloat16 {
    static int16_t f(float x) {
        const uint32_t bits = as<uint32_t>(x);
        const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, nan = bits >> 31 << 15 | 0x7fc0;
        return static_cast<int16_t>((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded);
    }
};

struct from_float16 {
    static float f(int16_t x) {
        const uint32_t half = static_cast<uint16_t>(x), magnitude = (half & 0x7fff) << 13, sign = (half & 0x8000) << 16;
        const uint32_t exponent = magnitude & 0x7c00 << 13;
        const uint32_t normal = magnitude + (112u << 23);                                // another bias
        const uint32_t special = normal + (112u << 23);                                  // infinity, NaN
        const uint32_t tiny = as<uint32_t>(as<float>(normal + (1u << 23)) - 0x1p-14f);   // subnormal: no leading one
        return as<float>(sign | (exponent == 0x7c00 << 13 ? special : exponent == 0 ? tiny : normal));
    }
};

struct to_float16 {
    static int16_t f(float x) {
        const uint32_t sign = as<uint32_t>(x) >> 16 & 0x8000, bits = as<uint32_t>(x) & 0x7fffffff;
        const uint32_t normal = (bits - (112u << 23) + 0xfff + (bits >> 13 & 1)) >> 13;
        const uint32_t tiny = as<uint32_t>(as<float>(bits) + 0.5f) - as<uint32_t>(0.5f);  // its last bit is worth 2^-24
        const uint32_t payload = bits >> 13 & 0x3ff, nan = 0x7c00 | (payload ? payload : 1);
        const uint32_t large = bits > 0x7f800000 ? nan : 0x7c00;
        return static_cast<int16_t>(sign | (bits >= 143u << 23 ? large : bits < 113u << 23 ? tiny : normal));
    }
};

template <class From, class To>
constexpr MapKernel kernel() {
    if constexpr (__is_same(From, To)) return &copy<From>;
    else return &unary_to<cast_to<From, To>, From, To>;
}

#define ROW(From)                                                                                                     \
    {kernel<From, bool>(),    kernel<From, int8_t>(),  kernel<From, int16_t>(), kernel<From, int32_t>(),              \
     kernel<From, int64_t>(), kernel<From, uint8_t>(), kernel<From, float>(),   kernel<From, double>()}

}  // namespace

extern const MemoryKernels memory_kernels;
const MemoryKernels memory_kernels = {
    .cast = {ROW(bool), ROW(int8_t), ROW(int16_t), ROW(int32_t), ROW(int64_t), ROW(uint8_t), ROW(float), ROW(double)},
    .from_half = {&unary_to<from_float16, int16_t, float>, &unary_to<from_bfloat16, int16_t, float>},
    .to_half = {&unary_to<to_float16, float, int16_t>, &unary_to<to_bfloat16, float, int16_t>},
};

}  // namespace chainrule::CHAINRULE_ISA
