"""`plusx weights`: what is published, what a file holds, fetching the one and converting the other."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.text import Text

from plusx.cli.console import Screen
from plusx.cli.listing import costs
from plusx.cli.options import OutputOptions, group, option
from plusx.errors import UsageError, look_up
from plusx.events import Noted, Section
from plusx.network.architectures import ARCHITECTURES
from plusx.weights.published import DATA, PUBLISHED, Published, find_published, published_by_sha256, published_for

if TYPE_CHECKING:
    from plusx.inputs.image import ImageInput

FEW = 5  # classes that are named of many
FLOAT_BYTES = 4
WHOLE = 64  # hexadecimal digits of a sha256
NO_OUTPUT = OutputOptions()


def list_published(
    model: Annotated[
        str, option("Only those of this network, or with this part of a name: resnet50, densenet.", "all of them")
    ] = "",
    /,
    *,
    output: Annotated[OutputOptions, group("Output", 1)] = NO_OUTPUT,
) -> None:
    """List published weights, which --weights takes by name.

    Top-1 is the accuracy that their publisher states, in percent. A size with a tilde is computed, not published.
    """
    screen = Screen(json=output.json, quiet=output.quiet)
    part = model.lower().replace("_", "-")
    entries = published_for(part) or [entry for entry in PUBLISHED.values() if part in entry.name]
    if not entries:
        name = look_up("model", model, ARCHITECTURES).name
        raise UsageError(f"no weights are published for {name!r}; plusx weights list names those that are")
    listing = [described(entry) for entry in entries]
    screen.result(listing)
    if screen.json:
        return
    widest = max(len(each["name"]) for each in listing)
    for source in dict.fromkeys(each["source"] for each in listing):
        of_source = [each for each in listing if each["source"] == source]
        screen.line("")
        screen.line(Text(f"{source}: {DATA[of_source[0]['data']]}, {of_source[0]['license']}", "bold"))
        screen.table(
            ("weights".ljust(widest), "parameters", "image", "top-1", "size", "here"),
            [
                (
                    each["name"].ljust(widest),
                    f"{each['parameters']:,}",
                    str(each["image_size"]),
                    f"{each['top1']:.2f}",
                    size_of(each),
                    "yes" if each["file"] else "-",
                )
                for each in of_source
            ],
        )


def show_weights(
    weights: Annotated[str, option("A published name, a file, a run, or a folder with config.json.")],
    /,
    *,
    output: Annotated[OutputOptions, group("Output", 1)] = NO_OUTPUT,
) -> None:
    """Show what weights are: network, classes, preprocessing, license, score, sha256.

    Published weights are described without being fetched.
    """
    screen = Screen(json=output.json, quiet=output.quiet)
    path = Path(weights).expanduser()
    about = of_published(find_published(weights)) if is_name(weights) else of_file(screen, path)
    screen.draw(Section(weights, tuple(rows(about))))
    screen.result(about)


def fetch_weights(
    *names: Annotated[str, option("Published names: resnet50:imagenet1k-v2; see plusx weights list.")],
    mirror: Annotated[
        str | None, option("A folder or an address where the files are looked for first.", "$PLUSX_MIRROR")
    ] = None,
    output: Annotated[OutputOptions, group("Output", 1)] = NO_OUTPUT,
) -> None:
    """Fetch published weights into the cache, checked, for later work without a network."""
    screen = Screen(json=output.json, quiet=output.quiet)
    if not names:
        raise UsageError("no weights were named; for example: plusx weights fetch resnet50:imagenet1k-v2")
    wanted = [find_published(name) for name in names]
    from plusx.weights.fetch import fetch

    files = {entry.name: str(screen.follow(fetch(entry, mirror=mirror))) for entry in wanted}
    screen.draw(Section("Result", tuple(files.items())))
    screen.result(files)


def convert_weights(
    weights: Annotated[str, option("What is read: a file, a run, a folder with config.json, or a published name.")],
    file: Annotated[Path, option("What is written; it must not exist: .safetensors, or .pth for others' programs.")],
    /,
    *,
    to: Annotated[str, option("Whose keys: torchvision, timm, cifar (Y. Idelbayev's), or plusx for a checkpoint.")],
    model: Annotated[str | None, option("Of what network they are, where they do not say it: resnet50.")] = None,
    output: Annotated[OutputOptions, group("Output", 1)] = NO_OUTPUT,
) -> None:
    """Write weights under torchvision's or timm's keys, as their networks load them, or as a checkpoint of plusx."""
    screen = Screen(json=output.json, quiet=output.quiet)
    from plusx.network.key_maps import key_map_for
    from plusx.weights.convert import FORMATS, OURS, convert, notes_on, source_of
    from plusx.weights.read import read_weights

    framework = look_up("framework", to, {name: name for name in FORMATS})
    architecture = None if model is None else look_up("model", model, ARCHITECTURES)
    if file.exists():
        raise UsageError(f"{str(file)!r} exists and is not overwritten; choose another name")
    known = ARCHITECTURES[find_published(weights).architecture] if is_name(weights) else architecture
    if known is not None and framework != OURS:
        key_map_for(known, framework)  # refuses what they have not before anything is fetched or read
    read = screen.follow(read_weights(weights))
    for text in (*read.notes, *notes_on(read, framework, architecture)):
        screen.draw(Noted(text))
    convert(read, file, framework, architecture)
    size = file.stat().st_size
    screen.draw(
        Section(
            "Result",
            (("read", read.recognized), ("written", f"{file}, {size:,} bytes, under {source_of(framework)}'s keys")),
        )
    )
    screen.result({"recognized": read.recognized, "file": str(file), "bytes": size, "framework": framework})


def is_name(weights: str) -> bool:
    """Return whether published weights are meant, rather than a file."""
    return not Path(weights).expanduser().exists() and (":" in weights or bool(published_for(weights.lower())))


def described(entry: Published) -> dict[str, Any]:
    """Return an entry of the list; the file is where it is on this machine, if it is."""
    from plusx.weights.fetch import local_copy

    parameters = costs()[entry.architecture]["parameters"]
    copy = local_copy(entry)
    return {
        "name": entry.name,
        "architecture": entry.architecture,
        "source": entry.source,
        "license": entry.license,
        "data": entry.data,
        "parameters": parameters,
        "image_size": entry.size,
        "top1": entry.top1,
        "mebibytes": entry.mebibytes,
        "about_mebibytes": parameters * FLOAT_BYTES / 2**20,
        "url": entry.url,
        "sha256": entry.sha256,
        "file": None if copy is None else str(copy),
    }


def size_of(each: dict[str, Any]) -> str:
    """Write a file's size."""
    published = each["mebibytes"]
    return f"~{each['about_mebibytes']:,.1f} MiB" if published is None else f"{published:,.1f} MiB"


def of_published(entry: Published) -> dict[str, Any]:
    """Say what is known of published weights, whether they are here or not."""
    from plusx.weights.fetch import mismatch

    each = described(entry)
    wrong = mismatch(entry, Path(each["file"])) if each["file"] else ""
    return {
        "architecture": entry.architecture,
        "parameters": each["parameters"],
        "outputs": len(entry.classes),
        "classes": entry.classes,
        **of_input(entry.image_input()),
        "score": entry.score,
        "license": entry.terms,
        "url": entry.url,
        "size": size_of(each),
        "sha256": entry.sha256,
        "file": each["file"],
        "notes": [f"{each['file']!r} is not as published: {wrong}"] if wrong else [],
    }


def of_file(screen: Screen, path: Path) -> dict[str, Any]:
    """Say what a file or folder holds."""
    from plusx.weights.read import read_weights

    weights = screen.follow(read_weights(path))
    entry = published_by_sha256(weights.sha256)
    return {
        "recognized": weights.recognized,
        "architecture": None if weights.architecture is None else weights.architecture.name,
        "fits": weights.candidates,
        "parameters": sum(tensor.numel() for name, tensor in weights.state.items() if is_parameter(name)),
        "outputs": weights.outputs,
        "classes": weights.classes,
        **of_input(weights.input),
        "score": None if entry is None else entry.score,
        "license": None if entry is None else entry.terms,
        "sha256": weights.sha256 or None,
        "file": str(path),
        "notes": weights.notes,
    }


def is_parameter(name: str) -> bool:
    """Return whether a tensor is trained, rather than a statistic that a norm keeps."""
    return not name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def of_input(image: "ImageInput | None") -> dict[str, Any]:
    """Say which preprocessing belongs to weights."""
    names = ("height", "width", "channels", "fit", "crop_fraction", "interpolation", "rounded", "mean", "deviation")
    return {name: getattr(image, name, None) for name in names}


def rows(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Write what is known of weights as the rows of a screen."""
    if "recognized" in about:
        yield "recognized", about["recognized"]
    counted, fits = f"{about['parameters']:,} parameters", ", ".join(about.get("fits", ())) or "no network of plusx"
    yield "model", f"{about['architecture']}, {counted}" if about["architecture"] else f"{counted}, fit {fits}"
    classes = about["classes"]
    some = "" if classes is None else ": " + ", ".join(classes[:FEW]) + (", ..." if len(classes) > FEW else "")
    yield (
        "classes",
        (f"{about['outputs']:,}" if about["outputs"] else "none: there is no head")
        + (some if classes is not None or not about["outputs"] else ", their names are not known"),
    )
    if about["height"] is None:
        yield "images", "their preprocessing is not known"
    else:
        resized = round(about["height"] / about["crop_fraction"])
        cropped = f", the center of a shorter side of {resized}" if about["fit"] == "crop" else ", whatever their shape"
        yield "images", f"{about['height']}x{about['width']}, {about['channels']} channels{cropped}"
        yield "resizing", about["interpolation"] + (", to whole levels as Pillow does" if about["rounded"] else "")
        yield "mean", ", ".join(f"{value:.4g}" for value in about["mean"])
        yield "deviation", ", ".join(f"{value:.4g}" for value in about["deviation"])
    for name in ("score", "license", "size"):
        if about.get(name):
            yield name, about[name]
    if "url" in about:
        yield "address", about["url"]
        digits = len(about["sha256"])
        yield (
            "sha256",
            f"begins with {about['sha256']}" if 0 < digits < WHOLE else about["sha256"] or "plusx knows none",
        )
        yield "here", about["file"] or "no; plusx weights fetch gets them, and so does --weights"
    elif about["sha256"]:
        yield "sha256", about["sha256"]
    yield from (("note", text) for text in about["notes"])


COMMANDS = {"list": list_published, "show": show_weights, "fetch": fetch_weights, "convert": convert_weights}
