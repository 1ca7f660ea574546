"""A checkpoint: a trained network with all that is needed to use it, in one inert file.

It holds the architecture, the input's preprocessing, the task with its classes, the weights, the scores and where all
that came from; `plusx predict` needs nothing else.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plusx.errors import CheckpointError, PlusxError
from plusx.inputs import INPUTS
from plusx.inputs.image import ImageInput
from plusx.network.architecture import Architecture
from plusx.network.backbone import Backbone, Network
from plusx.tasks import TASKS
from plusx.tasks.classification import Classification
from plusx.tensor_file import read_tensors, write_tensors

KIND = "checkpoint"
FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A network's weights and everything that explains them.

    Args:
        architecture: The network's plan.
        input: How a file becomes the tensor that the network sees.
        task: What is asked of its features, with the classes.
        weights: The network's state, by name.
        scores: Scores that were measured with these weights, by split.
        provenance: Where it came from: versions, date, seed, epoch, data.
    """

    architecture: Architecture
    input: ImageInput
    task: Classification
    weights: Mapping[str, Tensor]
    scores: Mapping[str, Any] = field(default_factory=dict[str, Any])
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def save(self, path: Path) -> None:
        """Write the checkpoint, whole or not at all.

        Raises:
            StorageError: It could not be written.
        """
        header = {
            "format": FORMAT,
            "architecture": dataclasses.asdict(self.architecture),
            "input": {"kind": self.input.kind, **self.input.to_dict()},
            "task": {"kind": self.task.kind, **dataclasses.asdict(self.task)},
            "scores": dict(self.scores),
            "provenance": dict(self.provenance),
        }
        write_tensors(path, KIND, header, self.weights)

    @classmethod
    def load(cls, path: str | Path) -> "Checkpoint":
        """Read a checkpoint: a file, or a run's folder, whose best weights are meant.

        Raises:
            CheckpointError: It is not there, damaged, of another kind, or from a newer plusx.
        """
        file = checkpoint_file(Path(path))
        header, weights = read_tensors(file, KIND)
        written = header.get("format")
        if not isinstance(written, int) or written > FORMAT:
            raise CheckpointError(
                f"{str(file)!r} has checkpoint format {written}, this plusx reads up to {FORMAT}; update plusx"
            )
        try:
            return cls(
                architecture=Architecture(**_with_tuples(header["architecture"])),
                input=INPUTS[header["input"].pop("kind")].from_dict(header["input"]),
                task=TASKS[header["task"].pop("kind")](**_with_tuples(header["task"])),
                weights=weights,
                scores=header["scores"],
                provenance=header["provenance"],
            )
        except (LookupError, TypeError, AttributeError, PlusxError) as error:
            raise CheckpointError(f"{str(file)!r} cannot be understood by this plusx: {error}") from error

    def network(self) -> Network:
        """Build the network with these weights, in evaluation mode, on the CPU.

        Raises:
            CheckpointError: The weights are not those of this architecture.
        """
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn, to be replaced
            backbone = Backbone(self.architecture)
            network = Network(backbone, self.task.head(backbone))
        try:
            network.load_state_dict(dict(self.weights))
        except RuntimeError as error:
            why = " ".join(str(error).split())[:200]
            raise CheckpointError(f"the weights do not fit {self.architecture.name!r}: {why}") from error
        return network.eval()


def checkpoint_file(path: Path) -> Path:
    """Return the checkpoint that a path means: the file itself, or a run folder's best weights.

    Raises:
        CheckpointError: There is none.
    """
    if not path.is_dir():
        return path
    best = path / "weights" / "best.safetensors"
    if not best.is_file():
        raise CheckpointError(
            f"the folder {str(path)!r} holds no weights/best.safetensors; expected a run's folder or a checkpoint file"
        )
    return best


def _with_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists only; the frozen dataclasses hold tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
