// Division by what the host has made ready.
#pragma once

#include "core/device.cuh"

/// A number below 2**31 divided by one of which the host gives the `divisor` (gpu.py).
DEVICE int divided(int x, int64_t divisor) {
    const uint32_t u = static_cast<uint32_t>(x);
    return static_cast<int>((__umulhi(u, static_cast<uint32_t>(divisor)) + u) >> (divisor >> 32));
}
