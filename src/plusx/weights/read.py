"""Reading trained weights: our checkpoints and runs, other people's files and folders, and published names.

Nothing in a file is ever run. What the file does not say is taken from its sha256, from a config.json beside it, or
from its keys and shapes, and whatever is assumed is said.
"""

import dataclasses
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from plusx.checkpoint import Checkpoint
from plusx.download import sum_of
from plusx.errors import CheckpointError, PlusxError
from plusx.events import Event
from plusx.inputs.image import ImageInput
from plusx.inputs.resize import FILTERS
from plusx.network.architecture import Architecture
from plusx.network.architectures import ARCHITECTURES
from plusx.network.key_maps import KeyMap, our_name
from plusx.tensor_file import HEADER
from plusx.weights.assumed import assumed_input, in_words
from plusx.weights.fetch import fetch, local_copy
from plusx.weights.files import Content, read_content, refuse_not_finite
from plusx.weights.imagenet import imagenet_classes
from plusx.weights.published import (
    Published,
    find_published,
    looks_like_a_name,
    published_by_sha256,
    timm_crop,
)
from plusx.weights.recognize import fitting, in_our_keys
from plusx.weights.trained import Weights

IMAGENET_CLASSES = 1000
BEST = Path("weights") / "best.safetensors"


def read_weights(origin: str | Path, *, download: bool = True) -> Generator[Event, None, Weights]:
    """Read trained weights.

    Args:
        origin: A checkpoint, a run's folder, a state dict (.safetensors, .pth, .pt, .th, .bin), a folder with
            config.json and model.safetensors, or the name of published weights, "resnet50:imagenet1k-v2".
        download: Whether published weights that are nowhere on this machine are fetched.

    Returns:
        The weights under our names, and what is known of them.

    Raises:
        CheckpointError: There are none, or they cannot be used; a file that asks to run something is refused.
        UsageError: No published weights have that name.
    """
    path, name = Path(origin).expanduser(), str(origin)
    if not path.exists() and looks_like_a_name(name):
        published = find_published(name)
        if not download and local_copy(published) is None:
            raise CheckpointError(f"{published.name} is not on this machine; plusx weights fetch {published.name}")
        file = yield from fetch(published)
        return from_content(name, read_content(file), published)
    if (path / BEST).is_file():
        return from_checkpoint(str(origin), path / BEST)
    content = read_content(path)
    if HEADER in content.about:
        return from_checkpoint(str(origin), path)
    return from_content(str(origin), content)


def finite_checkpoint(file: Path, origin: str) -> Checkpoint:
    """Read a checkpoint of ours whose weights are all numbers.

    Raises:
        CheckpointError: It is damaged, from a newer plusx, or holds what is no number.
    """
    held = Checkpoint.load(file)
    refuse_not_finite(origin, held.weights)
    return held


def from_checkpoint(origin: str, file: Path) -> Weights:
    """Return what a checkpoint of ours holds; it says everything itself.

    Raises:
        CheckpointError: It is damaged, or from a newer plusx.
    """
    held = finite_checkpoint(file, origin)
    return Weights(
        origin, "a plusx checkpoint", held.weights, held.architecture, held.task.classes, held.input,
        candidates=(held.architecture.name,), file=file, sha256=sum_of(file),
    )  # fmt: skip


def from_content(origin: str, content: Content, published: Published | None = None) -> Weights:
    """Return what a file of other people's weights holds, and what is known or assumed of it.

    Raises:
        CheckpointError: They are of no network that is known here.
    """
    state, key_map, left_out = in_our_keys(content.state, origin)
    sha256 = sum_of(content.file)
    weights = Weights(
        origin, _kind(key_map, content), state, notes=(*content.notes, *left_out), file=content.file, sha256=sha256
    )
    by_sum = None if published else published_by_sha256(sha256)
    published = published or by_sum
    if published is not None:
        architecture = ARCHITECTURES[published.architecture]
        what = f"{'by its sha256 ' if by_sum else ''}{published.name} of {published.source}"
        return dataclasses.replace(
            weights, recognized=f"{weights.recognized}, {what}",
            architecture=architecture, classes=published.classes, input=published.image_input(),
            candidates=(architecture.name,),
        )  # fmt: skip
    fits = fitting(state, key_map)
    weights = dataclasses.replace(
        weights, architecture=fits[0] if len(fits) == 1 else None, candidates=tuple(map(name_of, fits))
    )
    weights = _with_config(weights, content.config)
    return _with_imagenet(weights) if key_map is not None and key_map.imagenet else weights


def name_of(architecture: Architecture) -> str:
    """Return an architecture's name, and its shortcut where that is not the one which the name stands for."""
    usual = ARCHITECTURES[architecture.name].shortcut
    return architecture.name + ("" if architecture.shortcut == usual else f" with shortcut {architecture.shortcut}")


def _kind(key_map: KeyMap | None, content: Content) -> str:
    """What was read, in words; plain ResNets and DenseNets have torchvision's keys in timm too."""
    if key_map is None:
        return "a plusx state dict"
    framework = "timm" if "pretrained_cfg" in content.config else key_map.framework
    what = "folder with the state dict" if content.config else "state dict"
    return (
        f"a {what} of {key_map.maker}'s {key_map.network}"
        if key_map.maker
        else (f"a {framework} {what} of a {key_map.network}")
    )


def _with_config(weights: Weights, config: Mapping[str, Any]) -> Weights:
    """What a config.json says, as timm writes it: names of the classes, and the preprocessing."""
    if not config:
        return weights
    about = config.get("pretrained_cfg", config)
    names = config.get("label_names") or about.get("label_names")
    classes = tuple(map(str, names)) if isinstance(names, list) else None
    notes: tuple[str, ...] = ()
    if classes is not None and (len(classes) != weights.outputs or len(set(classes)) != len(classes)):
        notes += (
            f"the {len(classes):,} label_names of its config.json are not used: there are {weights.outputs:,} outputs, "
            "and each needs a name of its own",
        )
        classes = None
    given = None
    interpolation = str(about.get("interpolation") or "bilinear")
    try:
        if "mean" in about and "std" in about and "input_size" in about:
            channels, height, width = about["input_size"]
            given = ImageInput(
                int(height), int(width), int(channels), tuple(about["mean"]), tuple(about["std"]),
                crop_fraction=timm_crop(int(height), float(about.get("crop_pct") or 1.0)),
                interpolation=interpolation if interpolation in FILTERS else "bilinear", rounded=True,
            )  # fmt: skip
    except (PlusxError, TypeError, ValueError) as error:
        raise CheckpointError(f"the config.json of {weights.origin!r} cannot be understood: {error}") from error
    if given and interpolation not in FILTERS:
        notes += (f"their publisher resizes {interpolation!r}, plusx bilinear: a few answers can differ",)
    called = str(config.get("architecture", "")).split(".")[0]
    if called and weights.architecture and our_name(called) != weights.architecture.name:
        notes += (
            f"its config.json calls it {called}; its keys and shapes are those of {weights.architecture.name}, whose "
            "answers differ where the other has layers without weights or another activation",
        )
    return dataclasses.replace(
        weights, classes=classes or weights.classes, input=given or weights.input, notes=(*weights.notes, *notes)
    )


def _with_imagenet(weights: Weights) -> Weights:
    """What a thousand outputs under torchvision's or timm's keys mean, where nothing else is said."""
    if weights.outputs != IMAGENET_CLASSES or (weights.classes and weights.input):
        return weights
    assumed: list[str] = []
    changes: dict[str, Any] = {}
    if weights.classes is None:
        changes["classes"] = imagenet_classes()
        assumed.append("ImageNet's classes")
    if weights.input is None:
        changes["input"] = assumed_input(weights.architecture, weights.channels_in)
        assumed.append(in_words(changes["input"]))
    if not assumed:
        return weights
    note = f"the weights have 1,000 outputs and do not say of what: {' and '.join(assumed)} are assumed"
    return dataclasses.replace(weights, notes=(*weights.notes, note), **changes)
