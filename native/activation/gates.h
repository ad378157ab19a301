// Activations that take several values: glu, swiglu, prelu.
#pragma once

#include "core/array.h"

namespace chainrule {

void bind_gates(nb::module_& m);

}  // namespace chainrule
