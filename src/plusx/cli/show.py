"""`plusx show`: every named network with its cost, or the layer table of one."""

import dataclasses
import json
from importlib import resources
from typing import Annotated, Any

from rich.text import Text

from plusx.cli.console import Screen
from plusx.cli.options import OutputOptions, group, option
from plusx.errors import UsageError, look_up
from plusx.network.architectures import ARCHITECTURES, Architecture, shortcut_named

NO_OUTPUT = OutputOptions()


def show(
    model: Annotated[str, option("Its name: resnet50.", "all of them")] = "",
    /,
    *,
    classes: Annotated[int | None, option("Classes that the head tells apart.", "the paper's")] = None,
    channels: Annotated[int | None, option("Channels of the images.", "3")] = None,
    image_size: Annotated[int | None, option("Side of the images in pixels.", "the paper's")] = None,
    shortcut: Annotated[
        str | None, option("A (zero_pad), B (projection), C (projection_always) or none.", "the model's")
    ] = None,
    output: Annotated[OutputOptions, group("Output", 1)] = NO_OUTPUT,
) -> None:
    """Show the layer table of a network as in its paper, or list all networks.

    Multiply-adds are those of one image in convolutions and linear layers.
    """
    screen = Screen(json=output.json, quiet=output.quiet)
    changes = {"classes": classes, "channels": channels, "image_size": image_size, "shortcut": shortcut}
    given = {name: value for name, value in changes.items() if value is not None}
    if model:
        _one(screen, look_up("model", model, ARCHITECTURES), given)
    elif given:
        option_name = next(iter(given)).replace("_", "-")
        raise UsageError(f"--{option_name} is for one model, but none was named; for example: plusx show resnet50")
    else:
        _all(screen)


def _all(screen: Screen) -> None:
    """List every network with its cost at its paper's image size; nothing is computed, so it comes at once."""
    costs = json.loads(resources.files("plusx.network").joinpath("complexity.json").read_text(encoding="utf-8"))
    listing: list[dict[str, Any]] = [
        {
            "model": name,
            "parameters": costs[name]["parameters"],
            "multiply_adds": costs[name]["multiply_adds"],
            "image_size": costs[name]["image_size"],
            "classes": costs[name]["classes"],
            "paper": architecture.paper,
        }
        for name, architecture in ARCHITECTURES.items()
    ]
    if screen.json:
        screen.result(listing)
        return
    widest = max(map(len, costs))
    for paper in dict.fromkeys(each["paper"] for each in listing):
        screen.line("")
        screen.line(Text(paper, "bold"))
        rows = [
            (
                each["model"].ljust(widest),
                f"{each['parameters']:10,}",
                millions(each["multiply_adds"]),
                str(each["image_size"]),
            )
            for each in listing
            if each["paper"] == paper
        ]
        screen.table(("model", "parameters", "multiply-adds", "image"), rows)


def _one(screen: Screen, named: Architecture, given: dict[str, Any]) -> None:
    """Show the layer table of one network."""
    from plusx.evaluation.complexity import PAPER_CLASSES, layer_table

    for name in ("classes", "channels", "image_size"):
        if given.get(name, 1) < 1:
            raise UsageError(f"{name} is {given[name]}, but must be 1 or more")
    changes = {"channels_in": given["channels"]} if "channels" in given else {}
    if "shortcut" in given:
        changes["shortcut"] = shortcut_named(given["shortcut"])
    architecture = dataclasses.replace(named, **changes)
    classes = given.get("classes", PAPER_CLASSES[named.image_size])
    size = given.get("image_size", named.image_size)
    rows = layer_table(architecture, classes, size)
    parameters, multiply_adds = sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows)
    if screen.json:
        screen.result(
            {
                "model": architecture.name,
                "paper": architecture.paper,
                "classes": classes,
                "channels": architecture.channels_in,
                "image_size": size,
                "shortcut": architecture.shortcut,
                "stages": [dataclasses.asdict(row) for row in rows],
                "parameters": parameters,
                "multiply_adds": multiply_adds,
            }
        )
        return
    screen.section(
        architecture.name,
        (
            ("paper", architecture.paper),
            ("input", f"{size}x{size}, {architecture.channels_in} channels"),
            ("shortcut", architecture.shortcut),
            ("classes", f"{classes:,}"),
        ),
    )
    screen.line("")
    table = [
        (
            row.stage,
            "x".join(map(str, row.output_size)),
            row.blocks.replace("] x ", "]×"),
            f"{row.parameters:,}",
            millions(row.multiply_adds),
        )
        for row in rows
    ]
    table.append(("total", "", "", f"{parameters:,}", millions(multiply_adds)))
    screen.table(("stage", "output", "blocks", "parameters", "multiply-adds"), table, left=(0, 2), wraps=2)


def millions(count: int) -> str:
    """Write a large count in millions, as papers do."""
    return f"{count / 1e6:,.1f} M"
