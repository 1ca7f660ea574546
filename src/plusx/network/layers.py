"""The layers that networks are made of, in one, two or three spatial axes; the only file that names torch's own.

Shape letters: B batch, C channels, * spatial axes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
Linear = nn.Linear
MaxPool = nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d
AveragePool = nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d
Pool = MaxPool | AveragePool
Activation = nn.ReLU

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE_POOLS = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


@dataclass(frozen=True)
class Axes:
    """The layers of a network whose feature maps have `dims` spatial axes: 1 for sound, 2 for images, 3 for volumes."""

    dims: int = 2

    def conv(
        self, channels_in: int, channels_out: int, size: int, stride: int = 1, *, groups: int = 1, bias: bool = False
    ) -> Convolution:
        """Return a convolution whose padding keeps the spatial size at stride 1.

        Args:
            channels_in: Channels that come in.
            channels_out: Channels that go out.
            size: Side of the kernel, an odd number.
            stride: By what each side is divided, rounded up.
            groups: Into how many parts the channels are cut, each of which sees only itself.
            bias: Whether a number a channel is added; not where a norm follows, which adds one.
        """
        kind = CONVOLUTIONS[self.dims]
        return kind(channels_in, channels_out, size, stride=stride, padding=size // 2, groups=groups, bias=bias)

    def batch_norm(self, channels: int) -> Norm:
        """Return batch normalization (Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1)."""
        return BATCH_NORMS[self.dims](channels)

    def max_pool(self, size: int, stride: int, padding: int = 0) -> MaxPool:
        """Return the maximum over windows of `size` a side, one every `stride` pixels."""
        return MAX_POOLS[self.dims](size, stride=stride, padding=padding)

    def average_pool(self, stride: int) -> nn.Module:
        """Return the mean over windows of `stride` a side; at the far edges over the pixels that there are."""
        if stride == 1:
            return identity()
        return AVERAGE_POOLS[self.dims](stride, stride=stride, ceil_mode=True, count_include_pad=False)

    def halve(self) -> AveragePool:
        """Return the mean over windows of two a side; an odd row at the far edge is left out."""
        return AVERAGE_POOLS[self.dims](2, stride=2)

    def subsample(self, stride: int) -> nn.Module:
        """Return what keeps every `stride`-th pixel of every `stride`-th row.

        It is an average over one pixel: a slice, which gives the same numbers, loses the channels_last layout on its
        way back, and all that comes before it is then slower (a ResNet-20 training step on two cores, bfloat16: by a
        tenth).
        """
        return AVERAGE_POOLS[self.dims](1, stride=stride) if stride > 1 else identity()

    def channel_shape(self, channels: int) -> tuple[int, ...]:
        """Return the shape of one number a channel, to be multiplied with (B, C, *)."""
        return (1, channels, *(1,) * self.dims)


def dims_of(pool: Pool) -> int:
    """Return the number of spatial axes that a pool is for."""
    kinds = {**{kind: dims for dims, kind in MAX_POOLS.items()}, **{kind: dims for dims, kind in AVERAGE_POOLS.items()}}
    return kinds[type(pool)]


class StochasticDepth(nn.Module):
    """Leaves out a sample's whole branch at random in training; what stays is scaled so that its mean is kept.

    Huang et al. 2016, arXiv:1603.09382, section 3, leave a block out for the whole batch and scale when testing; here
    each sample is drawn for itself, and the scale stands in training, as torchvision and timm have it.

    Args:
        probability: Of being left out, 0 to below 1.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """(B, C, *) -> (B, C, *)."""
        if not self.training:
            return branch
        kept = 1 - self.probability
        mask = torch.empty(len(branch), *(1,) * (branch.ndim - 1), device=branch.device, dtype=branch.dtype)
        return branch * mask.bernoulli_(kept).div_(kept)

    def extra_repr(self) -> str:
        """Say the probability where the network is printed."""
        return f"probability={self.probability:.3g}"


class ScalarBias(nn.Module):
    """Adds one learned number, 0 at first, to all of a tensor (Zhang et al. 2019, arXiv:1901.09321, section 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(*) -> (*)."""
        return x + self.bias.to(x.dtype)  # autocast leaves sums as they are: float32 would spread from here


class ScalarMultiplier(nn.Module):
    """Multiplies all of a tensor by one learned number.

    Args:
        start: What it is at first.
    """

    def __init__(self, start: float) -> None:
        super().__init__()
        self.multiplier = nn.Parameter(torch.full((1,), start))

    def forward(self, x: Tensor) -> Tensor:
        """(*) -> (*)."""
        return x * self.multiplier.to(x.dtype)


def activation() -> Activation:
    """Return max(x, 0), computed in place: neither a norm nor a sum before it needs its output for the gradient."""
    return Activation(inplace=True)


def activation_after(norm: nn.Module) -> Activation:
    """Return the activation of what a norm gave, in place unless the norm hands over its input, which others need."""
    return Activation(inplace=not isinstance(norm, nn.Identity))


def dropout(probability: float) -> nn.Module:
    """Return what sets single numbers to zero at random in training (Srivastava et al. 2014, JMLR 15, section 4)."""
    return nn.Dropout(probability) if probability else identity()


def linear(features_in: int, features_out: int) -> Linear:
    """Return a fully connected layer with a bias."""
    return Linear(features_in, features_out)


def identity() -> nn.Identity:
    """Return the layer that gives back its input itself, not a copy."""
    return nn.Identity()


def is_identity(layer: nn.Module) -> bool:
    """Whether a layer gives back its input itself."""
    return type(layer) is nn.Identity
