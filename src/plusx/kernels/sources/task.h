// What Python asks of the convolutions, and the memory that they keep from call to call.
#pragma once
#include <vector>

#include "norm.h"

struct ConvolutionTask {
    Task norm;  // its x is what the convolution makes
    const bfloat16* x;
    const bfloat16* beside;  // what the gradient of x is added to, or null
    bfloat16* x_gradient;    // or null
    const float* weight;
    float* weight_gradient;  // or null; strides as those of weight
    uint8_t* places;         // which of 2x2 pixels is the largest, if only those go on to the norm; else null
    long images, height, width, from, to, size, stride, strides[4];  // height and width are those of x; size: 1 or 3
};

// Memory of a thread that is kept from call to call: one Room for what all threads of a call share, one for its own.
struct Room {
    std::vector<char> bytes;
    long taken = 0;
    void begin(long size) {
        if ((long)bytes.size() < size + 64) std::vector<char>(size + 64).swap(bytes);
        taken = -(long)((uintptr_t)bytes.data() % 64) & 63;
    }
    template <class T>
    T* take(long count) {
        T* place = (T*)(bytes.data() + taken);
        taken += (count * sizeof(T) + 63) / 64 * 64;
        return place;
    }
};

inline Room& shared_room() {
    static thread_local Room room;
    return room;
}

inline Room& own_room() {
    static thread_local Room room;
    return room;
}
