// What Python asks of the convolutions.
#pragma once
#include "norm.h"
#include "room.h"

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
