// Convolution's parts: windows are views; here they are put back.
#include "core/device.cuh"

/// y (n, c, h, w) = the sum of what windows (n, c, p, q, r, s) hold of each element, in the order of r and s. Bound by the
/// memory's bandwidth: every element of the windows is read once.
struct Windows {
    int64_t h, w, p, q, r, s, stride[2], dilation[2], step[6];  // steps: strides of the windows, in elements
};
template <class T> __global__ void unwindow(T* y, const T* x, Windows v, int64_t c, int64_t n) {
    EACH(i, n) {
        const int64_t column = i % v.w, row = i / v.w % v.h, channel = i / (v.w * v.h) % c, image = i / (v.w * v.h * c);
        typename SumOf<T>::type sum = 0;
        for (int64_t r = 0; r < v.r; ++r) {
            const int64_t down = row - r * v.dilation[0];
            if (down < 0 || down % v.stride[0] || down / v.stride[0] >= v.p) continue;
            for (int64_t s = 0; s < v.s; ++s) {
                const int64_t across = column - s * v.dilation[1];
                if (across < 0 || across % v.stride[1] || across / v.stride[1] >= v.q) continue;
                sum += widened(x[image * v.step[0] + channel * v.step[1] + down / v.stride[0] * v.step[2] +
                                 across / v.stride[1] * v.step[3] + r * v.step[4] + s * v.step[5]]);
            }
        }
        y[i] = narrowed<T>(sum);
    }
}
