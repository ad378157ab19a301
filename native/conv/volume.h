// Convolution of volumes.
#pragma once

#include "core/array.h"

namespace chainrule {

void bind_volumes(nb::module_& m);

}  // namespace chainrule
