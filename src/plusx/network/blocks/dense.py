"""Dense blocks: every layer sees all that the layers before it in its stage have made.

Huang et al. 2016, "Densely connected convolutional networks", arXiv:1608.06993, section 3. A stage's width is its
growth rate k: the channels that each layer adds. Where a residual block sums, a dense one concatenates.

Shape letters: B batch, C channels, * spatial axes.
"""

import torch
from torch import Tensor

from plusx.network import layers
from plusx.network.blocks.preactivation import PreActivation
from plusx.network.normalized import normalized
from plusx.network.parts import Parts


class DenseBasic(PreActivation):
    """Norm, activation, 3x3 to `width` new channels (arXiv:1608.06993, section 3, "Composite function").

    Args:
        channels_in: Channels that come in; they go out, too.
        width: The growth rate: channels that are added.
        stride: 1; a transition halves the size.
        parts: The network's parts.
    """

    sums = False

    def __init__(self, channels_in: int, width: int, stride: int, parts: Parts) -> None:
        super().__init__(channels_in, width, stride, parts)
        self.channels_out = channels_in + width
        self.norm1 = parts.norm(channels_in)
        self.activation1 = layers.activation_after(self.norm1)
        self.conv1 = parts.conv(channels_in, width, 3)
        self.dropout = parts.drop()

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, channels_in + width, *)."""
        new: Tensor = self.conv1(normalized(self.norm1, x, activation=self.activation1))
        return torch.cat([x, self.dropout(new)], 1)


class DenseBottleneck(PreActivation):
    """Norm, activation, 1x1 to 4 width, norm, activation, 3x3 to `width` new channels (arXiv:1608.06993, section 3).

    Args:
        channels_in: Channels that come in; they go out, too.
        width: The growth rate: channels that are added.
        stride: 1; a transition halves the size.
        parts: The network's parts.
    """

    sums = False
    expansion = 4

    def __init__(self, channels_in: int, width: int, stride: int, parts: Parts) -> None:
        super().__init__(channels_in, width, stride, parts)
        self.channels_out = channels_in + width
        inner = self.expansion * width
        self.norm1 = parts.norm(channels_in)
        self.activation1 = layers.activation_after(self.norm1)
        self.conv1 = parts.conv(channels_in, inner, 1)
        self.norm2 = parts.norm(inner)
        self.activation = parts.activation()
        self.conv2 = parts.conv(inner, width, 3)
        self.dropout = parts.drop()

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, channels_in + width, *)."""
        new = normalized(self.norm1, x, activation=self.activation1)
        new = self.conv2(normalized(self.norm2, new, conv=self.conv1, activation=self.activation))
        return torch.cat([x, self.dropout(new)], 1)
