// The form of an elementwise kernel, shared by core/map.h (which walks arrays) and *.simd.cpp files (which do not
// know arrays).
#pragma once

namespace chainrule {

/// n results y from operands a, b, c (null where the kernel takes fewer), all dense. Bit k of `single` says that
/// operand k is one value for all n. To a kernel of fewer operands, c is null unless the results are too many for the
/// caches: then `beyond_caches`, and it may store past them.
using MapKernel = void (*)(void* y, const void* a, const void* b, const void* c, unsigned single, long n);

inline constexpr char beyond_caches = 0;

}  // namespace chainrule
