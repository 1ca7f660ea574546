"""The list of all architectures, or of those whose name holds a word, paper by paper."""

import json
from functools import cache
from importlib import resources
from typing import Any

from rich.text import Text

from plusx.cli.console import INDENT, Screen, filled, hang
from plusx.network.architectures import ARCHITECTURES

HEADS = ("model", "parameters", "mult-adds", "px", "published")


def list_architectures(screen: Screen, word: str = "") -> None:
    """List networks with their cost at their paper's image size; nothing is computed, so it comes at once."""
    known = costs()
    listing: list[dict[str, Any]] = [
        {
            "model": name,
            **{key: known[name][key] for key in ("parameters", "multiply_adds", "image_size", "classes")},
            "published": architecture.published,
            "paper": architecture.paper,
        }
        for name, architecture in ARCHITECTURES.items()
        if word in name
    ]
    if screen.json:
        screen.result(listing)
        return
    cells = [
        (each["model"], f"{each['parameters']:,}", short(each["multiply_adds"]), str(each["image_size"]))
        for each in listing
    ]
    widths = [max(map(len, column)) for column in zip(HEADS[:-1], *cells, strict=True)]
    screen.line("")
    screen.line(Text(line_of(HEADS, widths) + HEADS[-1], "dim"))
    for paper in dict.fromkeys(each["paper"] for each in listing):
        screen.line("")
        hang(screen.console, Text(), Text(paper, "bold"))
        for each, row in zip(listing, cells, strict=True):
            if each["paper"] == paper:
                hang(screen.console, Text(line_of(row, widths)), Text(each["published"]))


@cache
def costs() -> dict[str, dict[str, int]]:
    """Return what each network costs at its paper's image size, as counted beforehand: see evaluation.complexity."""
    return json.loads(resources.files("plusx.network").joinpath("complexity.json").read_text(encoding="utf-8"))


def line_of(cells: tuple[str, ...], widths: list[int]) -> str:
    """Put all cells but a last, open one into their columns."""
    columns = zip(cells, widths, strict=False)
    return INDENT + "".join(filled(cell, width, left=not place) + INDENT for place, (cell, width) in enumerate(columns))


def millions(count: int) -> str:
    """Write a large count in millions, as papers do."""
    return f"{count / 1e6:,.1f} M"


def short(count: int) -> str:
    """Write a large count in a few digits: 40.6 M, 1.814 G."""
    return f"{count / 1e9:.3f} G" if count >= 1e9 else f"{count / 1e6:.1f} M"
