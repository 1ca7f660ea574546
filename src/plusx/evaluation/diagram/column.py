"""What the column of a network's diagram shows: its layers from the image on, block by block, stage by stage.

Paper: He et al. 2015, arXiv:1512.03385, figure 3.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from plusx.evaluation.diagram.anatomy import Anatomy, Step, anatomy_of, chain_of
from plusx.network.backbone import Network

SHOWN = ("conv", "pool", "linear", "attention")
LONGEST = 56  # layers and gaps between blocks; where there are more, equal blocks in a row are drawn once or twice
FEWEST_HIDDEN = 2  # blocks that are worth a fold

Size = tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """Layers that stand together: a block, a part without a way around, or blocks that are not drawn.

    Args:
        steps: The layers that are drawn.
        stage: The number of its stage, from 0; -1 for the stem and the head.
        anatomy: How it computes, if it is a block.
        hidden: How many blocks like the one before stand here undrawn.
    """

    steps: tuple[Step, ...]
    stage: int = -1
    anatomy: Anatomy | None = None
    hidden: int = 0


@dataclass(frozen=True, eq=False)
class Column:
    """All groups from the image on.

    Args:
        groups: From the image to the classes.
        depths: How many blocks each stage has, drawn or not.
        sizes: What comes out of each layer, without its channels: (H, W), or () for a vector.
        image_size: What goes in.
    """

    groups: tuple[Group, ...]
    depths: tuple[int, ...]
    sizes: dict[nn.Module, Size]
    image_size: Size

    @property
    def blocks(self) -> tuple[tuple[int, Anatomy], ...]:
        """The blocks that are drawn, each with its stage."""
        return tuple((group.stage, group.anatomy) for group in self.groups if group.anatomy is not None)


def column_of(network: Network, image_size: Size) -> Column:
    """Read a network of the meta device, in evaluation mode, from the image on."""
    backbone = network.backbone
    anatomies = [[anatomy_of(block) for block in stage.children()] for stage in backbone.stages]
    count = sum(len(shown(anatomy.steps)) + 1 for stage in anatomies for anatomy in stage)
    groups = [Group(shown(chain_of(backbone.stem)))]
    for number, (transition, stage) in enumerate(zip(backbone.transitions, anatomies, strict=True)):
        groups.append(Group(shown(chain_of(transition)), number))
        groups += folded(stage, number) if count > LONGEST else [block(each, number) for each in stage]
    groups += [Group(shown(chain_of(part))) for part in (backbone.finish, network.head)]
    depths = tuple(len(stage) for stage in anatomies)
    channels = backbone.architecture.channels_in
    sizes = sizes_of(network, (channels, *image_size))
    return Column(tuple(group for group in groups if group.steps or group.hidden), depths, sizes, image_size)


def block(anatomy: Anatomy, stage: int) -> Group:
    """Return the group of one block."""
    return Group(shown(anatomy.steps), stage, anatomy)


def folded(stage: list[Anatomy], number: int) -> Iterator[Group]:
    """Go through a stage; of many equal blocks in a row only the first is drawn, or two where they begin the stage."""
    first = True
    for _, run in groupby(stage, key=lambda anatomy: anatomy.signature):
        blocks = list(run)
        drawn = 2 if first else 1
        first = False
        if len(blocks) - drawn < FEWEST_HIDDEN:
            drawn = len(blocks)
        yield from (block(each, number) for each in blocks[:drawn])
        if drawn < len(blocks):
            yield Group((), number, hidden=len(blocks) - drawn)


def shown(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return the layers that a column shows, as figure 3 does: neither norms nor activations."""
    return tuple(step for step in steps if step.kind in SHOWN)


def sizes_of(network: nn.Module, shape: tuple[int, ...]) -> dict[nn.Module, Size]:
    """Run a network of the meta device on one image and note the size of what comes out of each layer."""
    sizes: dict[nn.Module, Size] = {}

    def note(layer: nn.Module, _: tuple[object, ...], output: object) -> None:
        if isinstance(output, Tensor):
            sizes[layer] = tuple(output.shape[2:])

    hooks = [layer.register_forward_hook(note) for layer in network.modules()]
    try:
        with torch.no_grad():
            network(torch.empty(1, *shape, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    return sizes
