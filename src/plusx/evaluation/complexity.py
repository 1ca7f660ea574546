"""What a network costs: its parameters, its multiply-adds and its activations.

Multiply-adds are those of convolutions and linear layers only, for one image; a bias, a norm, an activation, a pool and
the sum of a block are not counted. He et al. 2015, arXiv:1512.03385, table 1, counts the same ("FLOPs").
Activations are the numbers that these layers give out: Radosavovic et al. 2020, arXiv:2003.13678, section 3.1.

The network runs once, on torch's meta device: shapes are computed, numbers are not.

Shape letters: B batch, C channels, * spatial axes.
"""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from plusx.errors import UsageError
from plusx.network import architectures, layers
from plusx.network.architecture import Architecture
from plusx.network.architectures import ARCHITECTURES, paper_classes
from plusx.network.backbone import Backbone, Network
from plusx.storage import write_bytes
from plusx.tasks.classification import Classification

GOLDEN = Path(architectures.__file__).with_name("complexity.json")
LAYERS = layers.Convolution | layers.Pool


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


@dataclass(frozen=True)
class Survey:
    """A classification network without numbers, and all that happened in it while one image went through.

    Args:
        network: On the meta device, in evaluation mode.
        classes: How many classes its head tells apart.
        image_size: All sides of the image in pixels.
        calls: The turns of its modules.
    """

    network: Network
    classes: int
    image_size: tuple[int, ...]
    calls: tuple[Call, ...]

    @property
    def complexity(self) -> Complexity:
        """What the image cost."""
        return complexity_of(self.network, self.calls)

    @property
    def stages(self) -> list[tuple[nn.Module, nn.Module]]:
        """The transition and the blocks of each stage that has layers; the first is what papers call conv2_x."""
        backbone = self.network.backbone
        pairs = zip(backbone.transitions, backbone.stages, strict=True)
        return [pair for pair in pairs if any(isinstance(layer, LAYERS) for part in pair for layer in part.modules())]


def survey(architecture: Architecture, classes: int, image_size: int | tuple[int, ...]) -> Survey:
    """Build a network of shapes only and run it once.

    Args:
        architecture: The network.
        classes: How many classes its head tells apart.
        image_size: Side of the images in pixels, or all sides.

    Raises:
        DataError: There are fewer than two classes.
        UsageError: The image does not fit the network.
    """
    network = meta_network(architecture, classes).eval()
    sides = (image_size,) * architecture.dims if isinstance(image_size, int) else image_size
    return Survey(network, classes, sides, tuple(calls_of(network, (architecture.channels_in, *sides))))


def complexity(network: nn.Module, shape: tuple[int, ...]) -> Complexity:
    """Count what one image costs in a network, which is left as it was.

    Args:
        network: On any device; layers that it runs twice are counted twice, parameters that it shares once.
        shape: (C, *) of the image.

    Raises:
        UsageError: The image has no pixels, or not the network's number of channels.
    """
    return complexity_of(network, calls_of(network, shape))


def complexity_of(network: nn.Module, calls: Sequence[Call]) -> Complexity:
    """Count what one image cost in a network, whose modules had these turns."""
    counted = [call for call in calls if isinstance(call.layer, layers.Convolution | layers.Linear)]
    return Complexity(
        parameters_of(network),
        sum(call.multiply_adds for call in counted),
        sum(count(call.shape) for call in counted),
    )


def write_golden(path: Path = GOLDEN) -> None:
    """Write the complexity of every architecture, at the size and with the classes of its paper, as JSON."""
    table = {name: golden_entry(architecture) for name, architecture in ARCHITECTURES.items()}
    write_bytes(path, (json.dumps(table, indent=2) + "\n").encode())


def golden_entry(architecture: Architecture) -> dict[str, int]:
    """Return one architecture's entry of complexity.json."""
    size, classes = architecture.image_size, paper_classes(architecture)
    return {"image_size": size, "classes": classes, **asdict(survey(architecture, classes, size).complexity)}


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
    shapes = {name: torch.empty(number.shape, dtype=number.dtype, device="meta") for name, number in numbers.items()}
    try:
        with torch.no_grad(), evaluating(network), ShapesOnly():
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


class ShapesOnly(TorchFunctionMode):
    """Puts stand-ins that give the same shape in the place of some functions.

    On the meta device torch computes these in Python and imports its compiler for it, which takes a second.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - what the function gives
        """Call a function of torch, or its stand-in."""
        return STAND_INS.get(func, func)(*args, **(kwargs or {}))


def same(x: Tensor, *_: object, **__: object) -> Tensor:
    """Stand for what keeps a shape."""
    return x


def joined(x: Tensor, y: Tensor | float) -> Tensor:
    """Stand for a sum or a product, number by number."""
    shape = torch.broadcast_shapes(x.shape, y.shape) if isinstance(y, Tensor) else x.shape
    return torch.empty(shape, device="meta")


def concatenated(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Stand for torch.cat."""
    shape = list(parts[0].shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    return torch.empty(shape, device="meta")


STAND_INS: dict[Callable[..., Any], Callable[..., Any]] = {
    functional.batch_norm: same,
    functional.relu: same,
    functional.linear: lambda x, weight, _: torch.empty(*x.shape[:-1], len(weight), device="meta"),
    Tensor.mean: Tensor.amax,
    Tensor.add: joined,
    Tensor.mul: joined,
    torch.cat: concatenated,
}


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


def cost(part: nn.Module, calls: Sequence[Call]) -> int:
    """Count the multiply-adds of one part of the network that was called."""
    inside = set(part.modules())
    return sum(call.multiply_adds for call in calls if call.layer in inside)


def count(shape: tuple[int, ...]) -> int:
    """Count the numbers in a tensor of this shape."""
    return torch.Size(shape).numel()


if __name__ == "__main__":
    write_golden()
