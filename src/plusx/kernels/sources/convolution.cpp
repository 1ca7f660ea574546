// What Python calls for a convolution with its norm.
#include "one_by_one.h"
#include "three_by_three.h"

template <class Size>
static void forward(const ConvolutionTask& task) {
    const Task& norm = task.norm;
    if (!norm.added)
        norm.activation ? Size::template forward<RELU, ADD_FIRST, false>(task)
                        : Size::template forward<NONE, ADD_FIRST, false>(task);
    else if (!norm.activation)
        Size::template forward<NONE, ADD_FIRST, true>(task);
    else
        norm.order == ADD_FIRST ? Size::template forward<RELU, ADD_FIRST, true>(task)
                                : Size::template forward<RELU, ADD_LAST, true>(task);
}

template <class Size>
static void backward(const ConvolutionTask& task) {
    if (!task.norm.activation)
        Size::template backward<NONE, false>(task);
    else
        task.norm.added_gradient ? Size::template backward<RELU, true>(task)
                                 : Size::template backward<RELU, false>(task);
}

// Whether these sizes are known; `pooled`: that only the largest of each 2x2 pixels goes on to the norm.
extern "C" int plusx_convolves(long size, long height, long width, long from, long to, long stride, long pooled) {
    const Shape shape = {height, width, from, to};
    if (size == 1) return stride == 1 && !pooled && is_pointwise(from, to);
    if (pooled) return height > 1 && width > 1 && by_frequencies(shape, stride);
    return by_frequencies(shape, stride) || convolves(shape, stride);
}

extern "C" int plusx_convolution_forward(const ConvolutionTask* task) {
    return with_memory([&] { (task->size == 1 ? forward<OneByOne> : forward<ThreeByThree>)(*task); });
}

extern "C" int plusx_convolution_backward(const ConvolutionTask* task) {
    return with_memory([&] { (task->size == 1 ? backward<OneByOne> : backward<ThreeByThree>)(*task); });
}
