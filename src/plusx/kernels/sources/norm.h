// Batch normalization with what follows it, on parts of a (rows, channels) matrix that fit in the first cache.
//
// A part is `unit` rows. Each part's mean and sum of squared deviations is taken in float32 (two passes, so nothing
// cancels); the parts are put together in float64 (Chan et al. 1979, equation 2.1), in the order of the rows. So what
// comes out depends on no thread.
#pragma once
#include "lanes.h"

// What follows the norm. ADD_LAST: y = relu(norm(x)) + added.
enum Activation { NONE = 0, RELU = 1 };
enum Order { ADD_FIRST = 0, ADD_LAST = 1 };

struct Channels {  // one number a channel
    const float *weight, *bias;  // null: 1 and 0
    float *mean, *inverse;       // of the batch: mean and 1 / sqrt(variance + epsilon)
};

// What Python asks for; the rows are pixels of all images, `unit` of them a part.
struct Task {
    const void *x, *added, *gradient;
    void *y, *x_gradient, *added_gradient;
    uint16_t* signs;
    const float *weight, *bias;
    float *mean, *inverse, *running_mean, *running_variance, *weight_gradient, *bias_gradient;
    long rows, channels, unit, threads;
    double epsilon, momentum;
    int is_float, activation, order;
};

struct Scale {
    __m512 mean, scale, bias;
    // (x - mean) * scale + bias, the same in both directions, so that a sign found again is the sign that was.
    INLINE_MEMBER __m512 operator()(__m512 x) const {
        return _mm512_fmadd_ps(_mm512_sub_ps(x, mean), scale, bias);
    }
};

template <class L>
INLINE Scale scale_of(const Channels& per, long channel, L lanes) {
    __m512 inverse = load(per.inverse + channel, lanes);
    __m512 scale = per.weight ? _mm512_mul_ps(load(per.weight + channel, lanes), inverse) : inverse;
    return {load(per.mean + channel, lanes), scale, per.bias ? load(per.bias + channel, lanes) : _mm512_setzero_ps()};
}

// max(x, 0), and NaN where x is NaN, as torch has it.
INLINE __m512 relu(__m512 x) { return _mm512_max_ps(_mm512_setzero_ps(), x); }
INLINE __mmask16 passes(__m512 x) { return _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_NLE_UQ); }

// The mean and the sum of squared deviations of each channel over `rows` rows.
template <class T>
INLINE void moments(const T* x, long rows, long channels, float* mean, float* squares) {
    over_channels(channels, [&](long channel, auto lanes) {
        const T* from = x + channel;
        __m512 sum[4] = {}, zero = _mm512_setzero_ps();
        long row = 0;
        for (; row + 4 <= rows; row += 4)
            for (int i = 0; i < 4; i++) sum[i] = _mm512_add_ps(sum[i], load(from + (row + i) * channels, lanes));
        for (; row < rows; row++) sum[0] = _mm512_add_ps(sum[0], load(from + row * channels, lanes));
        __m512 total = _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3]));
        __m512 middle = _mm512_mul_ps(total, _mm512_set1_ps(1.0f / rows)), square[4] = {zero, zero, zero, zero};
        for (row = 0; row + 4 <= rows; row += 4)
            for (int i = 0; i < 4; i++) {
                __m512 away = _mm512_sub_ps(load(from + (row + i) * channels, lanes), middle);
                square[i] = _mm512_fmadd_ps(away, away, square[i]);
            }
        for (; row < rows; row++) {
            __m512 away = _mm512_sub_ps(load(from + row * channels, lanes), middle);
            square[0] = _mm512_fmadd_ps(away, away, square[0]);
        }
        store(mean + channel, middle, lanes);
        store(squares + channel,
              _mm512_add_ps(_mm512_add_ps(square[0], square[1]), _mm512_add_ps(square[2], square[3])), lanes);
    });
}

// The statistics of some channels from those of all parts; running statistics as torch keeps them. `totals`: room for
// two numbers of each channel.
INLINE void put_together(const float* parts, long rows, long unit, long channels, Share some, const Channels& per,
                         double* totals, float* running_mean, float* running_variance, double epsilon,
                         double momentum) {
    long units = (rows + unit - 1) / unit, count = some.end - some.begin;
    if (count <= 0) return;
    double *mean = totals + 2 * some.begin, *squares = mean + count;
    std::fill(mean, mean + 2 * count, 0.0);
    for (long u = 0; u < units; u++) {
        const float* from = parts + 2 * u * channels + some.begin;
        double share = (double)std::min(unit, rows - u * unit) / rows;
        for (long c = 0; c < count; c++) mean[c] += share * from[c];
    }
    for (long u = 0; u < units; u++) {
        const float* from = parts + 2 * u * channels + some.begin;
        double size = (double)std::min(unit, rows - u * unit);
        for (long c = 0; c < count; c++) {
            double away = from[c] - mean[c];
            squares[c] += from[channels + c] + size * away * away;
        }
    }
    for (long c = 0; c < count; c++) {
        long channel = some.begin + c;
        per.mean[channel] = mean[c];
        per.inverse[channel] = 1.0 / __builtin_sqrt(squares[c] / rows + epsilon);
        if (!running_mean) continue;
        double variance = squares[c] / (rows - 1);
        running_mean[channel] = (1 - momentum) * running_mean[channel] + momentum * mean[c];
        running_variance[channel] = (1 - momentum) * running_variance[channel] + momentum * variance;
    }
}

// y = activation(norm(x) + added), or activation(norm(x)) + added; `signs` takes where the activation passes.
template <int ACTIVATION, int ORDER, bool ADDED, class T>
INLINE void apply(const T* x, const T* added, T* y, uint16_t* signs, long rows, long channels, const Channels& per) {
    long stride = (channels + LANES - 1) / LANES;
    over_channels(channels, [&](long channel, auto lanes) {
        Scale scale = scale_of(per, channel, lanes);
#pragma GCC unroll 4
        for (long row = 0; row < rows; row++) {
            long place = row * channels + channel;
            __m512 value = scale(load(x + place, lanes));
            if (ADDED && ORDER == ADD_FIRST) value = _mm512_add_ps(value, load(added + place, lanes));
            if (ACTIVATION == RELU) {
                if (ADDED && ORDER == ADD_FIRST && signs) signs[row * stride + channel / LANES] = passes(value);
                value = relu(value);
            }
            if (ADDED && ORDER == ADD_LAST) value = _mm512_add_ps(value, load(added + place, lanes));
            store(y + place, value, lanes);
        }
    });
}

// The gradient behind the activation: from the signs that were kept, else from those of norm(x).
template <int ACTIVATION>
INLINE __m512 behind(__m512 gradient, __m512 x, const uint16_t* signs, long place, const Scale& scale) {
    if (ACTIVATION == NONE) return gradient;
    return _mm512_maskz_mov_ps(signs ? (__mmask16)signs[place] : passes(scale(x)), gradient);
}

// Of each channel over `rows` rows: the sum of the gradient, and of the gradient times (x - mean).
template <int ACTIVATION, class T>
INLINE void sums(const T* gradient, const T* x, const uint16_t* signs, long rows, long channels, const Channels& per,
                 float* first, float* second) {
    long stride = (channels + LANES - 1) / LANES;
    over_channels(channels, [&](long channel, auto lanes) {
        Scale scale = scale_of(per, channel, lanes);
        __m512 one[4] = {}, two[4] = {};
        auto take = [&](long row, int i) __attribute__((always_inline)) {
            long place = row * channels + channel;
            __m512 value = load(x + place, lanes);
            __m512 g = behind<ACTIVATION>(load(gradient + place, lanes), value, signs, row * stride + channel / LANES,
                                          scale);
            one[i] = _mm512_add_ps(one[i], g);
            two[i] = _mm512_fmadd_ps(g, _mm512_sub_ps(value, scale.mean), two[i]);
        };
        long row = 0;
        for (; row + 4 <= rows; row += 4) {
            take(row, 0);
            take(row + 1, 1);
            take(row + 2, 2);
            take(row + 3, 3);
        }
        for (; row < rows; row++) take(row, 0);
        store(first + channel, _mm512_add_ps(_mm512_add_ps(one[0], one[1]), _mm512_add_ps(one[2], one[3])), lanes);
        store(second + channel, _mm512_add_ps(_mm512_add_ps(two[0], two[1]), _mm512_add_ps(two[2], two[3])), lanes);
    });
}

// The gradients of weight and bias for some channels, and the means that the gradient of x needs; `totals` as above.
INLINE void put_together_sums(const float* parts, long units, long rows, long channels, Share some, const Channels& per,
                              double* totals, float* weight_gradient, float* bias_gradient, float* mean_first,
                              float* mean_second) {
    long count = some.end - some.begin;
    if (count <= 0) return;
    double *first = totals + 2 * some.begin, *second = first + count;
    std::fill(first, first + 2 * count, 0.0);
    for (long u = 0; u < units; u++) {
        const float* from = parts + 2 * u * channels + some.begin;
        for (long c = 0; c < count; c++) {
            first[c] += from[c];
            second[c] += from[channels + c];
        }
    }
    for (long c = 0; c < count; c++) {
        long channel = some.begin + c;
        double inverse = per.inverse[channel];
        if (weight_gradient) weight_gradient[channel] = second[c] * inverse;
        if (bias_gradient) bias_gradient[channel] = first[c];
        mean_first[channel] = first[c] / rows;
        mean_second[channel] = second[c] * inverse * inverse / rows;
    }
}

// The gradient of x: scale * (gradient - its mean - (x - mean) * mean_second), and of what was added.
template <int ACTIVATION, bool ADDED, class T>
INLINE void back(const T* gradient, const T* x, const uint16_t* signs, T* x_gradient, T* added_gradient, long rows,
                 long channels, const Channels& per, const float* mean_first, const float* mean_second) {
    long stride = (channels + LANES - 1) / LANES;
    over_channels(channels, [&](long channel, auto lanes) {
        Scale scale = scale_of(per, channel, lanes);
        __m512 first = load(mean_first + channel, lanes), second = load(mean_second + channel, lanes);
#pragma GCC unroll 4
        for (long row = 0; row < rows; row++) {
            long place = row * channels + channel;
            __m512 value = load(x + place, lanes);
            __m512 g = behind<ACTIVATION>(load(gradient + place, lanes), value, signs, row * stride + channel / LANES,
                                          scale);
            if (ADDED) store(added_gradient + place, g, lanes);
            __m512 rest = _mm512_fnmadd_ps(_mm512_sub_ps(value, scale.mean), second, _mm512_sub_ps(g, first));
            store(x_gradient + place, _mm512_mul_ps(rest, scale.scale), lanes);
        }
    });
}
