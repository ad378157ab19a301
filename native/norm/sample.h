// Norms of each sample by itself: layer_norm and rms_norm.
#pragma once

#include "core/array.h"

namespace chainrule {

void bind_sample_norms(nb::module_& m);

}  // namespace chainrule
