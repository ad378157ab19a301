// Philox4x32-10 (Salmon et al., 2011): the same bits as backends/_philox.py and native/random.
#pragma once

#include "core/device.cuh"

struct Words {
    uint32_t at[4];
};

/// Block `number` of the stream of a seed: four words of 32 bits.
DEVICE Words philox(uint64_t seed, uint64_t number) {
    uint32_t c0 = static_cast<uint32_t>(number), c1 = static_cast<uint32_t>(number >> 32), c2 = 0, c3 = 0;
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const uint64_t p = 0xD2511F53ull * c0, q = 0xCD9E8D57ull * c2;
        c0 = static_cast<uint32_t>(q >> 32) ^ c1 ^ k0;
        c2 = static_cast<uint32_t>(p >> 32) ^ c3 ^ k1;
        c1 = static_cast<uint32_t>(q);
        c3 = static_cast<uint32_t>(p);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}
