"""Stems: the first layers, from an image to what the first stage takes.

He et al. 2015, arXiv:1512.03385, table 1 (ImageNet) and section 4.2 (CIFAR-10).

Shape letters: B batch, C channels, H height, W width.
"""

from torch import Tensor, nn

from plusx.network import layers


class ImageNetStem(nn.Module):
    """7x7 convolution of stride 2, then a 3x3 max-pool of stride 2 (arXiv:1512.03385, table 1, conv1 and conv2_x)."""

    stride = 4

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = layers.conv(channels_in, channels, 7, stride=2)
        self.norm = layers.norm(channels)
        self.activation = layers.activation()
        self.pool = layers.max_pool(3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) -> (B, channels, H/4, W/4)."""
        return self.pool(self.activation(self.norm(self.conv(x))))


class SmallStem(nn.Module):
    """One 3x3 convolution that keeps the size (arXiv:1512.03385, section 4.2)."""

    stride = 1

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = layers.conv(channels_in, channels, 3)
        self.norm = layers.norm(channels)
        self.activation = layers.activation()

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) -> (B, channels, H, W)."""
        return self.activation(self.norm(self.conv(x)))


Stem = ImageNetStem | SmallStem

STEMS: dict[str, type[Stem]] = {
    "imagenet": ImageNetStem,
    "small": SmallStem,
}
"""Modules made from (channels_in, channels), whose `stride` says by what they divide the image."""
