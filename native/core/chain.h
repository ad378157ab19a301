// Elementwise calls in a row as one: for recorded steps.
#pragma once

#include <nanobind/nanobind.h>

namespace chainrule {

void bind_chain(nanobind::module_& m);

}  // namespace chainrule
