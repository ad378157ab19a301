#include "core/isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace chainrule {

namespace {

Isa chosen = Isa::baseline;
bool brain = false;

Isa best_of_this_machine() {
#ifdef CHAINRULE_X86
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl");
    return v4 ? Isa::avx512 : v3 ? Isa::avx2 : Isa::baseline;
#else
    return Isa::baseline;
#endif
}

bool has_bfloat16_products() {
#ifdef CHAINRULE_X86
    return best_of_this_machine() == Isa::avx512 && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

const char* name_of(Isa isa) {
    return isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "baseline";
}

}  // namespace

Isa isa() { return chosen; }
const char* isa_name() { return name_of(chosen); }
bool bfloat16_products() { return brain; }

void choose_isa() {
    const Isa best = best_of_this_machine();
    chosen = best;
    const char* wish = std::getenv("CHAINRULE_SIMD");
    brain = (!wish || !*wish) && has_bfloat16_products();
    if (!wish || !*wish) return;
    for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
        if (std::string(wish) != name_of(isa)) continue;
        if (isa > best)
            throw std::runtime_error(std::string("CHAINRULE_SIMD=") + wish + ", but this processor runs at most " +
                                     name_of(best));
        chosen = isa;
        return;
    }
    throw std::runtime_error(std::string("CHAINRULE_SIMD=") + wish + " is not known; use baseline, avx2 or avx512");
}

}  // namespace chainrule
