"""What training starts from: trained weights that the user named, and what they bring along.

Kept apart from the weights themselves are a few plain words on them (`Start`), which go into the run's screen, state,
checkpoints and report; a run that is resumed needs these and not the weights' file.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plusx.data import Dataset
from plusx.data.split import read_splits, without_training
from plusx.errors import UsageError
from plusx.network.architecture import Architecture
from plusx.network.backbone import Network
from plusx.training.recipes import without_maps
from plusx.weights.fit import adapted_input, fit
from plusx.weights.trained import Weights

# What of the input belongs to the weights.
LOOK = ("height", "width", "mean", "deviation", "fit", "crop_fraction", "interpolation", "rounded")
# What of an architecture may be changed without other weights.
FREE = {
    "name", "paper", "published", "image_size", "channels_in", "zero_init_residual", "initial_weights", "dropout",
    "stochastic_depth",
}  # fmt: skip


@dataclass(frozen=True)
class Start:
    """What is kept of the weights that a run began with.

    Args:
        origin: The file or the name, as the user gave it.
        sha256: Of the file; empty where the weights are not one file.
        recognized: What it was found to be: "a torchvision state dict".
        sentences: What a person should know: what was adapted, what was left out.
    """

    origin: str
    sha256: str
    recognized: str
    sentences: tuple[str, ...] = ()

    @property
    def provenance(self) -> dict[str, str]:
        """What a checkpoint says of it."""
        return {"origin": self.origin, "sha256": self.sha256, "recognized": self.recognized}

    def rows(self) -> tuple[tuple[str, str], ...]:
        """What the first screen and the report say of it."""
        sums = [("sha256", self.sha256)] if self.sha256 else []
        return (
            ("origin", self.origin),
            ("recognized", self.recognized),
            *sums,
            *(("", sentence) for sentence in self.sentences),
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Start":
        """Read what `dataclasses.asdict` gave, after its way through JSON."""
        sentences = tuple(values["sentences"])
        return cls(values["origin"], values["sha256"], values["recognized"], sentences)


def architecture_for(
    weights: Weights | None, model: str, changes: Mapping[str, Any] | None = None
) -> Architecture | None:
    """Return the weights' own architecture, if it is known, or None where `model` alone decides.

    Args:
        weights: What training starts from, if anything.
        model: The architecture's name, if one was given.
        changes: What was asked for otherwise in the architecture.

    Raises:
        UsageError: The weights are those of another architecture than `model` with `changes`, or of none that can be
            told.
    """
    if weights is None:
        return None
    if weights.architecture is None:
        if model:
            return None
        raise UsageError(
            f"the weights {weights.origin!r} do not say of which architecture they are; name it: --model "
            + (" or ".join(weights.candidates[:4]) or "resnet18")
        )
    if model and model != weights.architecture.name:
        raise UsageError(
            f"the weights {weights.origin!r} are those of {weights.architecture.name}, but --model is {model}; "
            f"leave --model out, or give weights of {model}"
        )
    own = dataclasses.asdict(weights.architecture)
    for name, value in (changes or {}).items():
        if name not in FREE and value != own[name]:
            known = f"{weights.architecture.name} with {name} {own[name]}"
            raise UsageError(
                f"the weights {weights.origin!r} are of {known}, but {name} {value} was asked for; "
                f"leave --{name} out, or train from the start, without --weights"
            )
    return weights.architecture


def look_of(weights: Weights | None, channels: int) -> dict[str, Any]:
    """Return the fields of the input that belong to the weights, for images of so many channels."""
    if weights is None or weights.input is None:
        return {}
    given = adapted_input(weights.input, channels)
    return {name: getattr(given, name) for name in LOOK}


def put_into(network: Network, weights: Weights, classes: Sequence[str]) -> Start:
    """Load weights into a new network, and return what was done.

    Raises:
        CheckpointError: They do not fit.
    """
    said = fit(weights, network, tuple(classes))
    known = "" if weights.input else "they bring no preprocessing along: the data's own defaults stand"
    sentences = (*weights.notes, *said, *([known] if known else []))
    return Start(weights.origin, weights.sha256, weights.recognized, sentences)


def kept_of(config: Mapping[str, Mapping[str, Any]], by_hand: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what of a config is meant, part by part, where model, weights or recipe are named anew by hand.

    With another model the old one's fields go; with other weights the model and the preprocessing that belonged to the
    old ones, too; with another recipe its fields and what it had set in other parts.
    """
    parts = dict(config)
    run = dict(parts.get("run", {}))
    dropped: set[str] = set()
    if by_hand.get("recipe"):
        old = str(run.get("recipe") or parts.get("recipe", {}).get("name", ""))
        parts = without_maps(parts, old)
    # A config that says nothing of weights was written by a person, with these weights in mind or none.
    if by_hand.get("weights") and "weights" in run and by_hand["weights"] != run["weights"]:
        parts["input"] = {name: value for name, value in parts.get("input", {}).items() if name not in LOOK}
        dropped.add("architecture")
        run.pop("model", None)
    if by_hand.get("model"):
        dropped.add("architecture")
    return {**{name: fields for name, fields in parts.items() if name not in dropped}, "run": run}


def seen_before(weights: Weights | None, dataset: Dataset) -> tuple[str, ...]:
    """Say how many test samples the weights were trained on or chosen by, where the run that made them is known."""
    splits = weights.file.parent.parent / "splits.csv" if weights and weights.file else None
    if splits is None or not splits.is_file():
        return ()
    used = [row.sha256 for row in read_splits(splits) if row.split != "test"]
    test = dataset.split("test")
    _, count = without_training(dataclasses.replace(dataset, samples=test), used)
    if not count:
        return ()
    return (
        f"{count:,} of the {len(test):,} test samples were in the training or validation split of the run that the "
        "weights come from, so the score flatters; the same --seed as in that run keeps them apart",
    )
