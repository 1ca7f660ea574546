"""Which trained network is meant: by an architecture's name and weights, a run, a checkpoint, or a published name."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from plusx.checkpoint import Checkpoint, checkpoint_file
from plusx.errors import CheckpointError, UsageError, look_up
from plusx.events import Event, Noted
from plusx.network.architectures import ARCHITECTURES
from plusx.weights.complete import checkpoint_of, complete
from plusx.weights.files import is_foreign
from plusx.weights.published import PUBLISHED, looks_like_a_name
from plusx.weights.read import finite_checkpoint, read_weights


@dataclass(frozen=True)
class Chosen:
    """A trained network that was named.

    Attributes:
        checkpoint: The network, with all that is needed to use it.
        name: What the user called it.
        file: The checkpoint's file, where it is one of ours.
        numbered: Whether its classes are not known, and have numbers for names.
    """

    checkpoint: Checkpoint
    name: str
    file: Path | None = None
    numbered: bool = False


def choose(first: str | Path, weights: str | Path = "") -> Generator[Event, None, Chosen]:
    """Read the trained network that is meant, and say what is assumed of it.

    Args:
        first: An architecture's name, which needs weights; or a run's folder, a checkpoint, another file or folder of
            weights, or a published name.
        weights: Of an architecture's name, the weights: whatever may stand first otherwise.

    Raises:
        UsageError: The weights are missing, or stand beside something that has its own.
        CheckpointError: They cannot be read, or do not fit.
    """
    path = Path(first).expanduser()
    name = str(first)
    named = name in ARCHITECTURES and (bool(str(weights)) or not path.exists())
    if named and not str(weights):
        raise UsageError(f"{name} is an architecture and has no weights of its own; add --weights FILE, or name a run")
    if str(weights) and not named:
        if path.exists() or ":" in name:
            raise UsageError(f"{name!r} brings its own weights; leave --weights out, or name an architecture instead")
        look_up("model", name, ARCHITECTURES)
    if not named and not path.exists() and ":" not in name:
        _refuse_missing(name)
    if not named and not is_foreign(path) and path.exists():
        file = checkpoint_file(path)
        return Chosen(finite_checkpoint(file, str(file)), str(file), file)
    read = yield from read_weights(str(weights) or first)
    yield Noted(f"the weights {read.origin} are {read.recognized}")
    for text in read.notes:
        yield Noted(text)
    said = len(read.notes)
    read = complete(read, ARCHITECTURES[name] if named else None)
    for text in read.notes[said:]:
        yield Noted(text)
    return Chosen(checkpoint_of(read), f"{name} with {read.origin}" if named else name, numbered=read.classes is None)


def _refuse_missing(name: str) -> NoReturn:
    """Say what was probably meant: a network's or a publisher's name, if it looks like one, and a path otherwise."""
    if looks_like_a_name(name):
        look_up("model", name, {**ARCHITECTURES, **PUBLISHED})
    raise CheckpointError(
        f"{name!r} does not exist; expected a run's folder, a checkpoint, a file of weights (.safetensors, .pth), or a "
        "published name; plusx weights list shows these"
    )
