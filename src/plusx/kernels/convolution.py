"""A convolution in bfloat16, 3x3 or 1x1, its batch norm, a residual sum and a ReLU as one step each way; on the CPU.

3x3 where the channels are many: by Winograd's algorithm (Lavin and Gray 2015, arXiv:1509.09308), with 16 products for
36, and up to twice the rounding error of torch's bfloat16 convolution.

The weight stays float32 and is rounded where it is read, so its gradient is never bfloat16. The gradient of the
convolution's output is never in memory: a few images or pixels at a time it goes on to the input and the weight. Of a
3x3 convolution by that algorithm the largest of each 2x2 pixels may go on to the norm alone.

Shape letters: B batch, C channels, H height, W width.
"""

import ctypes
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from plusx.kernels.library import convolves, is_traced, knows
from plusx.kernels.norm import (
    Kept,
    NormTask,
    Settings,
    at,
    backward_task,
    called,
    counted,
    forward_task,
    plain,
    ready,
)
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


def fits(
    conv: nn.Module | None, norm: nn.Module, x: Tensor, added: Tensor | None, pool: nn.Module | None = None
) -> TypeGuard[nn.Conv2d]:
    """Whether the kernels can do this: a plain convolution under bfloat16 autocast, 3x3 or 1x1, and its training norm.

    Between them may stand a max-pool of 2x2 pixels. No thread may be without an image.
    """
    if (
        is_traced()
        or type(conv) is not nn.Conv2d
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
        and (plain(conv.weight) or plain(conv.weight.permute(0, 2, 3, 1)))
        and conv.weight.shape == (channels, channels_in, size, size)
        and batch >= torch.get_num_threads()
        and x.is_contiguous(memory_format=torch.channels_last)
        and ready(norm, x, (batch, channels, height // by, width // by), added)
        and convolves()
        and (pool is None or is_of_four(pool))
        and knows(size, height, width, channels_in, channels, stride, pool is not None)
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
    settings = counted(norm, activation=activation, add_last=add_last)
    y, same = _Convolution.apply(x, added, conv.weight, norm.weight, norm.bias, settings, conv.stride[0], pooled)
    return y, same if x.requires_grad else x


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
        settings: Settings,
        stride: int,
        pooled: bool,
    ) -> tuple[Tensor, Tensor]:
        by = 2 if pooled else stride
        shape = (x.shape[0], len(conv_weight), x.shape[2] // by, x.shape[3] // by)
        added = None if added is None else added.contiguous(memory_format=torch.channels_last)
        z = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        places = torch.empty_like(z, dtype=torch.uint8) if pooled else None
        norm, y, kept = forward_task(z, added, weight, bias, settings)
        called("plusx_convolution_forward", _task(norm, x, conv_weight, stride, places=at(places)))
        ctx.save_for_backward(x, conv_weight, places, *kept)
        ctx.activation, ctx.stride = settings.activation, stride
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
            return beside, *[None] * 7
        x, conv_weight, places, *rest = ctx.saved_tensors
        needs = ctx.needs_input_grad
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        beside = None if beside is None else beside.contiguous(memory_format=torch.channels_last)
        x_gradient = torch.empty_like(x) if needs[0] else None
        conv_weight_gradient = torch.empty_like(conv_weight) if needs[2] else None
        norm, around, parameters = backward_task(Kept(*rest), gradient, activation=ctx.activation)
        more = {"beside": at(beside), "x_gradient": at(x_gradient), "weight_gradient": at(conv_weight_gradient)}
        task = _task(norm, x, conv_weight, ctx.stride, places=at(places), **more)
        called("plusx_convolution_backward", task)
        of_weight, of_bias = (parameters[i] if needs[3 + i] else None for i in range(2))
        return x_gradient, around if needs[1] else None, conv_weight_gradient, of_weight, of_bias, None, None, None
