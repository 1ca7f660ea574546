"""Backbone, from images to one feature map a stage, and Network, a backbone with a head on it.

He et al. 2015, arXiv:1512.03385, table 1 and section 4.2.

Shape letters: B batch, C channels, H height, W width.
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from plusx.errors import look_up
from plusx.network.architectures import Architecture
from plusx.network.blocks import BLOCKS, Block
from plusx.network.initialize import initialize, zero_residual_branches
from plusx.network.shortcuts import SHORTCUTS
from plusx.network.stems import STEMS


def strides_of(architecture: Architecture) -> tuple[int, ...]:
    """Return by what each stage's feature map is smaller than the image: the stem's stride, then twice as much a stage.

    Raises:
        UsageError: The architecture names a stem that does not exist.
    """
    stem = look_up("stem", architecture.stem, STEMS).stride
    return tuple(stem * 2**stage for stage in range(len(architecture.depths)))


class Backbone(nn.Module):
    """A stem and stages of blocks, with initial weights drawn from torch's global random stream.

    Every stage but the first begins with a block of stride 2.

    Args:
        architecture: What it is made of.

    Raises:
        UsageError: The architecture names a stem, a block or a shortcut that does not exist.
    """

    channels: tuple[int, ...]
    """The channels of each feature map."""
    strides: tuple[int, ...]
    """By what each feature map's height and width are smaller than the image's, rounded up."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        block = look_up("block", architecture.block, BLOCKS)
        shortcut = look_up("shortcut", architecture.shortcut, SHORTCUTS)
        self.architecture = architecture
        self.stem = look_up("stem", architecture.stem, STEMS)(architecture.channels_in, architecture.widths[0])
        self.stages = nn.ModuleList()
        channels_in, step = architecture.widths[0], 1
        for depth, width in zip(architecture.depths, architecture.widths, strict=True):
            stage = nn.Sequential()
            for position in range(depth):
                stage.append(block(channels_in, width, step if position == 0 else 1, shortcut))
                channels_in = width * block.expansion
            self.stages.append(stage)
            step = 2
        self.channels = tuple(width * block.expansion for width in architecture.widths)
        self.strides = strides_of(architecture)
        initialize(self)
        if architecture.zero_init_residual:
            zero_residual_branches(self.blocks())

    def blocks(self) -> Iterator[Block]:
        """Go through all blocks, from the image on."""
        for stage in self.stages:
            yield from stage.children()  # pyright: ignore[reportReturnType]

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, channels_in, H, W) -> [(B, channels[i], H/strides[i], W/strides[i]) for each stage i], fine to coarse."""
        x = self.stem(x)
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class Network(nn.Module):
    """A backbone, and a head that asks something of its features.

    Args:
        backbone: From images to feature maps.
        head: From the list of feature maps to outputs; a task makes it.
    """

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    @property
    def architecture(self) -> Architecture:
        """What the backbone is made of."""
        return self.backbone.architecture

    def forward(self, x: Tensor) -> Any:  # noqa: ANN401
        """(B, channels_in, H, W) -> what the head gives; a classification head gives logits (B, classes)."""
        return self.head(self.backbone(x))
