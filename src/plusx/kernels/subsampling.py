"""Every so many pixels with channels of zeros beside them, in one pass each way; for channels_last on the CPU.

Shape letters: B batch, C channels, H height, W width.
"""

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from plusx.kernels.library import is_traced, library
from plusx.kernels.norm import DTYPES, at, called

_pointer, _long = ctypes.c_void_p, ctypes.c_long


class SubsampleTask(ctypes.Structure):
    """What sources/subsampling.cpp calls a SubsampleTask."""

    _fields_ = (
        ("source", _pointer),
        ("target", _pointer),
        ("images", _long),
        ("height", _long),
        ("width", _long),
        ("small_height", _long),
        ("small_width", _long),
        ("stride", _long),
        ("bytes", _long),
        ("before", _long),
        ("after", _long),
        ("threads", _long),
    )


class Padding(NamedTuple):
    """By what a feature map gets smaller, and how many channels of zeros stand before and after its own."""

    stride: int
    before: int
    after: int


def fits(x: Tensor) -> bool:
    """Whether the kernels can do this: a dense channels_last batch in two axes on the CPU."""
    return (
        not is_traced()
        and type(x) is Tensor
        and x.ndim == 4
        and x.device.type == "cpu"
        and x.dtype in DTYPES
        and x.numel() > 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and library() is not None
    )


def subsample_and_pad(x: Tensor, stride: int, before: int, after: int) -> Tensor:
    """(B, C, H, W) -> (B, before + C + after, H/stride, W/stride), sizes rounded up."""
    return _Subsampling.apply(x, Padding(stride, before, after))


def _task(source: Tensor, target: Tensor, large: torch.Size, padding: Padding) -> SubsampleTask:
    batch, channels, height, width = large
    stride, size = padding.stride, source.element_size()
    return SubsampleTask(
        source=at(source),
        target=at(target),
        images=batch,
        height=height,
        width=width,
        small_height=-(-height // stride),
        small_width=-(-width // stride),
        stride=stride,
        bytes=channels * size,
        before=padding.before * size,
        after=padding.after * size,
        threads=torch.get_num_threads(),
    )


class _Subsampling(torch.autograd.Function):
    """The kernels as a node of torch's graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: Padding) -> Tensor:  # noqa: ANN401
        stride, before, after = padding
        batch, channels, height, width = x.shape
        shape = (batch, before + channels + after, -(-height // stride), -(-width // stride))
        y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        called("plusx_subsample_forward", _task(x, y, x.shape, padding))
        ctx.shape, ctx.padding = x.shape, padding
        return y

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - one output has one gradient
        ctx: Any,  # noqa: ANN401
        gradient: Tensor,
    ) -> tuple[Tensor, None]:
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        x_gradient = torch.empty(
            ctx.shape, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last
        )
        called("plusx_subsample_backward", _task(gradient, x_gradient, ctx.shape, ctx.padding))
        return x_gradient, None
