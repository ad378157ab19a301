// Copies in pooled memory: clone, and cast between all dtypes but the 16-bit floats.
#include "core/map.h"
#include "core/params.h"
#include "memory/kernels.h"

namespace chainrule {
namespace {

Owned cast(const Array& x, DTypeName to) {
    const DType from = x.dtype();
    if (from == DType::other || to.dtype == DType::other) return not_implemented();
    return map(memory_kernels().cast[static_cast<int>(from)][static_cast<int>(to.dtype)], to.dtype, {x}, cheap);
}

Owned clone(const Array& x) { return cast(x, {x.dtype()}); }

}  // namespace

void bind_memory(nb::module_& m) {
    using namespace nb::literals;
    m.def("cast", &cast, "x"_a, nb::kw_only(), "dtype"_a, "A copy of x in another dtype.");
    m.def("clone", &clone, "x"_a, "A copy of x, of x's memory order where x is dense.");
}

}  // namespace chainrule
