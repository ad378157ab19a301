// Elementwise calls in a row as one: for recorded steps.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

namespace chainrule {

/// Which arguments of the call that a program makes now it alone holds, and for the last time: a bit each. Whoever is
/// called takes them away.
extern thread_local uint64_t spare_arguments;

void bind_chain(nanobind::module_& m);

}  // namespace chainrule
