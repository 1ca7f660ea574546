"""Weights written for others: under torchvision's or timm's keys, or as a checkpoint of ours; tensors only."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from plusx.errors import UsageError
from plusx.network.architecture import Architecture
from plusx.network.key_maps import FRAMEWORKS, key_map_for
from plusx.storage import write_bytes
from plusx.weights.complete import architecture_of, checkpoint_of
from plusx.weights.trained import Weights

OURS = "plusx"
FORMATS = (OURS, *FRAMEWORKS)


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
            f"weights for {framework} cannot be written to {str(path)!r}; end its name in {', '.join(forms)}"
        )
    if path.exists():
        raise UsageError(f"{str(path)!r} exists and is not overwritten; choose another name")
    if framework == OURS:
        checkpoint_of(weights, architecture).save(path)
        return
    state = key_map_for(architecture_of(weights, architecture), framework).to_theirs(weights.state)
    own = {key: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for key, tensor in state.items()}
    write_bytes(path, WRITERS[suffix](own))


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
