"""The layer table of a network, stage by stage, as in table 1 of He et al. 2015, arXiv:1512.03385.

Shape letters: C channels, * spatial axes.
"""

from dataclasses import dataclass

from torch import nn

from plusx.evaluation.complexity import Call, calls_of, cost, meta_network, parameters_of
from plusx.network import layers
from plusx.network.architecture import Architecture
from plusx.network.attention import EfficientChannelAttention, SqueezeExcite
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
    """Describe a network as table 1 of arXiv:1512.03385 does: the stem, each stage, the head.

    As there, a pool of the stem stands with the blocks of conv2_x.

    Args:
        architecture: The network.
        classes: How many classes its head tells apart.
        image_size: Side of the images in pixels, or all sides.

    Raises:
        DataError: There are fewer than two classes.
        UsageError: The image has no pixels.
    """
    network = meta_network(architecture, classes)
    sides = (image_size,) * architecture.dims if isinstance(image_size, int) else image_size
    calls = calls_of(network, (architecture.channels_in, *sides))
    shapes = {call.layer: call.shape for call in calls}
    backbone = network.backbone
    stem = branch_convolutions(backbone.stem)
    words = [conv_words(part) for part in stem]
    rows = [row("conv1", [backbone.stem], shapes[stem[-1]], words, calls)]
    pools = [pool_words(part) for part in backbone.stem.modules() if isinstance(part, layers.Pool)]
    for number, (transition, stage) in enumerate(zip(backbone.transitions, backbone.stages, strict=True), start=2):
        words = [*pools, *layer_words(transition), *block_words(stage)]
        if words:  # a first stage without blocks is the stem's own output
            rows.append(row(f"conv{number}_x", [transition, stage], shapes[stage], words, calls))
        pools = []
    words = [
        *layer_words(backbone.finish),
        f"global {'average' if architecture.pooling == 'mean' else architecture.pooling} pool",
    ]
    words += [f"linear, {part.out_features}" for part in network.head.modules() if isinstance(part, layers.Linear)]
    rows.append(row("head", [backbone.finish, network.head], (1, classes, *(1,) * len(sides)), words, calls))
    return tuple(rows)


def row(stage: str, parts: list[nn.Module], shape: tuple[int, ...], words: list[str], calls: list[Call]) -> Row:
    """Make the row of parts that follow one another and give out this shape."""
    between = ", " if stage == "head" else "; "
    parameters, multiply_adds = sum(map(parameters_of, parts)), sum(cost(part, calls) for part in parts)
    return Row(stage, shape[2:], shape[1], between.join(words), parameters, multiply_adds)


def layer_words(part: nn.Module) -> list[str]:
    """Describe the convolutions and pools of a part, in order."""
    chosen: list[str] = []
    for layer in part.modules():
        if isinstance(layer, layers.Convolution):
            chosen.append(conv_words(layer))
        elif isinstance(layer, layers.Pool):
            chosen.append(pool_words(layer))
    return chosen


def block_words(stage: nn.Module) -> list[str]:
    """Describe a stage's blocks, equal ones in a row once: ["[3x3, 64; 3x3, 64] x 2"]."""
    runs: list[tuple[str, int]] = []
    for block in stage.children():
        words = [*(conv_words(conv, stride=False) for conv in branch_convolutions(block)), *attention_words(block)]
        text = f"[{'; '.join(words)}]"
        runs = [*runs[:-1], (text, runs[-1][1] + 1)] if runs and runs[-1][0] == text else [*runs, (text, 1)]
    return [f"{text} x {times}" for text, times in runs]


def attention_words(block: nn.Module) -> list[str]:
    """Describe a block's attention: ["squeeze-excite, 16"], the number being its narrow channels."""
    found = [
        f"squeeze-excite, {part.squeeze.out_channels}" for part in block.modules() if isinstance(part, SqueezeExcite)
    ]
    return found + [
        f"channel attention, {part.conv.kernel_size[0]}"
        for part in block.modules()
        if isinstance(part, EfficientChannelAttention)
    ]


def conv_words(conv: layers.Convolution, *, stride: bool = True) -> str:
    """Describe a convolution: "7x7, 64, stride 2", with groups "3x3, 128, 32 groups"."""
    words = f"{'x'.join(str(side) for side in conv.kernel_size)}, {conv.out_channels}"
    if conv.groups > 1:
        words += f", {conv.groups} groups"
    return f"{words}, stride {conv.stride[0]}" if stride and conv.stride[0] > 1 else words


def pool_words(pool: layers.Pool) -> str:
    """Describe a pool: "3x3 max-pool, stride 2"."""
    average = isinstance(pool, layers.AveragePool)
    size = pool.kernel_size[0] if isinstance(pool.kernel_size, tuple) else pool.kernel_size
    sides = "x".join([str(size)] * layers.dims_of(pool))
    stride = pool.stride[0] if isinstance(pool.stride, tuple) else pool.stride
    return f"{sides} {'average' if average else 'max'}-pool, stride {stride}"
