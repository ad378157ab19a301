// clone: a copy in pooled memory.
#include "core/array.h"

namespace chainrule {
namespace {

using namespace nb::literals;

Owned clone(Array x) {
    if (x.is(DType::other)) return not_implemented();
    Owned y = make_like(x);
    auto* to = reinterpret_cast<PyArrayObject*>(static_cast<Array>(y).object());
    if (PyArray_CopyInto(to, reinterpret_cast<PyArrayObject*>(x.object())) < 0) throw nb::python_error();
    return y;
}

}  // namespace

void bind_memory(nb::module_& m) {
    using namespace nb::literals;
    m.def("clone", &clone, "x"_a, "A copy of x in new memory, of x's memory order where x is dense.");
}

}  // namespace chainrule
