"""The residual blocks of the first paper: y = relu(F(x) + x).

He et al. 2015, "Deep residual learning for image recognition", arXiv:1512.03385, equation 1 and figure 5.

Shape letters: B batch, C channels, H height, W width.
"""

from torch import Tensor, nn

from plusx.network import layers
from plusx.network.shortcuts import Shortcut


class Basic(nn.Module):
    """Two 3x3 convolutions (He et al. 2015, arXiv:1512.03385, figure 5, left).

    Args:
        channels_in: Channels that come in.
        width: Channels of both convolutions, and of what goes out.
        stride: The first convolution's stride.
        shortcut: An entry of SHORTCUTS, which makes the way around the convolutions.
    """

    expansion = 1

    def __init__(self, channels_in: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = layers.conv(channels_in, width, 3, stride=stride)
        self.norm1 = layers.norm(width)
        self.conv2 = layers.conv(width, width, 3)
        self.norm2 = layers.norm(width)
        self.activation = layers.activation()
        self.shortcut = shortcut(channels_in, width, stride)

    @property
    def last_norm(self) -> layers.Norm:
        """The norm just before the sum: with a weight of zero the block is its shortcut."""
        return self.norm2

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) -> (B, width, H/stride, W/stride)."""
        y: Tensor = self.activation(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.shortcut is not None:
            y += self.shortcut(x)
        return self.activation(y)


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up to four times the width (He et al. 2015, arXiv:1512.03385, figure 5, right).

    The stride sits on the 3x3, as in torchvision ("ResNet v1.5"), not on the first 1x1 as in the paper: the 1x1 would
    otherwise leave three of four pixels unread.

    Args:
        channels_in: Channels that come in.
        width: Channels of the first two convolutions; 4 width go out.
        stride: The 3x3 convolution's stride.
        shortcut: An entry of SHORTCUTS, which makes the way around the convolutions.
    """

    expansion = 4

    def __init__(self, channels_in: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        channels_out = self.expansion * width
        self.conv1 = layers.conv(channels_in, width, 1)
        self.norm1 = layers.norm(width)
        self.conv2 = layers.conv(width, width, 3, stride=stride)
        self.norm2 = layers.norm(width)
        self.conv3 = layers.conv(width, channels_out, 1)
        self.norm3 = layers.norm(channels_out)
        self.activation = layers.activation()
        self.shortcut = shortcut(channels_in, channels_out, stride)

    @property
    def last_norm(self) -> layers.Norm:
        """The norm just before the sum: with a weight of zero the block is its shortcut."""
        return self.norm3

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) -> (B, 4 width, H/stride, W/stride)."""
        y: Tensor = self.activation(self.norm1(self.conv1(x)))
        y = self.activation(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        if self.shortcut is not None:
            y += self.shortcut(x)
        return self.activation(y)
