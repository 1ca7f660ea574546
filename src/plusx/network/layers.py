"""The layers that networks are made of; the only file that names torch's own.

Shape letters: H height, W width.
"""

from torch import nn

Convolution = nn.Conv2d
Norm = nn.BatchNorm2d
Linear = nn.Linear
Pool = nn.MaxPool2d
Activation = nn.ReLU


def conv(channels_in: int, channels_out: int, size: int, stride: int = 1) -> Convolution:
    """Return a convolution whose padding keeps H and W at stride 1; no bias, because a norm follows.

    Args:
        channels_in: Channels that come in.
        channels_out: Channels that go out.
        size: Side of the kernel, an odd number.
        stride: By what H and W are divided, rounded up.
    """
    return Convolution(channels_in, channels_out, size, stride=stride, padding=size // 2, bias=False)


def norm(channels: int) -> Norm:
    """Return batch normalization (Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1)."""
    return Norm(channels)


def activation() -> Activation:
    """Return max(x, 0), computed in place: neither a norm nor a sum before it needs its output for the gradient."""
    return Activation(inplace=True)


def max_pool(size: int, stride: int) -> Pool:
    """Return the maximum over windows of `size` by `size`, one every `stride` pixels, padded as `conv` is."""
    return Pool(size, stride=stride, padding=size // 2)


def subsample(stride: int) -> nn.Module:
    """Return what keeps every `stride`-th pixel of every `stride`-th row.

    It is an average over one pixel: a slice, which gives the same numbers, loses the channels_last layout on its way
    back, and all that comes before it is then slower (a ResNet-20 training step on two cores, bfloat16: by a tenth).
    """
    return nn.AvgPool2d(1, stride=stride) if stride > 1 else identity()


def linear(features_in: int, features_out: int) -> Linear:
    """Return a fully connected layer with a bias."""
    return Linear(features_in, features_out)


def identity() -> nn.Identity:
    """Return the layer that gives back its input itself, not a copy."""
    return nn.Identity()
