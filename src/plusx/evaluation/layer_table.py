"""The layer table of a network, stage by stage, as in table 1 of He et al. 2015, arXiv:1512.03385.

Shape letters: C channels, * spatial axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from plusx.evaluation.complexity import Call, Survey, cost, parameters_of, survey
from plusx.evaluation.layer_words import TABLE, attention_words, conv_words, pool_words
from plusx.network import layers
from plusx.network.architecture import Architecture
from plusx.network.backbone import branch_convolutions


@dataclass(frozen=True)
class Row:
    """One line of a network's layer table.

    Args:
        stage: The paper's name: conv1, conv2_x, ..., and head.
        output_size: Sides of what goes out; of the stem, of its last convolution.
        channels: C of what goes out.
        blocks: Its layers: "[3x3, 64; 3x3, 64] x 2".
        parameters: Numbers that are trained.
        multiply_adds: Of its convolutions and linear layers.
    """

    stage: str
    output_size: tuple[int, ...]
    channels: int
    blocks: str
    parameters: int
    multiply_adds: int


def layer_table(architecture: Architecture, classes: int, image_size: int | tuple[int, ...]) -> tuple[Row, ...]:
    """Describe a network as `rows_of` does, without keeping it.

    Args:
        architecture: The network.
        classes: How many classes its head tells apart.
        image_size: Side of the images in pixels, or all sides.

    Raises:
        DataError: There are fewer than two classes.
        UsageError: The image has no pixels.
    """
    return rows_of(survey(architecture, classes, image_size))


def rows_of(surveyed: Survey) -> tuple[Row, ...]:
    """Describe a network as table 1 of arXiv:1512.03385 does: the stem, each stage that has layers, the head.

    As there, a pool of the stem stands with the blocks of conv2_x.
    """
    network, calls = surveyed.network, surveyed.calls
    shapes = {call.layer: call.shape for call in calls}
    backbone = network.backbone
    stem = branch_convolutions(backbone.stem)
    rows = [row("conv1", [backbone.stem], shapes[stem[-1]], [conv_words(part, TABLE) for part in stem], calls)]
    pools = [pool_words(part, TABLE) for part in backbone.stem.modules() if isinstance(part, layers.Pool)]
    for number, (transition, stage) in enumerate(surveyed.stages, start=2):
        words = [*pools, *layer_words(transition), *block_words(stage)]
        rows.append(row(f"conv{number}_x", [transition, stage], shapes[stage], words, calls))
        pools = []
    pooling = backbone.architecture.pooling
    words = [*layer_words(backbone.finish), f"global {'average' if pooling == 'mean' else pooling} pool"]
    words += [f"linear, {part.out_features}" for part in network.head.modules() if isinstance(part, layers.Linear)]
    ends = (1, surveyed.classes, *(1,) * len(surveyed.image_size))
    return (*rows, row("head", [backbone.finish, network.head], ends, words, calls))


def row(stage: str, parts: list[nn.Module], shape: tuple[int, ...], words: list[str], calls: Sequence[Call]) -> Row:
    """Make the row of parts that follow one another and give out this shape."""
    between = ", " if stage == "head" else "; "
    parameters, multiply_adds = sum(map(parameters_of, parts)), sum(cost(part, calls) for part in parts)
    return Row(stage, shape[2:], shape[1], between.join(words), parameters, multiply_adds)


def layer_words(part: nn.Module) -> list[str]:
    """Describe the convolutions and pools of a part, in order."""
    chosen: list[str] = []
    for layer in part.modules():
        if isinstance(layer, layers.Convolution):
            chosen.append(conv_words(layer, TABLE))
        elif isinstance(layer, layers.Pool):
            chosen.append(pool_words(layer, TABLE))
    return chosen


def block_words(stage: nn.Module) -> list[str]:
    """Describe a stage's blocks, equal ones in a row once: ["[3x3, 64; 3x3, 64] x 2"]."""
    runs: list[tuple[str, int]] = []
    for block in stage.children():
        words = [conv_words(conv, TABLE, stride=False) for conv in branch_convolutions(block)]
        text = f"[{'; '.join(filter(None, (*words, attention_words(getattr(block, 'attention', None)))))}]"
        runs = [*runs[:-1], (text, runs[-1][1] + 1)] if runs and runs[-1][0] == text else [*runs, (text, 1)]
    return [f"{text} x {times}" for text, times in runs]
