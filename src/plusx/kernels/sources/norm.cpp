// Batch normalization over the rows of a (rows, channels) matrix, a residual sum and a ReLU, forwards and backwards.
//
// Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1; the gradient of section 3 in the form
// scale * (g - mean(g) - normalized x * mean(g * normalized x)).
#include "norm.h"
#include "room.h"

template <class T, int ACTIVATION, int ORDER, bool ADDED>
static void forward(const Task& task) {
    const long rows = task.rows, channels = task.channels, unit = task.unit, units = (rows + unit - 1) / unit;
    const T *x = (const T*)task.x, *added = (const T*)task.added;
    const Channels per = {task.weight, task.bias, task.mean, task.inverse};
    const long signs_stride = (channels + LANES - 1) / LANES;
    Place room = room_of_caller().begin(2 * units * channels * 4 + 2 * channels * 8 + 128);
    float* parts = room.take<float>(2 * units * channels);
    double* totals = room.take<double>(2 * channels);
#pragma omp parallel num_threads(task.threads)
    {
        const long thread = omp_get_thread_num(), threads = omp_get_num_threads();
        const Share own = share_of(units, thread, threads);
        for (long u = own.begin; u < own.end; u++) {
            float* to = parts + 2 * u * channels;
            moments(x + u * unit * channels, std::min(unit, rows - u * unit), channels, to, to + channels);
        }
#pragma omp barrier
        put_together(parts, rows, unit, channels, share_of(channels, thread, threads), per, totals, task.running_mean,
                     task.running_variance, task.epsilon, task.momentum);
#pragma omp barrier
        for (long u = own.end - 1; u >= own.begin; u--) {  // backwards: the last parts are still in the cache
            const long place = u * unit * channels;
            apply<ACTIVATION, ORDER, ADDED>(x + place, added + place, (T*)task.y + place,
                                            task.signs ? task.signs + u * unit * signs_stride : nullptr,
                                            std::min(unit, rows - u * unit), channels, per);
        }
    }
}

template <class T, int ACTIVATION, bool ADDED>
static void backward(const Task& task) {
    const long rows = task.rows, channels = task.channels, unit = task.unit, units = (rows + unit - 1) / unit;
    const T *x = (const T*)task.x, *gradient = (const T*)task.gradient;
    const Channels per = {task.weight, task.bias, task.mean, task.inverse};
    const long signs_stride = (channels + LANES - 1) / LANES;
    Place room = room_of_caller().begin(2 * (units + 1) * channels * 4 + 2 * channels * 8 + 128);
    float* parts = room.take<float>(2 * (units + 1) * channels);
    float *mean_first = parts + 2 * units * channels, *mean_second = mean_first + channels;
    double* totals = room.take<double>(2 * channels);
#pragma omp parallel num_threads(task.threads)
    {
        const long thread = omp_get_thread_num(), threads = omp_get_num_threads();
        const Share own = share_of(units, thread, threads);
        for (long u = own.begin; u < own.end; u++) {
            const long place = u * unit * channels;
            float* to = parts + 2 * u * channels;
            sums<ACTIVATION>(gradient + place, x + place, task.signs ? task.signs + u * unit * signs_stride : nullptr,
                             std::min(unit, rows - u * unit), channels, per, to, to + channels);
        }
#pragma omp barrier
        put_together_sums(parts, units, rows, channels, share_of(channels, thread, threads), per, totals,
                          task.weight_gradient, task.bias_gradient, mean_first, mean_second);
#pragma omp barrier
        for (long u = own.end - 1; u >= own.begin; u--) {
            const long place = u * unit * channels;
            back<ACTIVATION, ADDED>(gradient + place, x + place,
                                    task.signs ? task.signs + u * unit * signs_stride : nullptr,
                                    (T*)task.x_gradient + place, (T*)task.added_gradient + place,
                                    std::min(unit, rows - u * unit), channels, per, mean_first, mean_second);
        }
    }
}

template <class T>
static void forward_as(const Task& task) {
    if (!task.added)
        task.activation ? forward<T, RELU, ADD_FIRST, false>(task) : forward<T, NONE, ADD_FIRST, false>(task);
    else if (!task.activation)
        forward<T, NONE, ADD_FIRST, true>(task);
    else
        task.order == ADD_FIRST ? forward<T, RELU, ADD_FIRST, true>(task) : forward<T, RELU, ADD_LAST, true>(task);
}

template <class T>
static void backward_as(const Task& task) {
    if (!task.activation)
        backward<T, NONE, false>(task);
    else
        task.added_gradient ? backward<T, RELU, true>(task) : backward<T, RELU, false>(task);
}

extern "C" int plusx_norm_forward(const Task* task) {
    return with_memory([&] { task->is_float ? forward_as<float>(*task) : forward_as<bfloat16>(*task); });
}

extern "C" int plusx_norm_backward(const Task* task) {
    return with_memory([&] { task->is_float ? backward_as<float>(*task) : backward_as<bfloat16>(*task); });
}
