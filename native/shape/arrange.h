// reshape without a copy where the strides allow it; triangles of matrices.
#pragma once

#include "core/array.h"

namespace chainrule {

void bind_arrange(nb::module_& m);

}  // namespace chainrule
