"""Batch normalization in training, with a residual sum and a ReLU, in one pass each way; for channels_last on the CPU.

Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1. Kept for the gradient: the input, two numbers a channel, and one
bit an element where something is added before the ReLU.

Shape letters: B batch, C channels, H height, W width.
"""

import ctypes
import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from plusx.kernels.library import library

DTYPES = {torch.bfloat16: 0, torch.float32: 1}
UNIT_BYTES = 32768
"""What is looked at twice at once: it fits in the first cache."""
LANES = 16

_pointer, _long, _double, _int = ctypes.c_void_p, ctypes.c_long, ctypes.c_double, ctypes.c_int


class NormTask(ctypes.Structure):
    """What sources/norm.cpp calls a Task."""

    _fields_ = (
        ("x", _pointer),
        ("added", _pointer),
        ("gradient", _pointer),
        ("y", _pointer),
        ("x_gradient", _pointer),
        ("added_gradient", _pointer),
        ("signs", _pointer),
        ("weight", _pointer),
        ("bias", _pointer),
        ("mean", _pointer),
        ("inverse", _pointer),
        ("running_mean", _pointer),
        ("running_variance", _pointer),
        ("weight_gradient", _pointer),
        ("bias_gradient", _pointer),
        ("rows", _long),
        ("channels", _long),
        ("unit", _long),
        ("threads", _long),
        ("epsilon", _double),
        ("momentum", _double),
        ("is_float", _int),
        ("activation", _int),
        ("order", _int),
    )


def at(tensor: Tensor | None) -> int | None:
    """Return where a tensor's numbers are."""
    return None if tensor is None else tensor.data_ptr()


def called(name: str, task: ctypes.Structure) -> None:
    """Run a kernel."""
    getattr(library(), name)(ctypes.byref(task))


def fits(norm: nn.Module, x: Tensor, added: Tensor | None) -> TypeGuard[nn.BatchNorm2d]:
    """Whether the kernels can do this: a training batch norm of a dense channels_last batch in two axes on the CPU."""
    return (
        type(x) is Tensor
        and x.ndim == 4
        and x.is_contiguous(memory_format=torch.channels_last)
        and ready(norm, x, x.shape, added)
    )


def ready(norm: nn.Module, x: Tensor, shape: Sequence[int], added: Tensor | None) -> TypeGuard[nn.BatchNorm2d]:
    """Whether the kernels can norm a tensor of some shape, of x's precision and device, and add another one."""
    return (
        type(norm) is nn.BatchNorm2d
        and norm.training
        and x.device.type == "cpu"
        and x.dtype in DTYPES
        and shape[1] == norm.num_features
        and math.prod(shape) > shape[1]
        and (not norm.affine or norm.weight.dtype is torch.float32)
        and (norm.running_mean is None or norm.running_mean.dtype is torch.float32)
        and (added is None or (type(added) is Tensor and added.dtype is x.dtype and added.shape == shape))
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        and library() is not None
    )


def moving(norm: nn.BatchNorm2d) -> tuple[Tensor | None, Tensor | None, float]:
    """Count a batch, as torch does, and return the running statistics to be moved and by which part."""
    momentum = norm.momentum
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if momentum is None:
            momentum = 1.0 / float(norm.num_batches_tracked)
    return norm.running_mean, norm.running_var, momentum or 0.0


def normalize(
    norm: nn.BatchNorm2d, x: Tensor, added: Tensor | None = None, *, activation: bool = False, add_last: bool = False
) -> Tensor:
    """Return relu(norm(x) + added), or relu(norm(x)) + added; the running statistics move as torch moves them.

    Args:
        norm: In training mode.
        x: (B, C, H, W), as `fits` wants it.
        added: As x, if there is something to add.
        activation: Whether there is a ReLU.
        add_last: Whether `added` comes after it.

    Returns:
        (B, C, H, W), of x's precision.
    """
    mean, variance, momentum = moving(norm)
    return _Normalization.apply(
        x, added, norm.weight, norm.bias, (mean, variance), norm.eps, momentum, activation, add_last
    )


class _Normalization(torch.autograd.Function):
    """The kernels as a node of torch's graph."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        added: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        running: tuple[Tensor | None, Tensor | None],
        epsilon: float,
        momentum: float,
        activation: bool,
        add_last: bool,
    ) -> Tensor:
        channels = x.shape[1]
        rows = x.numel() // channels
        added = None if added is None else added.contiguous(memory_format=torch.channels_last)
        y, statistics = torch.empty_like(x), x.new_empty((2, channels), dtype=torch.float32)
        signs = None
        if added is not None and activation and not add_last:
            signs = x.new_empty((rows, -(-channels // LANES)), dtype=torch.int16)
        task = NormTask(
            x=at(x),
            added=at(added),
            y=at(y),
            signs=at(signs),
            weight=at(weight),
            bias=at(bias),
            mean=statistics.data_ptr(),
            inverse=statistics.data_ptr() + 4 * channels,
            running_mean=at(running[0]),
            running_variance=at(running[1]),
            rows=rows,
            channels=channels,
            unit=max(1, UNIT_BYTES // (x.element_size() * channels)),
            threads=torch.get_num_threads(),
            epsilon=epsilon,
            momentum=momentum,
            is_float=DTYPES[x.dtype],
            activation=activation,
            order=add_last,
        )
        called("plusx_norm_forward", task)
        ctx.save_for_backward(x, weight, bias, statistics, signs)
        ctx.task = task
        return y

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - one output has one gradient
        ctx: Any,  # noqa: ANN401
        gradient: Tensor,
    ) -> tuple[Tensor | None, ...]:
        x, weight, bias, statistics, signs = ctx.saved_tensors
        forward: NormTask = ctx.task
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        x_gradient = torch.empty_like(x)
        added_gradient = torch.empty_like(x) if signs is not None else None
        parameters = statistics.new_empty(statistics.shape)
        task = NormTask(
            x=at(x),
            gradient=at(gradient),
            x_gradient=at(x_gradient),
            added_gradient=at(added_gradient),
            signs=at(signs),
            weight=at(weight),
            bias=at(bias),
            mean=statistics.data_ptr(),
            inverse=statistics.data_ptr() + 4 * forward.channels,
            weight_gradient=parameters.data_ptr(),
            bias_gradient=parameters.data_ptr() + 4 * forward.channels,
            rows=forward.rows,
            channels=forward.channels,
            unit=forward.unit,
            threads=torch.get_num_threads(),
            is_float=forward.is_float,
            activation=forward.activation,
        )
        called("plusx_norm_backward", task)
        needs = ctx.needs_input_grad
        around = (added_gradient if added_gradient is not None else gradient) if needs[1] else None
        of_weight = parameters[0] if needs[2] else None
        of_bias = parameters[1] if needs[3] else None
        return x_gradient, around, of_weight, of_bias, None, None, None, None, None
