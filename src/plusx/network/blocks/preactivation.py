"""Pre-activation blocks: norm and activation come before each convolution, and nothing after the sum.

He et al. 2016, "Identity mappings in deep residual networks", arXiv:1603.05027, figure 4e and equation 5; with dropout
between the convolutions: Zagoruyko and Komodakis 2016, "Wide residual networks", arXiv:1605.07146, figure 1d.

Shape letters: B batch, C channels, * spatial axes.
"""

from torch import Tensor, nn

from plusx.network import layers
from plusx.network.blocks.block import Block
from plusx.network.normalized import normalized
from plusx.network.parts import Parts


class Finish(nn.Module):
    """The norm and activation that the last sum still lacks (arXiv:1603.05027, appendix)."""

    def __init__(self, channels: int, parts: Parts) -> None:
        super().__init__()
        self.norm = parts.norm(channels)
        self.activation = layers.activation_after(self.norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *) -> (B, C, *)."""
        return normalized(self.norm, x, activation=self.activation)


class PreActivation(Block):
    """A block that begins with a norm and an activation, so that the last one leaves them to the network's finish."""

    @classmethod
    def finish(cls, channels: int, parts: Parts) -> nn.Module:
        """Return the last norm and activation."""
        return Finish(channels, parts)


class PreActivationSum(PreActivation):
    """A pre-activation block with a way around its branch."""

    shortcut: nn.Module | None

    def around(self, x: Tensor, activated: Tensor, y: Tensor) -> Tensor:
        """Add the shortcut to the branch `y`.

        A shortcut that learns sees the activated input, as the convolutions do; one that only passes on sees the input
        itself, so that nothing stands in its way (arXiv:1603.05027, section 4.1, and the authors' code).
        """
        if self.shortcut is None:
            return y
        learns = next(self.shortcut.parameters(), None) is not None
        y += self.shortcut(activated if learns else x)
        return y


class PreActivationBasic(PreActivationSum):
    """Norm, activation, 3x3, norm, activation, 3x3 (He et al. 2016, arXiv:1603.05027, figure 4e and equation 5).

    Args:
        channels_in: Channels that come in.
        width: Channels of both convolutions, and of what goes out.
        stride: The first convolution's stride.
        parts: The network's parts.
    """

    def __init__(self, channels_in: int, width: int, stride: int, parts: Parts) -> None:
        super().__init__(channels_in, width, stride, parts)
        self.channels_out = width
        self.norm1 = parts.norm(channels_in)
        self.activation1 = layers.activation_after(self.norm1)
        self.conv1 = parts.conv(channels_in, width, 3, stride=stride)
        self.norm2 = parts.norm(width)
        self.activation = parts.activation()
        self.dropout = parts.drop()
        self.conv2 = parts.conv(width, width, 3)
        self.attention = parts.attention(width)
        self.branch_end = parts.branch_end()
        self.shortcut = parts.shortcut(channels_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, width, */stride)."""
        activated = normalized(self.norm1, x, activation=self.activation1)
        y = normalized(self.norm2, activated, conv=self.conv1, activation=self.activation)
        y = self.conv2(self.dropout(y))
        return self.around(x, activated, self.branch_end(self.attention(y)))


class PreActivationBottleneck(PreActivationSum):
    """Norm, activation, 1x1, norm, activation, 3x3, norm, activation, 1x1 up to four times the width.

    He et al. 2016, arXiv:1603.05027, figure 4e, with the layers of arXiv:1512.03385, figure 5, right. The stride sits
    on the 3x3, not on the first 1x1 as in the authors' code.

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
        self.norm1 = parts.norm(channels_in)
        self.activation1 = layers.activation_after(self.norm1)
        self.conv1 = parts.conv(channels_in, inner, 1)
        self.norm2 = parts.norm(inner)
        self.conv2 = parts.conv(inner, inner, 3, stride=stride, groups=parts.groups)
        self.norm3 = parts.norm(inner)
        self.activation = parts.activation()
        self.dropout = parts.drop()
        self.conv3 = parts.conv(inner, self.channels_out, 1)
        self.attention = parts.attention(self.channels_out)
        self.branch_end = parts.branch_end()
        self.shortcut = parts.shortcut(channels_in, self.channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, 4 width, */stride)."""
        activated = normalized(self.norm1, x, activation=self.activation1)
        y = normalized(self.norm2, activated, conv=self.conv1, activation=self.activation)
        y = normalized(self.norm3, y, conv=self.conv2, activation=self.activation)
        y = self.conv3(self.dropout(y))
        return self.around(x, activated, self.branch_end(self.attention(y)))
