// sort and topk.
#pragma once

#include "core/array.h"

namespace chainrule {

void bind_order(nb::module_& m);

}  // namespace chainrule
