"""What a block is made of, read from how it computes: the layers of its branch, the way around it, the sum.

Each part is run once with symbols in place of tensors (torch.fx), so a new block shows its own order of layers.

Papers: He et al. 2015, arXiv:1512.03385, figures 2, 3 and 5.
"""

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.fx.proxy import TraceError
from torch.nn import functional

SUMS = {operator.add, operator.iadd, torch.add, "add", "add_"}
PRODUCTS = {operator.mul, operator.imul, torch.mul, "mul", "mul_"}
JOINS: dict[Any, str] = {**dict.fromkeys(SUMS, "sum"), torch.cat: "concatenation"}
FUNCTIONS: dict[Any, str] = {
    functional.pad: "pad with zeros",
    functional.relu: "relu",
    torch.relu: "relu",
    "relu": "relu",
    "mean": "average pool",
    "amax": "max pool",
    torch.mean: "average pool",
    torch.amax: "max pool",
}
NAMES = {
    "BatchNorm": "batch norm",
    "ReLU": "relu",
    "SqueezeExcite": "squeeze, excite",
    "EfficientChannelAttention": "channel attention",
}
WHOLE = ("shortcut", "attention")
"""Parts of a block that are one step of it."""


@dataclass(frozen=True)
class Step:
    """One layer on the way through a network.

    Args:
        kind: "conv", "pool", "linear", "norm", "activation", "attention" or "other".
        words: What it is: "3x3 conv, 64".
        layer: Its module; None for a function.
    """

    kind: str
    words: str
    layer: nn.Module | None = None


@dataclass(frozen=True)
class Anatomy:
    """One block: (shared steps) -> branch and shortcut -> join -> last steps.

    Args:
        before: What both ways share: a pre-activation, in the blocks where the shortcut takes it too.
        branch: The layers of F(x).
        shortcut: What is done to x on its way around; empty for the identity, None where there is no way around.
        join: "sum" or "concatenation"; "" where there is no way around.
        after: What follows the sum.
    """

    before: tuple[Step, ...]
    branch: tuple[Step, ...]
    shortcut: tuple[Step, ...] | None
    join: str
    after: tuple[Step, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps but the shortcut's, in order."""
        return self.before + self.branch + self.after

    @property
    def signature(self) -> tuple[Any, ...]:
        """What two blocks have in common that look the same."""
        ways = (self.before, self.branch, self.shortcut or (), self.after)
        return (*(tuple(step.words for step in way) for way in ways), self.shortcut is None, self.join)


class Reader(fx.Tracer):
    """Follows a module down to single layers; what WHOLE names is one step."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one step."""
        return last_word(module_qualified_name) in WHOLE or not any(True for _ in m.children())


def last_word(name: str) -> str:
    """Return a part's own name: "shortcut" of "stages.0.1.shortcut"."""
    return name.rpartition(".")[2]


def anatomy_of(block: nn.Module) -> Anatomy:
    """Read how a block computes; one that cannot be followed is its layers in the order of their making."""
    try:
        graph = Reader().trace(block)
    except (TraceError, TypeError, ValueError, RuntimeError):
        layers = [part for part in block.modules() if not any(True for _ in part.children())]
        return Anatomy((), tuple(step for layer in layers for step in steps_of_layer("", layer)), None, "", ())
    output = next(node for node in graph.nodes if node.op == "output")
    end = output.args[0] if isinstance(output.args[0], fx.Node) else None
    trunk = list(back(end))
    join = next((node for node in trunk if len(ways_into(node)) > 1), None)
    if join is None:
        return Anatomy((), steps_of(block, trunk[::-1]), None, "", ())
    after = trunk[: trunk.index(join)]
    first, second = (list(back(node)) for node in ways_into(join)[:2])
    shared = [node for node in first if node in second]
    ways = [[node for node in way if node not in shared][::-1] for way in (first, second)]
    # Of the two ways the shortcut is the shorter one, however many norms a projection has.
    ways.sort(key=lambda way: (len(way), any("shortcut" in str(node.target) for node in way)))
    if any("shortcut" in str(node.target) for node in ways[1]):
        ways.reverse()
    return Anatomy(
        before=steps_of(block, shared[::-1]),
        branch=steps_of(block, ways[1]),
        shortcut=steps_of(block, ways[0]),
        join=JOINS[join.target],
        after=steps_of(block, after[::-1]),
    )


def chain_of(part: nn.Module) -> tuple[Step, ...]:
    """Return the steps of a part that has no ways around: a stem, a transition, a head."""
    return anatomy_of(part).steps


def back(node: fx.Node | None) -> Iterator[fx.Node]:
    """Go from a node back to the input, always by the way of the first tensor."""
    while node is not None:
        yield node
        inputs = tensors_into(node)
        node = inputs[0] if inputs else None


def tensors_into(node: fx.Node) -> list[fx.Node]:
    """Return the nodes that a node takes and that depend on the input."""
    return [each for each in node.all_input_nodes if depends_on_input(each)]


def ways_into(node: fx.Node) -> list[fx.Node]:
    """Return the tensors that a node joins: two or more for a sum or a concatenation, one for all else."""
    inputs = tensors_into(node)
    return inputs if node.target in JOINS else inputs[:1]


def depends_on_input(node: fx.Node) -> bool:
    """Whether a node is no parameter."""
    return node.op == "placeholder" or any(depends_on_input(each) for each in node.all_input_nodes)


def steps_of(block: nn.Module, nodes: list[fx.Node]) -> tuple[Step, ...]:
    """Put the nodes of a way into words; what changes nothing, such as an identity, is left out."""
    return tuple(step for node in nodes for step in step_of_node(block, node))


def step_of_node(block: nn.Module, node: fx.Node) -> list[Step]:
    """Put one node into words."""
    if node.op == "call_module":
        name = str(node.target)
        return steps_of_layer(name, block.get_submodule(name))
    if node.target in SUMS | PRODUCTS and any(each.op == "get_attr" for each in node.all_input_nodes):
        return [Step("other", "plus bias" if node.target in SUMS else "times scale")]
    words = FUNCTIONS.get(node.target)
    if words is None:
        return []
    return [Step("activation" if words == "relu" else "pool" if "pool" in words else "other", words)]


def steps_of_layer(name: str, layer: nn.Module) -> list[Step]:
    """Put one module into words: itself, or where it is a shortcut, its own layers."""
    if last_word(name) == "shortcut" and any(True for _ in layer.children()):
        return list(chain_of(layer))
    if last_word(name) == "attention":
        return [] if isinstance(layer, nn.Identity) else [Step("attention", name_of(layer), layer)]
    kind = kind_of(layer)
    match kind:
        case "conv":
            words = conv_words(layer)
        case "pool":
            words = pool_words(layer)
        case "linear":
            words = f"fc {layer.out_features}"
        case _:
            words = name_of(layer)
    chance = getattr(layer, "p", None)
    if isinstance(layer, nn.Identity | nn.Flatten) or chance == 0:
        return []
    return [Step(kind, f"{words} {chance:g}" if isinstance(chance, float) else words, layer)]


def kind_of(layer: nn.Module) -> str:
    """Tell a layer by what it has, so that one-, two- and three-dimensional ones are all known."""
    if hasattr(layer, "kernel_size"):
        return "conv" if hasattr(layer, "out_channels") else "pool"
    if hasattr(layer, "out_features"):
        return "linear"
    if "Norm" in type(layer).__name__:
        return "norm"
    if type(layer).__module__ == "torch.nn.modules.activation":
        return "activation"
    return "other"


def conv_words(conv: Any) -> str:  # noqa: ANN401 - a convolution of any number of axes
    """Describe a convolution as figure 3 does: "3x3 conv, 128, /2"."""
    words = f"{sides(conv.kernel_size)} conv, {conv.out_channels}"
    words += f", {conv.groups} groups" if conv.groups > 1 else ""
    return words + stride_words(conv)


def pool_words(pool: Any) -> str:  # noqa: ANN401 - a pool of any number of axes
    """Describe a pool: "3x3 max pool, /2"; an average of single pixels only leaves the others out."""
    size = pool.kernel_size if isinstance(pool.kernel_size, tuple) else (pool.kernel_size,) * axes_of(pool)
    if max(size) == 1:
        return "every 2nd pixel" if stride_words(pool) == ", /2" else f"every pixel{stride_words(pool)}"
    return f"{sides(size)} {'max' if 'Max' in type(pool).__name__ else 'average'} pool{stride_words(pool)}"


def stride_words(layer: Any) -> str:  # noqa: ANN401 - a convolution or a pool
    """Say by what a layer divides the size: ", /2"."""
    stride = max(layer.stride) if isinstance(layer.stride, tuple) else layer.stride
    return f", /{stride}" if stride > 1 else ""


def axes_of(layer: nn.Module) -> int:
    """Return the number of spatial axes that a layer's class names."""
    return next((axes for axes in (1, 2, 3) if f"{axes}d" in type(layer).__name__), 2)


def sides(size: tuple[int, ...]) -> str:
    """Write a kernel's sides: "3x3"."""
    return "x".join(str(side) for side in size)


def name_of(layer: nn.Module) -> str:
    """Return what a layer's class is called, in words."""
    name = type(layer).__name__
    known = next((words for part, words in NAMES.items() if name.startswith(part)), None)
    return known or "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
