// Elements in reverse order, a vector at a time: bound by memory.
#include "core/simd.h"
#include "shape/kernels.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

template <class V, int... I> inline V backwards(V a, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, a, (static_cast<int>(sizeof...(I)) - 1 - I)...);
}

template <class T>
void reversed(void* result, const void* x, long n) {
    T* to = static_cast<T*>(result);
    const T* from = static_cast<const T*>(x) + n;
    constexpr int w = lanes<T>;
    long i = 0;
    for (; i + w <= n; i += w) store(to + i, backwards(load(from - i - w), std::make_integer_sequence<int, w>{}));
    for (; i < n; ++i) to[i] = from[-i - 1];
}

}  // namespace

extern const ShapeKernels shape_kernels;
const ShapeKernels shape_kernels = {{&reversed<float>, &reversed<double>}};

}  // namespace chainrule::CHAINRULE_ISA
