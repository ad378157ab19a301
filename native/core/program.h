// A recorded step: kernel calls in a row, run without Python between them.
#pragma once

#include <nanobind/nanobind.h>

namespace chainrule {

void bind_program(nanobind::module_& m);

}  // namespace chainrule
