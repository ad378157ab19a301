// What a call of map was asked to do, for whoever wants to do it again in another way (core/chain.cpp).
#pragma once

#include "core/map.h"

namespace chainrule {

struct MapRequest {
    MapKernel kernel;
    DType result;
    double cost;
    int count;
    const void* operands[3];
    bool is_array[3];
};

/// Told of each map of this thread while it is set.
extern thread_local void (*map_watcher)(const MapRequest&);

}  // namespace chainrule
