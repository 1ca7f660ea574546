// A 1x1 convolution, the batch norm over what it gives, a residual sum and a ReLU, forwards and backwards.
//
// As with three_by_three.h what passes from one to the next stays in the cache; here a part is some pixels, of any image.
#pragma once
#include "pointwise.h"
#include "task.h"

struct OneByOne {
    template <int ACTIVATION, int ORDER, bool ADDED>
    static void forward(const ConvolutionTask& task);
    template <int ACTIVATION, bool ADDED>
    static void backward(const ConvolutionTask& task);
};

template <int ACTIVATION, int ORDER, bool ADDED>
void OneByOne::forward(const ConvolutionTask& task) {
    const Task& norm = task.norm;
    const long rows = norm.rows, from = task.from, to = task.to, unit = pixels_at_once(to);
    const long units = (rows + unit - 1) / unit;
    const Channels per = {norm.weight, norm.bias, norm.mean, norm.inverse};
    const Weight of = {task.weight, task.strides, from, to};
    const bfloat16* added = (const bfloat16*)norm.added;
    Room& room = room_of_caller();
    Place shared = room.begin(from * to * 2 + 2 * units * to * 4 + 2 * to * 8 + 192, norm.threads, unit * COLUMNS * 4);
    bfloat16* weight = shared.take<bfloat16>(from * to);
    float* parts = shared.take<float>(2 * units * to);
    double* totals = shared.take<double>(2 * to);
    bfloat16* z = (bfloat16*)norm.x;
#pragma omp parallel num_threads(norm.threads)
    {
        const long thread = omp_get_thread_num(), threads = omp_get_num_threads();
        const Share own = share_of(units, thread, threads), blocks = share_of(to / COLUMNS, thread, threads);
        float* sums = room.of(thread).take<float>(unit * COLUMNS);
        for (long b = blocks.begin; b < blocks.end; b++) pack_pointwise(of, false, b, weight);
#pragma omp barrier
        for (long u = own.begin; u < own.end; u++) {
            const long row = u * unit, count = std::min(unit, rows - row);
            convolve_pointwise(task.x + row * from, count, from, to, weight, nullptr, z + row * to, sums);
            moments(z + row * to, count, to, parts + 2 * u * to, parts + (2 * u + 1) * to);
        }
#pragma omp barrier
        put_together(parts, rows, unit, to, share_of(to, thread, threads), per, totals, norm.running_mean,
                     norm.running_variance, norm.epsilon, norm.momentum);
#pragma omp barrier
        for (long u = own.end - 1; u >= own.begin; u--) {
            const long row = u * unit, place = row * to;
            apply<ACTIVATION, ORDER, ADDED>(z + place, added + place, (bfloat16*)norm.y + place,
                                            norm.signs ? norm.signs + place / LANES : nullptr,
                                            std::min(unit, rows - row), to, per);
        }
    }
}

template <int ACTIVATION, bool ADDED>
void OneByOne::backward(const ConvolutionTask& task) {
    const Task& norm = task.norm;
    const long rows = norm.rows, from = task.from, to = task.to, unit = pixels_at_once(to), size = from * to;
    const long units = (rows + unit - 1) / unit;
    const Channels per = {norm.weight, norm.bias, norm.mean, norm.inverse};
    const Weight of = {task.weight, task.strides, from, to};
    const bfloat16 *z = (const bfloat16*)norm.x, *gradient = (const bfloat16*)norm.gradient;
    const long sums_size = task.weight_gradient ? norm.threads * size : 0;
    Room& room = room_of_caller();
    Place shared = room.begin(2 * size + (2 * (units + 1) * to + sums_size) * 4 + 2 * to * 8 + 256, norm.threads,
                              unit * (2 * to + from) * 2 + unit * COLUMNS * 4 + 256);
    bfloat16* weight = shared.take<bfloat16>(size);
    float* parts = shared.take<float>(2 * (units + 1) * to);
    float *mean_first = parts + 2 * units * to, *mean_second = mean_first + to;
    float* gradients = shared.take<float>(sums_size);
    double* totals = shared.take<double>(2 * to);
#pragma omp parallel num_threads(norm.threads)
    {
        const long thread = omp_get_thread_num(), threads = omp_get_num_threads();
        const Share own = share_of(units, thread, threads), ins = share_of(from / COLUMNS, thread, threads);
        Place mine = room.of(thread);
        bfloat16* z_gradient = mine.take<bfloat16>(unit * to);
        bfloat16 *x_woven = mine.take<bfloat16>(unit * from), *z_woven = mine.take<bfloat16>(unit * to);
        float *sums_room = mine.take<float>(unit * COLUMNS), *own_gradient = gradients + thread * size;
        if (task.x_gradient)
            for (long b = ins.begin; b < ins.end; b++) pack_pointwise(of, true, b, weight);
        if (task.weight_gradient) std::fill(own_gradient, own_gradient + size, 0.0f);
        for (long u = own.begin; u < own.end; u++) {
            const long row = u * unit, place = row * to;
            sums<ACTIVATION>(gradient + place, z + place, norm.signs ? norm.signs + place / LANES : nullptr,
                             std::min(unit, rows - row), to, per, parts + 2 * u * to, parts + (2 * u + 1) * to);
        }
#pragma omp barrier
        put_together_sums(parts, units, rows, to, share_of(to, thread, threads), per, totals,
                          norm.weight_gradient, norm.bias_gradient, mean_first, mean_second);
#pragma omp barrier
        for (long u = own.end - 1; u >= own.begin; u--) {
            const long row = u * unit, place = row * to, count = std::min(unit, rows - row);
            back<ACTIVATION, ADDED>(gradient + place, z + place, norm.signs ? norm.signs + place / LANES : nullptr,
                                    z_gradient, (bfloat16*)norm.added_gradient + place, count, to, per, mean_first,
                                    mean_second);
            if (task.x_gradient)
                convolve_pointwise(z_gradient, count, to, from, weight, task.beside ? task.beside + row * from : nullptr,
                                   task.x_gradient + row * from, sums_room);
            if (task.weight_gradient)
                weight_gradient_pointwise(task.x + row * from, z_gradient, count, from, to, own_gradient, x_woven,
                                          z_woven);
        }
#pragma omp barrier
        if (task.weight_gradient) {
            const Share outs = share_of(to / COLUMNS, thread, threads);
            for (long b = outs.begin; b < outs.end; b++)
                gather_pointwise(of, b, gradients, threads, task.weight_gradient);
        }
    }
}
