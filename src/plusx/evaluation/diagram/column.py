"""What the column of a network's diagram shows: its layers from the image on, block by block, stage by stage.

Paper: He et al. 2015, arXiv:1512.03385, figure 3.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from torch import nn

from plusx.evaluation.complexity import Survey
from plusx.evaluation.diagram.anatomy import Anatomy, Step, anatomy_of, chain_of

SHOWN = ("conv", "pool", "linear", "attention")
LONGEST = 56  # layers and gaps between blocks; where there are more, equal blocks in a row are drawn once or twice
FEWEST_HIDDEN = 2  # blocks that are worth a fold

Size = tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """Layers that stand together: a block, a part without a way around, or blocks that are not drawn.

    Args:
        steps: The layers that are drawn.
        stage: The number of its stage, from 0, of those that have layers; -1 for the stem and the head.
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


def column_of(surveyed: Survey) -> Column:
    """Read a network from the image on."""
    backbone = surveyed.network.backbone
    stages = [(transition, [anatomy_of(each) for each in stage.children()]) for transition, stage in surveyed.stages]
    count = sum(len(shown(anatomy.steps)) + 1 for _, stage in stages for anatomy in stage)
    groups = [Group(shown(chain_of(backbone.stem)))]
    for number, (transition, stage) in enumerate(stages):
        groups.append(Group(shown(chain_of(transition)), number))
        groups += folded(stage, number) if count > LONGEST else [block(each, number) for each in stage]
    groups += [Group(shown(chain_of(part))) for part in (backbone.finish, surveyed.network.head)]
    return Column(
        groups=tuple(group for group in groups if group.steps or group.hidden),
        depths=tuple(len(stage) for _, stage in stages),
        sizes={call.layer: call.shape[2:] for call in surveyed.calls},
        image_size=surveyed.image_size,
    )


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
