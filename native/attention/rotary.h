// Rotary positions.
#pragma once

#include "core/array.h"

namespace chainrule {

void bind_rotary(nb::module_& m);

}  // namespace chainrule
