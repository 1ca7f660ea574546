"""What training starts from: trained weights that the user named, and what they bring along.

Kept apart from the weights themselves are a few plain words on them (`Start`), which go into the run's screen, state,
checkpoints and report; a run that is resumed needs these and not the weights' file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plusx.errors import UsageError
from plusx.network.architecture import Architecture
from plusx.network.backbone import Network
from plusx.weights.fetch import local_copy
from plusx.weights.fit import adapted_input, fit
from plusx.weights.published import find_published
from plusx.weights.read import BEST, sha256_of
from plusx.weights.trained import Weights

# What of the input belongs to the weights.
LOOK = ("height", "width", "mean", "deviation", "fit", "crop_fraction", "interpolation", "rounded")


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


def architecture_for(weights: Weights | None, model: str) -> Architecture | None:
    """Return the weights' own architecture, if it is known, or None where `model` alone decides.

    Raises:
        UsageError: The weights are those of another architecture than `model`, or of none that can be told.
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
    return Start(weights.origin, _sha256(weights.origin), weights.recognized, sentences)


def _sha256(origin: str) -> str:
    """Of a file, of a run's best weights, or of the file that a name stands for; "" of another folder."""
    path = Path(origin).expanduser()
    if not path.exists():
        return sha256_of(file) if (file := local_copy(find_published(origin))) else ""
    file = path / BEST if path.is_dir() else path
    return sha256_of(file) if file.is_file() else ""
