// Rows of bytes: short ones by vectors with a masked end, where a call of memcpy for each would cost more.
#include "core/copy.h"
#include "core/simd.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

using Bytes = Vec<uint8_t>;
constexpr long wide = sizeof(Bytes);

void rows(char* to, long to_step, const char* from, long from_step, long rows, long bytes) {
    const auto put = [](char* to, const char* from) {
        Bytes v;
        std::memcpy(&v, from, sizeof v);
        std::memcpy(to, &v, sizeof v);
    };
    if (bytes > 1024 || bytes < wide) {
        if (bytes == 4)
            for (long r = 0; r < rows; ++r) std::memcpy(to + r * to_step, from + r * from_step, 4);
        else if (bytes == 8)
            for (long r = 0; r < rows; ++r) std::memcpy(to + r * to_step, from + r * from_step, 8);
        else if (bytes == 16)
            for (long r = 0; r < rows; ++r) std::memcpy(to + r * to_step, from + r * from_step, 16);
        else
            for (long r = 0; r < rows; ++r) std::memcpy(to + r * to_step, from + r * from_step, bytes);
        return;
    }
    for (long r = 0; r < rows; ++r, to += to_step, from += from_step) {
        long i = 0;
        for (; i + wide <= bytes; i += wide) put(to + i, from + i);
        if (i < bytes) put(to + bytes - wide, from + bytes - wide);  // over what was copied already
    }
}

}  // namespace

extern const CopyKernels copy_kernels;
const CopyKernels copy_kernels = {&rows};

}  // namespace chainrule::CHAINRULE_ISA
