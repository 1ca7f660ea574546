"""The thousand classes of ImageNet-1k, in the order of every network's outputs: WordNet id and English name.

Russakovsky et al. 2014, arXiv:1409.0575, section 3.1.1: ILSVRC 2012. The ids and their order are those of that
challenge (checked against timm's list, Apache-2.0); the names are torchvision's (BSD-3-Clause), but for the dog that
differs from a knitted jacket in one capital letter: it bears WordNet's other name for it, Cardigan Welsh corgi.
"""

import csv
import io
from functools import cache
from importlib import resources

TORCHVISION_NAMES = {"Cardigan": "n02113186"}  # spelled exactly so; in any other spelling it is the jacket


@cache
def rows() -> tuple[tuple[str, str], ...]:
    """Return the WordNet id and the name of each class, in order."""
    text = resources.files("plusx.weights").joinpath("imagenet.csv").read_text(encoding="utf-8")
    return tuple((row["wnid"], row["name"]) for row in csv.DictReader(io.StringIO(text)))


def imagenet_classes() -> tuple[str, ...]:
    """Return the English names, in the order of the outputs; no two are alike, in whatever case."""
    return tuple(name for _, name in rows())


def imagenet_ids() -> tuple[str, ...]:
    """Return the WordNet ids, in the order of the outputs: "n01440764" ... "n15075141"."""
    return tuple(wnid for wnid, _ in rows())


def imagenet_index(name: str) -> int | None:
    """Return the output that stands for a class, given by WordNet id or English name; None for another class.

    Case does not matter, nor whether words are joined by spaces, underscores or hyphens.
    """
    found = indices()
    return found.get(TORCHVISION_NAMES.get(name, folded(name)))


def same_class(one: str, other: str) -> bool:
    """Return whether two names are of one class: the same name, or both of the same ImageNet class."""
    index = imagenet_index(one)
    return folded(one) == folded(other) if index is None else index == imagenet_index(other)


@cache
def indices() -> dict[str, int]:
    """Return the output of each id and of each name as `folded` writes it."""
    return {folded(text): index for index, row in enumerate(rows()) for text in row}


def folded(name: str) -> str:
    """Return a name in the one spelling in which names are compared."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
