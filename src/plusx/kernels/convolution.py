"""A convolution in bfloat16, 3x3 or 1x1, its batch norm, a residual sum and a ReLU as one step each way; on the CPU.

3x3 where the channels are many: by Winograd's algorithm (Lavin and Gray 2015, arXiv:1509.09308), with 16 products for
36, and up to twice the rounding error of torch's bfloat16 convolution.

The weight stays float32 and is rounded where it is read, so its gradient is never bfloat16. The gradient of the
convolution's output is never in memory: image by image it goes on to the input and the weight.

Shape letters: B batch, C channels, H height, W width.
"""

import ctypes
from functools import cache
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from plusx.kernels.library import convolves, library
from plusx.kernels.norm import LANES, NormTask, at, called, moving, ready
from plusx.kernels.pooling import is_of_four

_pointer, _long = ctypes.c_void_p, ctypes.c_long


class ConvolutionTask(ctypes.Structure):
    """What sources/task.h calls a ConvolutionTask."""

    _fields_ = (
        ("norm", NormTask),
        ("x", _pointer),
        ("beside", _pointer),
        ("x_gradient", _pointer),
        ("weight", _pointer),
        ("weight_gradient", _pointer),
        ("places", _pointer),
        ("images", _long),
        ("height", _long),
        ("width", _long),
        ("channels_in", _long),
        ("channels_out", _long),
        ("size", _long),
        ("stride", _long),
        ("strides", _long * 4),
    )


@cache
def known(*sizes: int) -> bool:
    """Whether the kernels know these sizes: those that plusx_convolves in sources/convolution.cpp takes."""
    found = library()
    return found is not None and bool(found.plusx_convolves(*map(_long, sizes)))


def fits(
    conv: nn.Module | None, norm: nn.Module, x: Tensor, added: Tensor | None, pool: nn.Module | None = None
) -> TypeGuard[nn.Conv2d]:
    """Whether the kernels can do this: a plain convolution under bfloat16 autocast, 3x3 or 1x1, and its training norm.

    Between them may stand a max-pool of 2x2 pixels.
    """
    if (
        type(conv) is not nn.Conv2d
        or type(x) is not Tensor
        or x.dtype is not torch.bfloat16
        or x.ndim != 4
        or not (torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16)
    ):
        return False
    batch, channels_in, height, width = x.shape
    channels, size, stride = conv.out_channels, conv.kernel_size[0], conv.stride[0]
    by = stride if pool is None else 2 * stride
    return (
        conv.kernel_size == (size, size)
        and size in {1, 3}
        and conv.padding == (size // 2, size // 2)
        and conv.stride == (stride, stride)
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and conv.groups == 1
        and conv.bias is None
        and type(conv.weight) is nn.Parameter
        and conv.weight.dtype is torch.float32
        and conv.in_channels == channels_in
        and batch >= torch.get_num_threads()
        and x.is_contiguous(memory_format=torch.channels_last)
        and ready(norm, x, (batch, channels, height // by, width // by), added)
        and convolves()
        and (pool is None or is_of_four(pool))
        and known(size, height, width, channels_in, channels, stride, pool is not None)
    )


def convolve_and_normalize(
    conv: nn.Conv2d,
    norm: nn.BatchNorm2d,
    x: Tensor,
    added: Tensor | None = None,
    *,
    activation: bool = False,
    add_last: bool = False,
    pooled: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return relu(norm(conv(x)) + added), or relu(norm(conv(x))) + added; running statistics move as torch moves them.

    With it comes x, for who needs it beside the convolution: the two gradients are then summed as one of them is made.

    Args:
        conv: As `fits` wants it.
        norm: In training mode.
        x: (B, channels_in, H, W).
        added: As the first result, if there is something to add.
        activation: Whether there is a ReLU.
        add_last: Whether `added` comes after it.
        pooled: Whether only the largest of each 2x2 pixels goes from the convolution to the norm.

    Returns:
        (B, C, H/stride, W/stride), or half of that if pooled, bfloat16; and x.
    """
    options = Options(*moving(norm), norm.eps, activation, add_last, conv.stride[0], pooled)
    return _Convolution.apply(x, added, conv.weight, norm.weight, norm.bias, options)


class Options(NamedTuple):
    """What is not differentiated."""

    running_mean: Tensor | None
    running_variance: Tensor | None
    momentum: float
    epsilon: float
    activation: bool
    add_last: bool
    stride: int
    pooled: bool


def _task(norm: NormTask, x: Tensor, weight: Tensor, stride: int, **more: int | None) -> ConvolutionTask:
    return ConvolutionTask(
        norm=norm,
        x=at(x),
        weight=at(weight),
        images=x.shape[0],
        height=x.shape[2],
        width=x.shape[3],
        channels_in=weight.shape[1],
        channels_out=weight.shape[0],
        size=weight.shape[2],
        stride=stride,
        strides=weight.stride(),
        **more,
    )


class _Convolution(torch.autograd.Function):
    """The kernels as a node of torch's graph."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        added: Tensor | None,
        conv_weight: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        options: Options,
    ) -> tuple[Tensor, Tensor]:
        channels, batch, stride = len(conv_weight), x.shape[0], options.stride
        by = 2 if options.pooled else stride
        height, width = x.shape[2] // by, x.shape[3] // by
        added = None if added is None else added.contiguous(memory_format=torch.channels_last)
        shape, last = (batch, channels, height, width), torch.channels_last
        z = torch.empty(shape, dtype=x.dtype, memory_format=last)
        y, statistics = torch.empty_like(z), torch.empty((2, channels))
        places = torch.empty_like(z, dtype=torch.uint8) if options.pooled else None
        rows, signs = batch * height * width, None
        if added is not None and options.activation and not options.add_last:
            signs = torch.empty((rows, channels // LANES), dtype=torch.int16)
        norm = NormTask(
            x=at(z),
            added=at(added),
            y=at(y),
            signs=at(signs),
            weight=at(weight),
            bias=at(bias),
            mean=statistics.data_ptr(),
            inverse=statistics.data_ptr() + 4 * channels,
            running_mean=at(options.running_mean),
            running_variance=at(options.running_variance),
            rows=rows,
            channels=channels,
            threads=torch.get_num_threads(),
            epsilon=options.epsilon,
            momentum=options.momentum,
            activation=options.activation,
            order=options.add_last,
        )
        called("plusx_convolution_forward", _task(norm, x, conv_weight, stride, places=at(places)))
        ctx.save_for_backward(x, conv_weight, z, weight, bias, statistics, signs, places)
        ctx.options = options
        ctx.set_materialize_grads(False)
        return y, x

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - two outputs have two gradients
        ctx: Any,  # noqa: ANN401
        gradient: Tensor | None,
        beside: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        if gradient is None:
            return beside, None, None, None, None, None
        x, conv_weight, z, weight, bias, statistics, signs, places = ctx.saved_tensors
        needs = ctx.needs_input_grad
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        beside = None if beside is None else beside.contiguous(memory_format=torch.channels_last)
        x_gradient = torch.empty_like(x) if needs[0] else None
        conv_weight_gradient = torch.empty_like(conv_weight) if needs[2] else None
        around = torch.empty_like(z) if signs is not None else None
        parameters = torch.empty_like(statistics)
        channels = len(conv_weight)
        norm = NormTask(
            x=at(z),
            gradient=at(gradient),
            added_gradient=at(around),
            signs=at(signs),
            weight=at(weight),
            bias=at(bias),
            mean=statistics.data_ptr(),
            inverse=statistics.data_ptr() + 4 * channels,
            weight_gradient=parameters.data_ptr(),
            bias_gradient=parameters.data_ptr() + 4 * channels,
            rows=z.numel() // channels,
            channels=channels,
            threads=torch.get_num_threads(),
            activation=ctx.options.activation,
        )
        more = {"beside": at(beside), "x_gradient": at(x_gradient), "weight_gradient": at(conv_weight_gradient)}
        task = _task(norm, x, conv_weight, ctx.options.stride, places=at(places), **more)
        called("plusx_convolution_backward", task)
        return (
            x_gradient,
            (gradient if around is None else around) if needs[1] else None,
            conv_weight_gradient,
            parameters[0] if needs[3] else None,
            parameters[1] if needs[4] else None,
            None,
        )
