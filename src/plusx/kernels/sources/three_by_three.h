// A 3x3 convolution, the batch norm over what it gives, a residual sum and a ReLU, forwards and backwards.
//
// What passes from one to the next stays in the cache: forwards the statistics are taken of each image as it is made;
// backwards the gradient of the convolution's output is made image by image and never written to memory.
#pragma once
#include "task.h"
#include "weights.h"

struct ThreeByThree {
    template <int ACTIVATION, int ORDER, bool ADDED>
    static void forward(const ConvolutionTask& task);
    template <int ACTIVATION, bool ADDED>
    static void backward(const ConvolutionTask& task);
};

// How many pixels of an image go to the norm.
static long pixels_of(const ConvolutionTask& task) {
    const long by = task.places ? 2 : task.stride;
    return task.height / by * (task.width / by);
}

static Frequencies frequencies_in(Place& room, long channels) {
    if (!channels) return {};
    return {room.take<bfloat16>(frequencies_size(channels)), room.take<float>(products_size(channels))};
}

template <int ACTIVATION, int ORDER, bool ADDED>
void ThreeByThree::forward(const ConvolutionTask& task) {
    const Task& norm = task.norm;
    const Shape shape = {task.height, task.width, task.from, task.to};
    const long channels = task.to, pixels_in = task.height * task.width, pixels = pixels_of(task), rows = norm.rows;
    const Channels per = {norm.weight, norm.bias, norm.mean, norm.inverse};
    const bfloat16* added = (const bfloat16*)norm.added;
    const Weight of = {task.weight, task.strides, task.from, task.to};
    const bool frequencies = by_frequencies(shape, task.stride);
    const long weights = (frequencies ? FREQUENCIES : 9) * task.from * task.to;
    const long group = frequencies ? images_at_once(shape) : 1;
    const long each = frequencies ? frequencies_size(task.from) * 2 + products_size(task.from) * 4 + 128 : 0;
    Room& room = room_of_caller();
    Place shared = room.begin(weights * 2 + 2 * task.images * channels * 4 + 2 * channels * 8 + 192, norm.threads, each);
    bfloat16* weight = shared.take<bfloat16>(weights);
    float* parts = shared.take<float>(2 * task.images * channels);
    double* totals = shared.take<double>(2 * channels);
    bfloat16* z = (bfloat16*)norm.x;
#pragma omp parallel num_threads(norm.threads)
    {
        const long thread = omp_get_thread_num(), threads = omp_get_num_threads();
        const Share own = share_of(task.images, thread, threads), blocks = share_of(task.to / 16, thread, threads);
        Place mine = room.of(thread);
        const Frequencies rooms = frequencies_in(mine, frequencies ? task.from : 0);
        for (long b = blocks.begin; b < blocks.end; b++) (frequencies ? pack_frequencies : pack)(of, false, b, weight);
#pragma omp barrier
        for (long begin = own.begin; begin < own.end; begin += group) {
            const long count = std::min(group, own.end - begin), first = begin * pixels * channels;
            const bfloat16* x = task.x + begin * pixels_in * task.from;
            if (frequencies)
                convolve_frequencies(shape, x, count, weight, nullptr, z + first,
                                     task.places ? task.places + first : nullptr, rooms);
            else
                (task.stride == 1 ? convolve : convolve_strided)(shape, x, weight, nullptr, z + first);
            for (long i = begin; i < begin + count; i++) {
                float* to = parts + 2 * i * channels;
                moments(z + i * pixels * channels, pixels, channels, to, to + channels);
            }
        }
#pragma omp barrier
        put_together(parts, rows, pixels, channels, share_of(channels, thread, threads), per, totals, norm.running_mean,
                     norm.running_variance, norm.epsilon, norm.momentum);
#pragma omp barrier
        for (long i = own.end - 1; i >= own.begin; i--) {
            const long place = i * pixels * channels;
            apply<ACTIVATION, ORDER, ADDED>(z + place, added + place, (bfloat16*)norm.y + place,
                                            norm.signs ? norm.signs + place / LANES : nullptr, pixels, channels, per);
        }
    }
}

constexpr long SCRATCH_PIXELS = 512;  // of images whose gradients are taken at once: they fit in the second cache

template <int ACTIVATION, bool ADDED>
void ThreeByThree::backward(const ConvolutionTask& task) {
    const Task& norm = task.norm;
    const bool strided = task.stride > 1;
    const long height = task.height / task.stride, width = task.width / task.stride;
    const Shape shape = {task.height, task.width, task.from, task.to}, made = {height, width, task.from, task.to};
    const Shape turned = {height, width, task.to, task.from};
    const long rows = norm.rows, channels = task.to, pixels = pixels_of(task), pixels_in = task.height * task.width;
    const long made_pixels = height * width;
    const long columns = (strided ? 4 : 1) * columns_size(made);
    const Weight of = {task.weight, task.strides, task.from, task.to};
    const bool frequencies = by_frequencies(shape, task.stride);
    const long size = (frequencies ? FREQUENCIES : 9) * task.from * task.to;
    const long at_once = std::max(1L, SCRATCH_PIXELS / made_pixels), group = frequencies ? images_at_once(shape) : 1;
    const Channels per = {norm.weight, norm.bias, norm.mean, norm.inverse};
    const bfloat16 *z = (const bfloat16*)norm.x, *gradient = (const bfloat16*)norm.gradient;
    const long sums_size = task.weight_gradient ? norm.threads * size : 0;
    const long largest_size = task.places ? group * pixels * channels : 0;
    const long each = (group * made_pixels * channels + largest_size) * 2 + 320 +
                      (frequencies ? (frequencies_size(channels) + woven_size(made, task.from) +
                                      woven_size(made, channels)) * 2 + products_size(channels) * 4
                                   : at_once * (columns + rows_size(made)) * 2);
    Room& room = room_of_caller();
    Place shared = room.begin(2 * size + (2 * (task.images + 1) * channels + sums_size) * 4 + 2 * channels * 8 + 256,
                              norm.threads, each);
    bfloat16* weight = shared.take<bfloat16>(size);
    float* parts = shared.take<float>(2 * (task.images + 1) * channels);
    float *mean_first = parts + 2 * task.images * channels, *mean_second = mean_first + channels;
    float* gradients = shared.take<float>(sums_size);
    double* totals = shared.take<double>(2 * channels);
#pragma omp parallel num_threads(norm.threads)
    {
        const long thread = omp_get_thread_num(), threads = omp_get_num_threads();
        const Share own = share_of(task.images, thread, threads), ins = share_of(task.from / 16, thread, threads);
        Place mine = room.of(thread);
        bfloat16* z_gradient = mine.take<bfloat16>(group * made_pixels * channels);
        bfloat16* largest = mine.take<bfloat16>(largest_size);
        const Frequencies rooms = frequencies_in(mine, frequencies ? channels : 0);
        Scratch scratch = {at_once, columns_width(made), pairs_wide(made),
                           mine.take<bfloat16>(frequencies ? woven_size(made, task.from) : at_once * columns),
                           mine.take<bfloat16>(frequencies ? woven_size(made, channels) : at_once * rows_size(made))};
        float* own_gradient = gradients + thread * size;
        if (task.x_gradient)
            for (long b = ins.begin; b < ins.end; b++) (frequencies ? pack_frequencies : pack)(of, true, b, weight);
        if (task.weight_gradient) std::fill(own_gradient, own_gradient + size, 0.0f);
        for (long i = own.begin; i < own.end; i++) {
            const long place = i * pixels * channels;
            float* to = parts + 2 * i * channels;
            sums<ACTIVATION>(gradient + place, z + place, norm.signs ? norm.signs + place / LANES : nullptr, pixels,
                             channels, per, to, to + channels);
        }
#pragma omp barrier
        put_together_sums(parts, task.images, rows, channels, share_of(channels, thread, threads), per, totals,
                          norm.weight_gradient, norm.bias_gradient, mean_first, mean_second);
#pragma omp barrier
        long filled = 0;
        for (long end = own.end; end > own.begin; end -= std::min(group, end - own.begin)) {
            const long begin = std::max(own.begin, end - group), image = begin * pixels_in * task.from;
            for (long i = begin; i < end; i++) {
                const long place = i * pixels * channels;
                back<ACTIVATION, ADDED>(gradient + place, z + place, norm.signs ? norm.signs + place / LANES : nullptr,
                                        (task.places ? largest : z_gradient) + (i - begin) * pixels * channels,
                                        (bfloat16*)norm.added_gradient + place, pixels, channels, per, mean_first,
                                        mean_second);
                if (task.places)
                    spread_largest(made, largest + (i - begin) * pixels * channels, task.places + place,
                                   z_gradient + (i - begin) * made_pixels * channels);
            }
            const bfloat16* beside = task.beside ? task.beside + image : nullptr;
            if (frequencies) {
                if (task.x_gradient)
                    convolve_frequencies(turned, z_gradient, end - begin, weight, beside, task.x_gradient + image,
                                         nullptr, rooms);
                if (task.weight_gradient)
                    weight_gradient_frequencies(made, task.x + image, z_gradient, end - begin, own_gradient,
                                                scratch.columns, scratch.rows);
                continue;
            }
            if (task.x_gradient)
                (strided ? spread : convolve)(turned, z_gradient, weight, beside, task.x_gradient + image);
            if (!task.weight_gradient) continue;
            fill_rows(made, scratch, z_gradient, filled);
            (strided ? fill_columns<2> : fill_columns<1>)(shape, scratch, task.x + image, filled);
            if (++filled < at_once && begin > own.begin) continue;
            (strided ? weight_gradient_strided : weight_gradient)(shape, scratch, filled, own_gradient);
            filled = 0;
        }
#pragma omp barrier
        if (task.weight_gradient) {
            const Share outs = share_of(task.to / 16, thread, threads);
            for (long b = outs.begin; b < outs.end; b++)
                (frequencies ? gather_frequencies : gather)(of, b, gradients, threads, task.weight_gradient);
        }
    }
}
