"""What a network costs: its parameters, its multiply-adds and its activations, as a whole and stage by stage.

Multiply-adds are those of convolutions and linear layers only, for one image; a bias, a norm, an activation, a pool and
the sum of a block are not counted. He et al. 2015, arXiv:1512.03385, table 1, counts the same ("FLOPs").
Activations are the numbers that these layers give out: Radosavovic et al. 2020, arXiv:2003.13678, section 3.1.

The network runs once, on torch's meta device: shapes are computed, numbers are not.

Shape letters: C channels, H height, W width.
"""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call

from plusx.errors import UsageError
from plusx.network import architectures, layers
from plusx.network.architectures import ARCHITECTURES, Architecture
from plusx.network.backbone import Backbone, Network
from plusx.storage import write_bytes
from plusx.tasks.classification import Classification

GOLDEN = Path(architectures.__file__).with_name("complexity.json")
PAPER_CLASSES = {224: 1000, 32: 10}
"""The classes of ImageNet and CIFAR-10, by the size of the images that the papers cut from them."""


@dataclass(frozen=True)
class Complexity:
    """The cost of one image; see the module for what is counted."""

    parameters: int
    multiply_adds: int
    activations: int


@dataclass(frozen=True)
class Row:
    """One line of a network's layer table, as in table 1 of arXiv:1512.03385.

    Args:
        stage: The paper's name: conv1, conv2_x, ..., and head.
        output_size: (H, W) of what goes out of its convolutions.
        channels: C of what goes out.
        blocks: Its layers: "[3x3, 64; 3x3, 64] x 2".
        parameters: Numbers that are trained.
        multiply_adds: Of its convolutions and linear layers.
    """

    stage: str
    output_size: tuple[int, int]
    channels: int
    blocks: str
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Call:
    """One layer's turn while an image went through a network."""

    layer: nn.Module
    shape: tuple[int, ...]
    multiply_adds: int


def complexity(network: nn.Module, shape: tuple[int, int, int]) -> Complexity:
    """Count what one image costs in a network, which is left as it was.

    Args:
        network: On any device; layers that it runs twice are counted twice, parameters that it shares once.
        shape: (C, H, W) of the image.

    Raises:
        UsageError: The image has no pixels, or not the network's number of channels.
    """
    calls = [call for call in calls_of(network, shape) if isinstance(call.layer, layers.Convolution | layers.Linear)]
    return Complexity(
        parameters_of(network),
        sum(call.multiply_adds for call in calls),
        sum(count(call.shape) for call in calls),
    )


def layer_table(architecture: Architecture, classes: int, image_size: int | tuple[int, int]) -> tuple[Row, ...]:
    """Describe a network as table 1 of arXiv:1512.03385 does: the stem, each stage, the head.

    As there, a pool of the stem stands with the blocks of conv2_x.

    Args:
        architecture: The network.
        classes: How many classes its head tells apart.
        image_size: Side of the images in pixels, or (height, width).

    Raises:
        DataError: There are fewer than two classes.
        UsageError: The image has no pixels.
    """
    network = meta_network(architecture, classes)
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    calls = calls_of(network, (architecture.channels_in, height, width))
    backbone = network.backbone
    stages = list(backbone.stages)
    pools = [part for part in backbone.stem.modules() if isinstance(part, layers.Pool)]
    rows = [row("conv1", backbone.stem, calls, [conv_words(part) for part in convolutions(backbone.stem)])]
    for number, stage in enumerate(stages, start=2):
        words = [*(pool_words(pool) for pool in pools), *block_words(stage)]
        rows.append(row(f"conv{number}_x", stage, calls, words))
        pools = []
    head = [part for part in network.head.modules() if isinstance(part, layers.Linear)]
    words = ["global average pool", *(f"linear, {part.out_features}" for part in head)]
    parameters, multiply_adds = parameters_of(network.head), cost(network.head, calls)
    rows.append(Row("head", (1, 1), classes, ", ".join(words), parameters, multiply_adds))
    return tuple(rows)


def write_golden(path: Path = GOLDEN) -> None:
    """Write the complexity of every architecture, at the size and with the classes of its paper, as JSON."""
    table = {name: golden_entry(architecture) for name, architecture in ARCHITECTURES.items()}
    write_bytes(path, (json.dumps(table, indent=2) + "\n").encode())


def golden_entry(architecture: Architecture) -> dict[str, int]:
    """Return one architecture's entry of complexity.json."""
    size, classes = architecture.image_size, PAPER_CLASSES[architecture.image_size]
    cost = complexity(meta_network(architecture, classes), (architecture.channels_in, size, size))
    return {"image_size": size, "classes": classes, **asdict(cost)}


def meta_network(architecture: Architecture, classes: int) -> Network:
    """Return a classification network without numbers: shapes only, built in no time."""
    task = Classification(tuple(str(number) for number in range(classes)))
    with torch.device("meta"):
        backbone = Backbone(architecture)
        return Network(backbone, task.head(backbone))


def calls_of(network: nn.Module, shape: tuple[int, int, int]) -> list[Call]:
    """Run a network on one image of the meta device and note every convolution, linear layer and pool, in order.

    Raises:
        UsageError: The image does not fit the network.
    """
    calls: list[Call] = []

    def note(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        weight = getattr(layer, "weight", None)
        # One output number costs one multiply-add for each number of its kernel.
        each = 0 if weight is None else weight[0].numel()
        calls.append(Call(layer, tuple(output.shape), output.numel() * each))

    counted = layers.Convolution | layers.Linear | layers.Pool
    hooks = [part.register_forward_hook(note) for part in network.modules() if isinstance(part, counted)]
    numbers = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: torch.empty_like(number, device="meta") for name, number in numbers.items()}
    try:
        with torch.no_grad(), evaluating(network):
            functional_call(network, shapes, (torch.empty(1, *shape, device="meta"),))
    except RuntimeError as error:
        channels, height, width = shape
        raise UsageError(
            f"an image of {channels} channels and {height}x{width} pixels does not fit the network; "
            "give an image with the network's own number of channels, and with at least one pixel a side"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return calls


@contextmanager
def evaluating(network: nn.Module) -> Generator[None]:
    """Put a network in evaluation mode for a while; each part gets back the mode that it had."""
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def parameters_of(network: nn.Module) -> int:
    """Count the numbers that are trained."""
    return sum(parameter.numel() for parameter in network.parameters())


def cost(part: nn.Module, calls: list[Call]) -> int:
    """Count the multiply-adds of one part of the network that was called."""
    inside = set(part.modules())
    return sum(call.multiply_adds for call in calls if call.layer in inside)


def count(shape: tuple[int, ...]) -> int:
    """Count the numbers in a tensor of this shape."""
    return torch.Size(shape).numel()


def row(stage: str, part: nn.Module, calls: list[Call], words: list[str]) -> Row:
    """Describe one part of a backbone; its output is that of its last convolution."""
    inside = set(convolutions(part))
    *_, channels, height, width = [call.shape for call in calls if call.layer in inside][-1]
    return Row(stage, (height, width), channels, "; ".join(words), parameters_of(part), cost(part, calls))


def convolutions(part: nn.Module) -> list[layers.Convolution]:
    """Return the convolutions of a part, shortcuts left out, in order."""
    shortcuts = {inner for child in part.modules() for inner in shortcut_parts(child)}
    return [inner for inner in part.modules() if isinstance(inner, layers.Convolution) and inner not in shortcuts]


def shortcut_parts(block: nn.Module) -> list[nn.Module]:
    """Return what a block's shortcut is made of; nothing where it has none."""
    shortcut = getattr(block, "shortcut", None)
    return [] if shortcut is None else list(shortcut.modules())


def block_words(stage: nn.Module) -> list[str]:
    """Describe a stage's blocks, equal ones in a row once: ["[3x3, 64; 3x3, 64] x 2"]."""
    blocks = [f"[{'; '.join(conv_words(c, stride=False) for c in convolutions(block))}]" for block in stage.children()]
    runs: list[tuple[str, int]] = []
    for block in blocks:
        runs = [*runs[:-1], (block, runs[-1][1] + 1)] if runs and runs[-1][0] == block else [*runs, (block, 1)]
    return [f"{block} x {times}" for block, times in runs]


def conv_words(conv: layers.Convolution, *, stride: bool = True) -> str:
    """Describe a convolution: "7x7, 64, stride 2"."""
    words = f"{'x'.join(str(side) for side in conv.kernel_size)}, {conv.out_channels}"
    return f"{words}, stride {conv.stride[0]}" if stride and conv.stride[0] > 1 else words


def pool_words(pool: layers.Pool) -> str:
    """Describe a pool: "3x3 max-pool, stride 2"."""
    return f"{pool.kernel_size}x{pool.kernel_size} max-pool, stride {pool.stride}"


if __name__ == "__main__":
    write_golden()
