"""`plusx show`: every named network with its cost, the layer table and the diagram of one, or a trained network."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from plusx.cli.console import Screen
from plusx.cli.layers import draw, input_words, show_table, table_values
from plusx.cli.listing import list_architectures
from plusx.cli.options import OutputOptions, group, option
from plusx.errors import UsageError, near_misses
from plusx.network.architecture import Architecture, shortcut_named
from plusx.network.architectures import ARCHITECTURES, paper_classes
from plusx.weights.published import find_published

NO_OUTPUT = OutputOptions()
SUFFIXES = (".svg", ".png")
WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".th", ".bin", ".ckpt")
OTHER_PICTURES = (".pdf", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".eps", ".ps")


@dataclasses.dataclass(frozen=True)
class DiagramOptions:
    """Where the picture of a network goes."""

    out: Annotated[Path | None, option("Folder for the diagram.", "the present folder")] = None
    diagram: Annotated[
        Path | None,
        option("File for the diagram, .svg or .png; a name without either means both.", "the network's"),
    ] = None
    no_diagram: Annotated[bool, option("Draw no diagram.", negative=())] = False

    def files(self, name: str) -> tuple[Path, ...]:
        """Return the files of the diagram of a network of that name.

        Raises:
            UsageError: The options contradict one another, or name a kind of picture that is not drawn.
        """
        if self.no_diagram:
            if self.diagram is not None or self.out is not None:
                raise UsageError("--no-diagram and a place for the diagram were given; leave one of them out")
            return ()
        file = (self.out or Path()) / (self.diagram or name)
        if file.suffix.lower() in SUFFIXES:
            return (file,)
        if file.suffix.lower() in OTHER_PICTURES:
            raise UsageError(f"a diagram is not drawn as {file.suffix}; give --diagram a name in .svg or .png, or bare")
        return tuple(file.with_name(file.name + suffix) for suffix in SUFFIXES)


NO_PLACE = DiagramOptions()


def show(
    what: Annotated[
        str, option("A model, resnet50; a part of names, resnext; or a run or checkpoint, runs/digits-1.", "all models")
    ] = "",
    /,
    *,
    classes: Annotated[int | None, option("Classes that the head tells apart.", "the paper's")] = None,
    channels: Annotated[int | None, option("Channels of the images.", "the paper's")] = None,
    image_size: Annotated[int | None, option("Side of the images in pixels.", "the paper's")] = None,
    dims: Annotated[int | None, option("Spatial axes: 1 for signals, 2 for images, 3 for volumes.", "2")] = None,
    shortcut: Annotated[
        str | None,
        option(
            "A (zero_pad), B (projection), C (projection_always), D (pooled), bare_projection, none.", "the model's"
        ),
    ] = None,
    place: Annotated[DiagramOptions, group("Diagram", 1)] = NO_PLACE,
    output: Annotated[OutputOptions, group("Output", 2)] = NO_OUTPUT,
) -> None:
    """Show the layer table of a network as in its paper and draw its diagram, or list all networks.

    Multiply-adds are those of one image in convolutions and linear layers. The diagram is written as NAME.svg and
    NAME.png; only an earlier diagram is overwritten.
    """
    screen = Screen(json=output.json, quiet=output.quiet)
    changes = {"classes": classes, "channels": channels, "image_size": image_size, "dims": dims, "shortcut": shortcut}
    given = {name: value for name, value in changes.items() if value is not None}
    if what in ARCHITECTURES:
        show_one(screen, ARCHITECTURES[what], given, place.files(what))
    elif is_path(what):
        refuse(given, "is for a model by its name; a trained network has its own")
        from plusx.cli.trained import name_of, show_trained

        show_trained(screen, Path(what), place.files(name_of(Path(what))))
    elif ":" in what:
        raise UsageError(f"{find_published(what).name!r} are published weights; use plusx weights show {what}")
    else:
        if not any(what in name for name in ARCHITECTURES):
            close = " or ".join(map(repr, near_misses(what, ARCHITECTURES)))
            raise UsageError(f"no model is called {what!r}; {f'did you mean {close}?' if close else 'see plusx show'}")
        found = f"{what!r} is a part of several names" if what else "none was named"
        refuse(given, f"is for one model, but {found}; for example: plusx show resnet50")
        if place != NO_PLACE:
            raise UsageError(f"a diagram is of one model, but {found}; for example: plusx show resnet50")
        list_architectures(screen, what)


def is_path(what: str) -> bool:
    """Return whether a file or a folder is meant, even if there is none."""
    return bool(what) and (Path(what).exists() or "/" in what or what.lower().endswith(WEIGHTS_SUFFIXES))


def refuse(given: dict[str, Any], why: str) -> None:
    """Refuse options that do not belong here.

    Raises:
        UsageError: One was given.
    """
    if given:
        raise UsageError(f"--{next(iter(given)).replace('_', '-')} {why}")


def show_one(screen: Screen, named: Architecture, given: dict[str, Any], files: tuple[Path, ...]) -> None:
    """Show the layer table of one network, and draw it."""
    from plusx.evaluation.complexity import survey
    from plusx.evaluation.layer_table import rows_of

    for name in ("classes", "channels", "image_size"):
        if given.get(name, 1) < 1:
            raise UsageError(f"{name} is {given[name]}, but must be 1 or more")
    changes = {"channels_in": given["channels"]} if "channels" in given else {}
    if "shortcut" in given:
        changes["shortcut"] = shortcut_named(given["shortcut"])
    if "dims" in given:
        changes["dims"] = given["dims"]
    architecture = dataclasses.replace(named, **changes)
    classes = given.get("classes", paper_classes(named))
    size = given.get("image_size", named.image_size)
    sides = (size,) * architecture.dims
    surveyed = survey(architecture, classes, sides)
    rows = rows_of(surveyed)
    if not screen.json:
        published = [("published", architecture.published)] if architecture.published else []
        screen.section(
            architecture.name,
            (
                ("paper", architecture.paper),
                *published,
                ("input", input_words(sides, architecture.channels_in)),
                ("shortcut", architecture.shortcut),
                ("classes", f"{classes:,}"),
            ),
        )
        show_table(screen, rows)
    drawn = draw(screen, surveyed, files)
    screen.result(
        {
            "model": architecture.name,
            "paper": architecture.paper,
            "published": architecture.published,
            "classes": classes,
            "channels": architecture.channels_in,
            "image_size": size,
            "dims": architecture.dims,
            "shortcut": architecture.shortcut,
            **table_values(rows),
            "diagram": drawn,
        }
    )
