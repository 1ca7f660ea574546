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

from plusx.evaluation.layer_words import FIGURE, attention_words, class_words, conv_words, pool_words
from plusx.network import layers

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
        single = [part for part in block.modules() if not any(True for _ in part.children())]
        return Anatomy((), tuple(step for layer in single for step in steps_of_layer("", layer)), None, "", ())
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
        words = attention_words(layer)
        return [Step("attention", words, layer)] if words else []
    kind, words = kind_and_words(layer)
    chance = getattr(layer, "p", None)
    if isinstance(layer, nn.Identity | nn.Flatten) or chance == 0:
        return []
    return [Step(kind, f"{words} {chance:g}" if isinstance(chance, float) else words, layer)]


def kind_and_words(layer: nn.Module) -> tuple[str, str]:
    """Tell a layer by its class, in one, two or three axes."""
    if isinstance(layer, layers.Convolution):
        return "conv", conv_words(layer, FIGURE)
    if isinstance(layer, layers.Pool):
        return "pool", pool_words(layer, FIGURE)
    if isinstance(layer, layers.Linear):
        return "linear", f"fc {layer.out_features}"
    if "Norm" in type(layer).__name__:
        return "norm", name_of(layer)
    return "activation" if type(layer).__module__ == "torch.nn.modules.activation" else "other", name_of(layer)


def name_of(layer: nn.Module) -> str:
    """Return what a layer's class is called, in words."""
    known = (words for part, words in NAMES.items() if type(layer).__name__.startswith(part))
    return next(known, class_words(layer))
