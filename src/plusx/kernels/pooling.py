"""The maximum over 2x2 pixels, in one pass each way; for channels_last on the CPU.

Shape letters: B batch, C channels, H height, W width.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from plusx.kernels import subsampling
from plusx.kernels.norm import DTYPES, at, called

_pointer, _long = ctypes.c_void_p, ctypes.c_long


class PoolTask(ctypes.Structure):
    """What sources/pooling.cpp calls a PoolTask."""

    _fields_ = (
        ("source", _pointer),
        ("target", _pointer),
        ("places", _pointer),
        ("images", _long),
        ("height", _long),
        ("width", _long),
        ("channels", _long),
        ("is_float", _long),
        ("threads", _long),
    )


def fits(x: Tensor) -> bool:
    """Whether the kernels can do this: a dense channels_last batch of 2x2 pixels or more on the CPU."""
    return subsampling.fits(x) and min(x.shape[2:]) >= 2


def is_of_four(pool: nn.Module) -> bool:
    """Whether a module is the maximum over 2x2 pixels and nothing else."""
    return (
        type(pool) is nn.MaxPool2d
        and (pool.kernel_size, pool.stride, pool.padding, pool.dilation) == (2, 2, 0, 1)
        and not (pool.ceil_mode or pool.return_indices)
    )


def largest_of_four(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H/2, W/2), an odd last row or column left out."""
    return _Pooling.apply(x)


def _task(source: Tensor, target: Tensor, places: Tensor, large: torch.Size) -> PoolTask:
    batch, channels, height, width = large
    return PoolTask(
        source=at(source),
        target=at(target),
        places=at(places),
        images=batch,
        height=height,
        width=width,
        channels=channels,
        is_float=DTYPES[source.dtype],
        threads=torch.get_num_threads(),
    )


class _Pooling(torch.autograd.Function):
    """The kernels as a node of torch's graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        batch, channels, height, width = x.shape
        shape = (batch, channels, height // 2, width // 2)
        y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        places = torch.empty(shape, dtype=torch.uint8, device=x.device, memory_format=torch.channels_last)
        called("plusx_pool_forward", _task(x, y, places, x.shape))
        ctx.shape = x.shape
        ctx.save_for_backward(places)
        return y

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - one output has one gradient
        ctx: Any,  # noqa: ANN401
        gradient: Tensor,
    ) -> Tensor:
        (places,) = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        x_gradient = torch.empty(
            ctx.shape, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last
        )
        called("plusx_pool_backward", _task(gradient, x_gradient, places, ctx.shape))
        return x_gradient
