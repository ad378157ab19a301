// The nanobind module chainrule._native: the core's own functions and every room.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "core/array.h"
#include "core/chain.h"
#include "core/isa.h"
#include "core/memory.h"
#include "core/program.h"
#include "core/threads.h"

// rooms.inc is written by CMake: one line ROOM(name) for each folder with a cpu.cpp.
#define ROOM(name) namespace chainrule { void bind_##name(nb::module_& m); }
#include "rooms.inc"
#undef ROOM

using namespace nb::literals;
using namespace chainrule;

NB_MODULE(_native, m) {
    m.doc() = "chainrule's CPU kernels: functions of arrays, named and called as the ops are.";
    choose_isa();
    import_numpy();

    m.def("_bfloat16_products", &bfloat16_products, "Whether products of bfloat16 have kernels here (AVX512-BF16).");
    m.def("simd", &isa_name, "The instruction set in use: baseline, avx2 or avx512.");
    m.def("get_num_threads", &num_threads, "How many threads kernels may use, the caller's among them.");
    m.def("set_num_threads", &set_num_threads, "count"_a, "Sets how many threads kernels may use; changes no result.");
    m.def("_cgroup_limit", &cgroup_limit, "root"_a, "membership"_a, "For tests: the cores that control groups allow, or 0.");
    m.def("memory_stats", [] {
        const MemoryStats stats = memory_stats();
        nb::typed<nb::dict, nb::str, nb::int_> result;
        result["in_use"] = stats.in_use;
        result["peak"] = stats.peak;
        result["cached"] = stats.cached;
        result["limit"] = stats.limit;
        result["allocations"] = stats.allocations;
        result["hits"] = stats.hits;
        return result;
    }, "The memory pool in bytes (in_use, peak, cached, limit) and calls (allocations, hits).");
    m.def("empty_cache", &empty_cache, "Returns the pool's unused memory to the system.");
    m.def("set_cache_limit", &set_cache_limit, "bytes"_a, "How much unused memory the pool may keep.");
    m.def("set_poison", &set_poison, "on"_a, "For tests: fill new arrays with 0xff bytes before a kernel writes them.");

    bind_program(m);
    bind_chain(m);
#define ROOM(name) bind_##name(m);
#include "rooms.inc"
#undef ROOM
}
