"""Weights written for others: under torchvision's or timm's keys, or as a checkpoint of ours; tensors only."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from plusx.errors import UsageError
from plusx.network.architecture import Architecture
from plusx.network.key_maps import FRAMEWORKS, KEY_MAPS, key_map_for
from plusx.storage import write_bytes
from plusx.weights.complete import architecture_of, checkpoint_of, complete
from plusx.weights.trained import HEAD_WEIGHT, Weights

OURS = "plusx"
FORMATS = (OURS, *FRAMEWORKS)
COLORS = 3  # channels of the images that others' networks are built for


def convert(weights: Weights, path: Path, framework: str, architecture: Architecture | None = None) -> None:
    """Write weights for a framework, whose own network of that form then loads all of them, strictly.

    Args:
        weights: What was read.
        path: The file, which must not exist; its suffix chooses the form.
        framework: "torchvision", "timm", "cifar", or "plusx" for a checkpoint.
        architecture: Of what network they are, where they do not say it.

    Raises:
        UsageError: The framework has no such network, the suffix is of no known form, or the file exists.
        CheckpointError: The weights do not say of what network they are.
        StorageError: The file could not be written.
    """
    suffix = path.suffix.lower()
    forms = (".safetensors",) if framework == OURS else tuple(WRITERS)
    if suffix not in forms:
        raise UsageError(
            f"weights for {source_of(framework)} cannot be written to {str(path)!r}; end its name in {', '.join(forms)}"
        )
    if path.exists():
        raise UsageError(f"{str(path)!r} exists and is not overwritten; choose another name")
    if framework == OURS:
        checkpoint_of(complete(weights, architecture)).save(path)
        return
    state = key_map_for(architecture_of(weights, architecture), framework).to_theirs(weights.state)
    own = {key: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for key, tensor in state.items()}
    write_bytes(path, WRITERS[suffix](own))


def source_of(framework: str) -> str:
    """Return whose networks are meant, in words: "torchvision", "Y. Idelbayev", "plusx"."""
    return next((one.source for one in KEY_MAPS.values() if one.framework == framework), framework)


def notes_on(weights: Weights, framework: str, architecture: Architecture | None = None) -> tuple[str, ...]:
    """Return what is to be known of weights before they are used elsewhere, or is assumed of them in a checkpoint."""
    notes: list[str] = []
    if framework == OURS:
        notes += complete(weights, architecture).notes[len(weights.notes) :]
        if weights.classes is None:
            notes.append(f"the names of the classes are not known: they are called 0 to {weights.outputs - 1:,}")
        return tuple(notes)
    if HEAD_WEIGHT not in weights.state:
        notes.append("there is no head: the network there needs none, or strict=False when it loads them")
    if weights.channels_in != COLORS:
        notes.append(f"the first convolution is for images of {weights.channels_in} channels, and so must theirs be")
    kinds = {str(one.dtype).removeprefix("torch.") for one in weights.state.values() if one.is_floating_point()}
    if kinds - {"float32"}:
        notes.append(f"the numbers stay {' and '.join(sorted(kinds))}, as they were read")
    return tuple(notes)


def pickled(state: Mapping[str, Tensor]) -> bytes:
    """Return a state dict as PyTorch saves it; it holds tensors and their names only."""
    content = io.BytesIO()
    torch.save(dict(state), content)
    return content.getvalue()


def inert(state: Mapping[str, Tensor]) -> bytes:
    """Return a state dict as a safetensors file, marked as PyTorch's, which other programs ask for."""
    return save(dict(state), metadata={"format": "pt"})


WRITERS: dict[str, Callable[[Mapping[str, Tensor]], bytes]] = {
    ".safetensors": inert,
    ".pth": pickled,
    ".pt": pickled,
    ".th": pickled,
}
