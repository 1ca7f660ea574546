"""The residual blocks of the first paper: y = relu(F(x) + x).

He et al. 2015, "Deep residual learning for image recognition", arXiv:1512.03385, equation 1 and figure 5.
Groups: Xie et al. 2016, "Aggregated residual transformations" (ResNeXt), arXiv:1611.05431, figure 3c. Wider inside:
Zagoruyko and Komodakis 2016, arXiv:1605.07146.

Shape letters: B batch, C channels, * spatial axes.
"""

from torch import Tensor, nn

from plusx.network.blocks.block import Branched
from plusx.network.normalized import normalized, normalized_beside
from plusx.network.parts import Parts


class Basic(Branched):
    """Two 3x3 convolutions (He et al. 2015, arXiv:1512.03385, figure 5, left).

    Args:
        channels_in: Channels that come in.
        width: Channels of both convolutions, and of what goes out.
        stride: The first convolution's stride.
        parts: The network's parts.
    """

    def __init__(self, channels_in: int, width: int, stride: int, parts: Parts) -> None:
        super().__init__(channels_in, width, stride, parts)
        self.channels_out = width
        self.conv1 = parts.conv(channels_in, width, 3, stride=stride)
        self.norm1 = parts.norm(width)
        self.dropout = parts.drop()
        self.conv2 = parts.conv(width, width, 3)
        self.norm2 = parts.norm(width)
        self.attention = parts.attention(width)
        self.branch_end = parts.branch_end()
        self.activation = parts.activation()
        self.shortcut = parts.shortcut(channels_in, width, stride)

    @property
    def last_norm(self) -> nn.Module:
        """The norm just before the sum."""
        return self.norm2

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, width, */stride)."""
        y, x = normalized_beside(self.norm1, x, conv=self.conv1, activation=self.activation)
        return self.summed(self.conv2, self.norm2, self.dropout(y), x)


class Bottleneck(Branched):
    """1x1 down, 3x3, 1x1 up to four times the width (He et al. 2015, arXiv:1512.03385, figure 5, right).

    The stride sits on the 3x3, as in torchvision ("ResNet v1.5"), not on the first 1x1 as in the paper: the 1x1 would
    otherwise leave three of four pixels unread. The 3x3 may be wider than the stage, and grouped.

    Args:
        channels_in: Channels that come in.
        width: The stage's width; 4 width channels go out.
        stride: The 3x3 convolution's stride.
        parts: The network's parts.
    """

    expansion = 4

    def __init__(self, channels_in: int, width: int, stride: int, parts: Parts) -> None:
        super().__init__(channels_in, width, stride, parts)
        self.channels_out = self.expansion * width
        inner = int(width * parts.inner_widths)
        self.conv1 = parts.conv(channels_in, inner, 1)
        self.norm1 = parts.norm(inner)
        self.conv2 = parts.conv(inner, inner, 3, stride=stride, groups=parts.groups)
        self.norm2 = parts.norm(inner)
        self.dropout = parts.drop()
        self.conv3 = parts.conv(inner, self.channels_out, 1)
        self.norm3 = parts.norm(self.channels_out)
        self.attention = parts.attention(self.channels_out)
        self.branch_end = parts.branch_end()
        self.activation = parts.activation()
        self.shortcut = parts.shortcut(channels_in, self.channels_out, stride)

    @property
    def last_norm(self) -> nn.Module:
        """The norm just before the sum."""
        return self.norm3

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, 4 width, */stride)."""
        y, x = normalized_beside(self.norm1, x, conv=self.conv1, activation=self.activation)
        y = self.dropout(normalized(self.norm2, y, conv=self.conv2, activation=self.activation))
        return self.summed(self.conv3, self.norm3, y, x)
