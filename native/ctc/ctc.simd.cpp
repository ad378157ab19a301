// Sums of ways through the states of a path, in logarithms.
#include "core/simd.h"
#include "core/vmath.h"
#include "ctc/kernels.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

using V = Vec<double>;

void advance(const double* past, const double* skip, const double* said, double* now, long n) {
    for (long s = 0; s < n; s += lanes<double>) {
        const long m = n - s;
        const V a = load_some(past + s, m), b = load_some(past + s - 1, m);
        const V c = load_some(past + s - 2, m) + load_some(skip + s, m);
        const V more = a > b ? a : b, top = more > c ? more : c;
        store_some(now + s, top + log(exp(a - top) + exp(b - top) + exp(c - top)) + load_some(said + s, m), m);
    }
}

void shares(const double* ahead, const double* behind, const double* said, double total, double* share, long n) {
    for (long s = 0; s < n; s += lanes<double>) {
        const long m = n - s;
        const V ways = load_some(ahead + s, m) + load_some(behind + s, m);
        store_some(share + s, exp(ways - load_some(said + s, m) - splat(total)), m);
    }
}

}  // namespace

extern const CtcKernels ctc_kernels;
const CtcKernels ctc_kernels = {&advance, &shares};

}  // namespace chainrule::CHAINRULE_ISA
