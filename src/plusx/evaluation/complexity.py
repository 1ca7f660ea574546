"""What a network costs: its parameters, its multiply-adds and its activations.

Multiply-adds are those of convolutions and linear layers only, for one image; a bias, a norm, an activation, a pool and
the sum of a block are not counted. He et al. 2015, arXiv:1512.03385, table 1, counts the same ("FLOPs").
Activations are the numbers that these layers give out: Radosavovic et al. 2020, arXiv:2003.13678, section 3.1.

The network runs once, on torch's meta device: shapes are computed, numbers are not.

Shape letters: C channels, * spatial axes.
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
from plusx.network.architecture import Architecture
from plusx.network.architectures import ARCHITECTURES, paper_classes
from plusx.network.backbone import Backbone, Network
from plusx.storage import write_bytes
from plusx.tasks.classification import Classification

GOLDEN = Path(architectures.__file__).with_name("complexity.json")


@dataclass(frozen=True)
class Complexity:
    """The cost of one image; see the module for what is counted."""

    parameters: int
    multiply_adds: int
    activations: int


@dataclass(frozen=True)
class Call:
    """One module's turn while an image went through a network."""

    layer: nn.Module
    shape: tuple[int, ...]
    multiply_adds: int


def complexity(network: nn.Module, shape: tuple[int, ...]) -> Complexity:
    """Count what one image costs in a network, which is left as it was.

    Args:
        network: On any device; layers that it runs twice are counted twice, parameters that it shares once.
        shape: (C, *) of the image.

    Raises:
        UsageError: The image has no pixels, or not the network's number of channels.
    """
    calls = [call for call in calls_of(network, shape) if isinstance(call.layer, layers.Convolution | layers.Linear)]
    return Complexity(
        parameters_of(network),
        sum(call.multiply_adds for call in calls),
        sum(count(call.shape) for call in calls),
    )


def write_golden(path: Path = GOLDEN) -> None:
    """Write the complexity of every architecture, at the size and with the classes of its paper, as JSON."""
    table = {name: golden_entry(architecture) for name, architecture in ARCHITECTURES.items()}
    write_bytes(path, (json.dumps(table, indent=2) + "\n").encode())


def golden_entry(architecture: Architecture) -> dict[str, int]:
    """Return one architecture's entry of complexity.json."""
    size, classes = architecture.image_size, paper_classes(architecture)
    cost = complexity(meta_network(architecture, classes), (architecture.channels_in, *(size,) * architecture.dims))
    return {"image_size": size, "classes": classes, **asdict(cost)}


def meta_network(architecture: Architecture, classes: int) -> Network:
    """Return a classification network without numbers: shapes only, built in no time."""
    task = Classification(tuple(str(number) for number in range(classes)))
    with torch.device("meta"):
        backbone = Backbone(architecture)
        return Network(backbone, task.head(backbone))


def calls_of(network: nn.Module, shape: tuple[int, ...]) -> list[Call]:
    """Run a network on one image of the meta device and note every module that gave a tensor, in order.

    Raises:
        UsageError: The image does not fit the network.
    """
    calls: list[Call] = []

    def note(layer: nn.Module, _: tuple[Tensor, ...], output: object) -> None:
        if isinstance(output, Tensor):
            # One output number costs one multiply-add for each number of its kernel.
            each = layer.weight[0].numel() if isinstance(layer, layers.Convolution | layers.Linear) else 0
            calls.append(Call(layer, tuple(output.shape), output.numel() * each))

    hooks = [part.register_forward_hook(note) for part in network.modules()]
    numbers = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: torch.empty_like(number, device="meta") for name, number in numbers.items()}
    try:
        with torch.no_grad(), evaluating(network):
            functional_call(network, shapes, (torch.empty(1, *shape, device="meta"),))
    except RuntimeError as error:
        channels, *sides = shape
        raise UsageError(
            f"an image of {channels} channels and {'x'.join(map(str, sides))} pixels does not fit the network; "
            "give an image with the network's own number of channels, large enough for every stage to halve it"
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


if __name__ == "__main__":
    write_golden()
