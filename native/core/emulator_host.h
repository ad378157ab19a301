// The end of an emulated unit: how the host finds and launches its kernels. `chainrule_entries` is written before it, from
// the instances that were asked for (backends/cuda/sources.py).
#pragma once

#include "core/emulator.h"

extern "C" {
/// Launch entry `number`; null, or what went wrong.
const char* chainrule_launch(int number, const unsigned* grid, const unsigned* size, std::size_t shared, void** arguments) {
    static thread_local std::string message;
    try {
        chainrule_entries[number].launch({grid[0], grid[1], grid[2]}, {size[0], size[1], size[2]}, shared, arguments);
        return nullptr;
    } catch (const std::exception& error) {
        message = error.what();
        return message.c_str();
    }
}
/// Run the threads of a block in another order, which depends on `seed`; 0: in theirs.
void chainrule_shuffle(std::uint64_t seed) { emulator::options() = {seed != 0, seed}; }
}
