"""Batch normalization in training, with a residual sum and a ReLU, in one pass each way; for channels_last on the CPU.

Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1. Kept for the gradient: the input, two numbers a channel, and one
bit an element where something is added before the ReLU.

Shape letters: B batch, C channels, H height, W width.
"""

import ctypes
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from plusx.kernels.library import is_traced, library

DTYPES = {torch.bfloat16: 0, torch.float32: 1}
UNIT_BYTES = 32768
"""What is looked at twice at once: it fits in the first cache."""
LANES = 16

_pointer, _long, _double, _int = ctypes.c_void_p, ctypes.c_long, ctypes.c_double, ctypes.c_int


class NormTask(ctypes.Structure):
    """What sources/norm.h calls a Task."""

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
    """Run a kernel.

    Raises:
        MemoryError: There is none for what it works in; nothing has been computed.
    """
    if getattr(library(), name)(ctypes.byref(task)):
        raise MemoryError(f"the memory is not enough for the kernel {name}")


def fits(norm: nn.Module, x: Tensor, added: Tensor | None) -> TypeGuard[nn.BatchNorm2d]:
    """Whether the kernels can do this: a training batch norm of a dense channels_last batch in two axes on the CPU."""
    return (
        not is_traced()
        and type(x) is Tensor
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
        and all(map(plain, (norm.weight, norm.bias, norm.running_mean, norm.running_var)))
        and (added is None or (type(added) is Tensor and added.dtype is x.dtype and added.shape == shape))
        and (added is None or added.device == x.device)
        and library() is not None
    )


def plain(numbers: Tensor | None) -> bool:
    """Whether the kernels can read these numbers, if they are there."""
    if numbers is None:
        return True
    return numbers.device.type == "cpu" and numbers.dtype is torch.float32 and numbers.is_contiguous()


class Settings(NamedTuple):
    """What of a norm and what follows it is not differentiated."""

    running_mean: Tensor | None
    running_variance: Tensor | None
    momentum: float
    epsilon: float
    activation: bool
    add_last: bool


def counted(norm: nn.BatchNorm2d, *, activation: bool, add_last: bool) -> Settings:
    """Count a batch, as torch does, and return how the norm is to be computed and its running statistics moved."""
    momentum, running = (
        norm.momentum,
        (norm.running_mean, norm.running_var) if norm.track_running_stats else (None, None),
    )
    if norm.num_batches_tracked is not None and norm.track_running_stats:
        norm.num_batches_tracked.add_(1)
        if momentum is None:
            momentum = 1.0 / float(norm.num_batches_tracked)
    return Settings(*running, momentum or 0.0, norm.eps, activation, add_last)


class Kept(NamedTuple):
    """What the gradients need of a norm: its input, its own numbers, those of the batch, which sums passed the ReLU."""

    x: Tensor
    weight: Tensor | None
    bias: Tensor | None
    statistics: Tensor
    signs: Tensor | None

    def task(self, *, activation: bool, **more: float | None) -> NormTask:
        """Return what the kernels are to do with these, and what each way needs besides."""
        channels = self.x.shape[1]
        return NormTask(
            x=at(self.x),
            signs=at(self.signs),
            weight=at(self.weight),
            bias=at(self.bias),
            mean=self.statistics.data_ptr(),
            inverse=self.statistics.data_ptr() + 4 * channels,
            rows=self.x.numel() // channels,
            channels=channels,
            unit=max(1, UNIT_BYTES // (self.x.element_size() * channels)),
            threads=torch.get_num_threads(),
            is_float=DTYPES[self.x.dtype],
            activation=activation,
            **more,
        )


def forward_task(
    x: Tensor, added: Tensor | None, weight: Tensor | None, bias: Tensor | None, settings: Settings
) -> tuple[NormTask, Tensor, Kept]:
    """Return what the kernels are to do with x (B, C, H, W), where the result will be, and what is to be kept."""
    channels = x.shape[1]
    y, statistics = torch.empty_like(x), x.new_empty((2, channels), dtype=torch.float32)
    signs = None
    if added is not None and settings.activation and not settings.add_last:
        signs = x.new_empty((x.numel() // channels, -(-channels // LANES)), dtype=torch.int16)
    kept = Kept(x, weight, bias, statistics, signs)
    task = kept.task(
        added=at(added),
        y=at(y),
        running_mean=at(settings.running_mean),
        running_variance=at(settings.running_variance),
        epsilon=settings.epsilon,
        momentum=settings.momentum,
        activation=settings.activation,
        order=settings.add_last,
    )
    return task, y, kept


def backward_task(kept: Kept, gradient: Tensor, *, activation: bool) -> tuple[NormTask, Tensor, Tensor]:
    """Return the same for the gradients.

    Returns:
        The task; the gradient of what was added, (B, C, H, W), which is the one that came in where nothing changes it;
        those of weight and bias, (2, C).
    """
    around = gradient if kept.signs is None else torch.empty_like(kept.x)
    parameters = torch.empty_like(kept.statistics)
    task = kept.task(
        gradient=at(gradient),
        added_gradient=None if kept.signs is None else at(around),
        weight_gradient=parameters.data_ptr(),
        bias_gradient=parameters.data_ptr() + parameters[0].nbytes,
        activation=activation,
    )
    return task, around, parameters


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
    settings = counted(norm, activation=activation, add_last=add_last)
    return _Normalization.apply(x, added, norm.weight, norm.bias, settings)


class _Normalization(torch.autograd.Function):
    """The kernels as a node of torch's graph."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        added: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        settings: Settings,
    ) -> Tensor:
        added = None if added is None else added.contiguous(memory_format=torch.channels_last)
        task, y, kept = forward_task(x, added, weight, bias, settings)
        called("plusx_norm_forward", task)
        ctx.save_for_backward(*kept)
        ctx.activation = settings.activation
        return y

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - one output has one gradient
        ctx: Any,  # noqa: ANN401
        gradient: Tensor,
    ) -> tuple[Tensor | None, ...]:
        kept, needs = Kept(*ctx.saved_tensors), ctx.needs_input_grad
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        task, around, parameters = backward_task(kept, gradient, activation=ctx.activation)
        x_gradient = torch.empty_like(kept.x)
        task.x_gradient = at(x_gradient)
        called("plusx_norm_backward", task)
        of_weight, of_bias = (parameters[i] if needs[2 + i] else None for i in range(2))
        return x_gradient, around if needs[1] else None, of_weight, of_bias, None
