"""Transitions: how a stage begins, other than the first, which the stem prepares.

Huang et al. 2016, "Densely connected convolutional networks", arXiv:1608.06993, section 3 (dense).

Shape letters: B batch, C channels, * spatial axes.
"""

from torch import Tensor, nn

from plusx.network import layers
from plusx.network.normalized import normalized, pooled
from plusx.network.parts import Parts


class Transition(nn.Module):
    """What stands between two stages; together with the next block it halves the spatial size.

    Args:
        channels_in: Channels of the stage before.
        width: The width of the stage that begins.
        parts: The network's parts.
    """

    block_stride = 1
    """The stride of the block that follows."""
    channels_out: int
    """Channels that go out."""

    def __init__(self, channels_in: int, width: int, parts: Parts) -> None:  # noqa: ARG002 - the family's
        super().__init__()
        self.channels_out = width


class InBlock(Transition):
    """Nothing: the next block has a stride of 2 and changes the channels (He et al. 2015, arXiv:1512.03385)."""

    block_stride = 2

    def __init__(self, channels_in: int, width: int, parts: Parts) -> None:
        super().__init__(channels_in, width, parts)
        self.channels_out = channels_in

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *) -> (B, C, *), the same tensor."""
        return x


class ConvPool(Transition):
    """3x3 convolution, norm, activation, 2x2 max-pool (D. Page 2018, "How to train your ResNet", part 3)."""

    def __init__(self, channels_in: int, width: int, parts: Parts) -> None:
        super().__init__(channels_in, width, parts)
        self.conv = parts.conv(channels_in, width, 3)
        self.norm = parts.norm(width)
        self.activation = parts.activation()
        self.pool = parts.axes.max_pool(2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, width, */2), an odd row left out."""
        y = normalized(self.norm, x, conv=self.conv, activation=self.activation)
        return pooled(self.pool, y)


class ConvPoolNorm(Transition):
    """3x3 convolution, 2x2 max-pool, norm, activation (Jordan 2024, arXiv:2404.00498, section 3)."""

    def __init__(self, channels_in: int, width: int, parts: Parts) -> None:
        super().__init__(channels_in, width, parts)
        self.conv = parts.conv(channels_in, width, 3)
        self.pool = parts.axes.max_pool(2, stride=2)
        self.norm = parts.norm(width)
        self.activation = parts.activation()

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, width, */2), an odd row left out."""
        return normalized(self.norm, x, conv=self.conv, pool=self.pool, activation=self.activation)


class PoolConv(Transition):
    """2x2 max-pool, 3x3 convolution, and nothing after it: as in `mnist_resnet`."""

    def __init__(self, channels_in: int, width: int, parts: Parts) -> None:
        super().__init__(channels_in, width, parts)
        self.pool = parts.axes.max_pool(2, stride=2)
        self.conv = parts.conv(channels_in, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, width, */2), an odd row left out."""
        return self.conv(self.pool(x))


class Dense(Transition):
    """Norm, activation, 1x1 convolution to the compressed channels, 2x2 mean (arXiv:1608.06993, section 3)."""

    def __init__(self, channels_in: int, width: int, parts: Parts) -> None:
        super().__init__(channels_in, width, parts)
        self.channels_out = max(1, int(channels_in * parts.compression))
        self.norm = parts.norm(channels_in)
        self.activation = layers.activation_after(self.norm)
        self.conv = parts.conv(channels_in, self.channels_out, 1)
        self.pool = parts.axes.halve()

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, channels_out, */2), an odd row left out."""
        return self.pool(self.conv(normalized(self.norm, x, activation=self.activation)))


TRANSITIONS: dict[str, type[Transition]] = {
    "in_block": InBlock,
    "conv_pool": ConvPool,
    "conv_pool_norm": ConvPoolNorm,
    "pool_conv": PoolConv,
    "dense": Dense,
}
