"""Backbone, from images to one feature map a stage, and Network, a backbone with a head on it.

He et al. 2015, arXiv:1512.03385, table 1 and section 4.2; stochastic depth: Huang et al. 2016, arXiv:1603.09382.

Shape letters: B batch, C channels, * spatial axes.
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from plusx.errors import UsageError, look_up
from plusx.network import layers
from plusx.network.architecture import Architecture
from plusx.network.attention import ATTENTION
from plusx.network.blocks import BLOCKS, Block
from plusx.network.initialize import initialize, zero_residual_branches
from plusx.network.layers import Axes, Convolution
from plusx.network.norms import NORMS
from plusx.network.parts import Parts
from plusx.network.shortcuts import SHORTCUTS
from plusx.network.stems import STEMS
from plusx.network.transitions import TRANSITIONS


def strides_of(architecture: Architecture) -> tuple[int, ...]:
    """Return by what each stage's feature map is smaller than the image: the stem's stride, then twice as much a stage.

    Raises:
        UsageError: The architecture names a stem or a block that does not exist.
    """
    stem = look_up("stem", architecture.stem, STEMS).stride
    finish = look_up("block", architecture.block, BLOCKS).finish_stride
    strides = [stem * 2**stage for stage in range(len(architecture.depths))]
    return (*strides[:-1], strides[-1] * finish)


def parts_of(architecture: Architecture) -> Parts:
    """Return what an architecture's blocks, stem and transitions are made of.

    Raises:
        UsageError: It names a norm, a shortcut or an attention that does not exist.
    """
    inner = architecture.groups * architecture.width_per_group or architecture.widths[0]
    return Parts(
        axes=Axes(architecture.dims),
        norms=look_up("norm", architecture.norm, NORMS)(),
        shortcuts=look_up("shortcut", architecture.shortcut, SHORTCUTS),
        attentions=look_up("attention", architecture.attention, ATTENTION),
        attention_reduction=architecture.attention_reduction,
        groups=architecture.groups,
        inner_widths=inner / architecture.widths[0],
        compression=architecture.compression,
        dropout=architecture.dropout,
    )


class Backbone(nn.Module):
    """A stem and stages of blocks, with initial weights drawn from torch's global random stream.

    Every stage but the first begins with a transition, which halves the spatial size or lets the first block do it.
    The probability of a block's branch being left out grows linearly from block to block, from 0 at the stem to
    `stochastic_depth` at the last block (arXiv:1603.09382, equation 4).

    Args:
        architecture: What it is made of.

    Raises:
        UsageError: The architecture names a part that does not exist, or a shortcut where nothing is summed.
    """

    channels: tuple[int, ...]
    """The channels of each feature map."""
    strides: tuple[int, ...]
    """By what each map's sides are smaller than the image's; a stride rounds them up, a 2x2 pool down."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        block = look_up("block", architecture.block, BLOCKS)
        transition = look_up("transition", architecture.transition, TRANSITIONS)
        stem = look_up("stem", architecture.stem, STEMS)
        if not block.sums and architecture.shortcut != "none":
            raise UsageError(
                f"{architecture.name} concatenates instead of summing, so shortcut {architecture.shortcut!r} has no "
                "place in it; leave --shortcut out"
            )
        parts = parts_of(architecture)
        self.architecture = architecture
        channels = architecture.stem_width or architecture.widths[0]
        self.stem = stem(architecture.channels_in, channels, parts)
        self.transitions, self.stages = nn.ModuleList(), nn.ModuleList()
        given: list[int] = []
        done, total = 0, sum(architecture.depths)
        for depth, width in zip(architecture.depths, architecture.widths, strict=True):
            step = 1
            if given:
                between = transition(channels, width, parts)
                channels, step = between.channels_out, between.block_stride
                self.transitions.append(between)
            else:
                self.transitions.append(layers.identity())
            stage = nn.Sequential()
            for position in range(depth):
                done += 1
                own = parts.with_stochastic_depth(architecture.stochastic_depth * done / total)
                stage.append(made := block(channels, width, step if position == 0 else 1, own))
                channels = made.channels_out
            self.stages.append(stage)
            given.append(channels)
        self.finish = block.finish(channels, parts)
        self.channels = tuple(given)
        self.strides = strides_of(architecture)
        initialize(self, architecture.initial_weights)
        parts.norms.initialize([branch_convolutions(each) for each in self.blocks()])
        if architecture.zero_init_residual:
            zero_residual_branches(self.blocks())

    def blocks(self) -> Iterator[Block]:
        """Go through all blocks, from the image on."""
        for stage in self.stages:
            yield from stage.children()  # pyright: ignore[reportReturnType]

    def initialize_head(self, head: nn.Module) -> None:
        """Draw new weights for a head; linear layers begin at 0 where the network's norms say so."""
        initialize(head, self.architecture.initial_weights)
        if NORMS[self.architecture.norm].zero_head:
            for part in head.modules():
                if isinstance(part, layers.Linear):
                    nn.init.zeros_(part.weight)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, channels_in, *) -> [(B, channels[i], */strides[i]) for each stage i], fine to coarse."""
        x = self.stem(x)
        features: list[Tensor] = []
        for transition, stage in zip(self.transitions, self.stages, strict=True):
            x = stage(transition(x))
            features.append(x)
        features[-1] = self.finish(x)
        return features


def branch_convolutions(block: nn.Module) -> list[Convolution]:
    """Return the convolutions of a block's branch, in order: not those of its shortcut and attention."""
    aside = {part for name in ("shortcut", "attention") for part in modules_of(getattr(block, name, None))}
    return [part for part in block.modules() if isinstance(part, Convolution) and part not in aside]


def modules_of(part: nn.Module | None) -> list[nn.Module]:
    """Return all that a part is made of, itself too; nothing if there is none."""
    return [] if part is None else list(part.modules())


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
        """(B, channels_in, *) -> what the head gives; a classification head gives logits (B, classes)."""
        return self.head(self.backbone(x))
