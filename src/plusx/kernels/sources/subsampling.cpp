// Every `stride`-th pixel of every `stride`-th row, with channels of zeros before and after its own; and its gradient.
#include <string.h>

#include "lanes.h"

struct SubsampleTask {
    const char* from;
    char* to;
    long images, height, width, small_height, small_width, stride, bytes, before, after, threads;  // bytes of a pixel
};

extern "C" int plusx_subsample_forward(const SubsampleTask* given) {
    const SubsampleTask t = *given;
    const long wide = t.before + t.bytes + t.after, rows = t.images * t.small_height;
#pragma omp parallel for schedule(static) num_threads(t.threads)
    for (long row = 0; row < rows; row++) {
        const long image = row / t.small_height, h = row % t.small_height;
        const char* from = t.from + (image * t.height + h * t.stride) * t.width * t.bytes;
        char* to = t.to + row * t.small_width * wide;
        for (long w = 0; w < t.small_width; w++, to += wide) {
            memset(to, 0, t.before);
            memcpy(to + t.before, from + w * t.stride * t.bytes, t.bytes);
            memset(to + t.before + t.bytes, 0, t.after);
        }
    }
    return 0;
}

extern "C" int plusx_subsample_backward(const SubsampleTask* given) {
    const SubsampleTask t = *given;
    const long wide = t.before + t.bytes + t.after, rows = t.images * t.height;
#pragma omp parallel for schedule(static) num_threads(t.threads)
    for (long row = 0; row < rows; row++) {
        const long image = row / t.height, h = row % t.height;
        char* to = t.to + row * t.width * t.bytes;
        memset(to, 0, t.width * t.bytes);
        if (h % t.stride) continue;
        const char* from = t.from + (image * t.small_height + h / t.stride) * t.small_width * wide + t.before;
        for (long w = 0; w < t.small_width; w++) memcpy(to + w * t.stride * t.bytes, from + w * wide, t.bytes);
    }
    return 0;
}
