"""Blocks of small networks: two that are trained fast on CIFAR-10, and a tutorial's one for MNIST.

D. Page 2018, "How to train your ResNet", parts 3 and 4; Jordan 2024, arXiv:2404.00498. All are after He et al. 2015,
arXiv:1512.03385, section 3.1.

Shape letters: B batch, C channels, * spatial axes.
"""

from torch import Tensor, nn

from plusx.network import layers
from plusx.network.blocks.block import Block, Branched
from plusx.network.blocks.original import Basic
from plusx.network.normalized import normalized, normalized_beside
from plusx.network.parts import Parts


class Fast(Basic):
    """y = x + relu(norm(conv(relu(norm(conv(x)))))): the second activation stands in the branch, none after the sum.

    The layers are those of Basic. D. Page 2018, "How to train your ResNet", part 4; after He et al. 2015,
    arXiv:1512.03385, section 3.1.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, width, */stride)."""
        y, x = normalized_beside(self.norm1, x, conv=self.conv1, activation=self.activation)
        y = self.dropout(y)
        around = None if self.shortcut is None else self.shortcut(x)
        if layers.is_identity(self.attention) and layers.is_identity(self.branch_end):
            last = self.activation
            return normalized(self.norm2, y, conv=self.conv2, added=around, activation=last, add_last=True)
        y = self.branch_end(self.activation(self.attention(normalized(self.norm2, y, conv=self.conv2))))
        # Not in place: the activation's gradient needs its output.
        return y if around is None else y + around


class Single(Branched):
    """y = relu(norm(conv(x)) + shortcut(x)): one convolution and a way around it.

    Jordan 2024, arXiv:2404.00498, section 4, whose networks have two convolutions a stage, the second with a way around
    it in the larger ones; after He et al. 2015, arXiv:1512.03385, equation 1 with a branch of one layer.

    Args:
        channels_in: Channels that come in.
        width: Channels that go out.
        stride: The convolution's stride.
        parts: The network's parts.
    """

    def __init__(self, channels_in: int, width: int, stride: int, parts: Parts) -> None:
        super().__init__(channels_in, width, stride, parts)
        self.channels_out = width
        self.dropout = parts.drop()
        self.conv = parts.conv(channels_in, width, 3, stride=stride)
        self.norm = parts.norm(width)
        self.attention = parts.attention(width)
        self.branch_end = parts.branch_end()
        self.activation = parts.activation()
        self.shortcut = parts.shortcut(channels_in, width, stride)

    @property
    def last_norm(self) -> nn.Module:
        """The norm just before the sum."""
        return self.norm

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, width, */stride)."""
        return self.summed(self.conv, self.norm, self.dropout(x), x)


class Tutorial(Block):
    """5x5 to 30 channels, relu, 3x3 back, relu; then relu of the sum: the block of `mnist_resnet`.

    After He et al. 2015, arXiv:1512.03385, section 3.1.

    Args:
        channels_in: Channels that come in.
        width: Channels that go out.
        stride: The first convolution's stride.
        parts: The network's parts.
    """

    inner = 30
    finish_stride = 2

    def __init__(self, channels_in: int, width: int, stride: int, parts: Parts) -> None:
        super().__init__(channels_in, width, stride, parts)
        self.channels_out = width
        self.conv1 = parts.conv(channels_in, self.inner, 5, stride=stride)
        self.norm1 = parts.norm(self.inner)
        self.dropout = parts.drop()
        self.conv2 = parts.conv(self.inner, width, 3)
        self.norm2 = parts.norm(width)
        self.attention = parts.attention(width)
        self.activation = parts.activation()
        self.branch_end = parts.branch_end()
        self.shortcut = parts.shortcut(channels_in, width, stride)

    @property
    def last_norm(self) -> nn.Module:
        """The last norm of the branch, where the network has norms."""
        return self.norm2

    @classmethod
    def finish(cls, channels: int, parts: Parts) -> nn.Module:  # noqa: ARG003 - the family's signature
        """Return the activation and the 2x2 max-pool before the head."""
        # Not in place: where the last stage has blocks, their own activation's gradient needs its output.
        return nn.Sequential(layers.Activation(), parts.axes.max_pool(2, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, width, */stride)."""
        y: Tensor = self.dropout(normalized(self.norm1, x, conv=self.conv1, activation=self.activation))
        y = self.branch_end(self.activation(self.attention(normalized(self.norm2, y, conv=self.conv2))))
        # Without a sum nothing is below zero. The sum is not in place: the activation's gradient needs its output.
        return y if self.shortcut is None else self.activation(y + self.shortcut(x))
