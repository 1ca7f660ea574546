"""Attention: reweights the channels of a branch before the sum.

Hu et al. 2017, "Squeeze-and-excitation networks", arXiv:1709.01507; Wang et al. 2019, "ECA-Net", arXiv:1910.03151.

Shape letters: B batch, C channels, * spatial axes.
"""

import math

import torch
from torch import Tensor, nn

from plusx.network import layers
from plusx.network.layers import Axes
from plusx.network.parts import Attention, Parts

NARROWEST = 8


class SqueezeExcite(nn.Module):
    """x times sigmoid(excite(relu(squeeze(mean of x)))) (arXiv:1709.01507, section 3, equations 2 to 4).

    The two fully connected layers are 1x1 convolutions on the mean, C -> C / reduction -> C. The narrow one has at
    least 8 channels, and a multiple of 8 of them, as in timm; the paper's ImageNet networks meet that of themselves.

    Args:
        channels: C.
        parts: The network's parts, with the reduction.
    """

    def __init__(self, channels: int, parts: Parts) -> None:
        super().__init__()
        narrow = max(NARROWEST, int(channels / parts.attention_reduction + NARROWEST / 2) // NARROWEST * NARROWEST)
        self.squeeze = parts.axes.conv(channels, narrow, 1, bias=True)
        self.activation = layers.activation()
        self.excite = parts.axes.conv(narrow, channels, 1, bias=True)

    @property
    def words(self) -> str:
        """What a layer table and a diagram say of it: the number is its narrow channels."""
        return f"squeeze-excite, {self.squeeze.out_channels}"

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *) -> (B, C, *)."""
        mean = x.mean(tuple(range(2, x.ndim)), keepdim=True)
        return x * self.excite(self.activation(self.squeeze(mean))).sigmoid()


class EfficientChannelAttention(nn.Module):
    """x times sigmoid(conv(mean of x)), a convolution along the channels (arXiv:1910.03151, section 3.2).

    The kernel's size is the odd number next to (log2(C) + 1) / 2 (equation 12), at least 3.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        size = int(abs(math.log2(channels) + 1) / 2)
        self.conv = Axes(1).conv(1, 1, max(3, size + (size + 1) % 2))

    @property
    def words(self) -> str:
        """What a layer table and a diagram say of it: the number is its kernel's size."""
        return f"channel attention, {self.conv.kernel_size[0]}"

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *) -> (B, C, *)."""
        mean = x.flatten(2).mean(-1)
        weights: Tensor = self.conv(mean[:, None]).sigmoid()
        return x * torch.reshape(weights, (*x.shape[:2], *(1,) * (x.ndim - 2)))


def none(channels: int, parts: Parts) -> nn.Module:  # noqa: ARG001 - the family's signature
    """Return the identity: no attention."""
    return layers.identity()


def eca(channels: int, parts: Parts) -> nn.Module:  # noqa: ARG001 - the family's signature
    """Return efficient channel attention."""
    return EfficientChannelAttention(channels)


ATTENTION: dict[str, Attention] = {
    "none": none,
    "squeeze_excite": SqueezeExcite,
    "eca": eca,
}
"""From (channels, parts) to a module that keeps the shape; layer tables and diagrams call it by its `words`."""
