"""Knowledge distillation: a trained network's outputs join the targets of each training batch.

Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", arXiv:1503.02531.

Shape letters: B samples, C channels, H height, W width, K classes.
"""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from plusx.checkpoint import Checkpoint, checkpoint_file
from plusx.device import Device
from plusx.errors import UsageError
from plusx.inputs.image import ImageInput
from plusx.tasks.classification import Classification
from plusx.tasks.task import Taught


class Teacher:
    """A trained network that answers the images that another one is trained on, as these are augmented and mixed.

    Args:
        network: The teacher, in evaluation mode, on the device.
        order: (K,) the teacher's output for each of the student's classes.
        scale: (C, 1, 1) and
        shift: (C, 1, 1) turn the student's normalized pixels into the teacher's.
        device: Where to compute.
        sha256: Of the teacher's file: another teacher would be another run.
    """

    def __init__(
        self, network: nn.Module, order: Tensor, scale: Tensor, shift: Tensor, device: Device, sha256: str
    ) -> None:
        self.network, self.device, self.sha256 = network, device, sha256
        self._order, self._scale, self._shift = (one.to(device.name) for one in (order, scale, shift))

    @classmethod
    def load(cls, path: str, task: Classification, look: ImageInput, device: Device) -> "Teacher":
        """Read a teacher from a checkpoint or a run.

        Args:
            path: The file, or the run's folder.
            task: The student's, whose classes the teacher must know.
            look: The student's input; the teacher gets the same images, normalized as it is used to.
            device: Where both are computed.

        Raises:
            CheckpointError: The file cannot be read.
            UsageError: The teacher does not know a class, or takes images of other channels.
        """
        checkpoint = Checkpoint.load(path)
        known = checkpoint.task.classes
        lacking = [name for name in task.classes if name not in known]
        if lacking:
            raise UsageError(
                f"the teacher {path!r} does not know the class {lacking[0]!r}; it knows {', '.join(known[:8])}; "
                "give one that was trained on these classes"
            )
        if checkpoint.input.channels != look.channels:
            raise UsageError(
                f"the teacher {path!r} takes images of {checkpoint.input.channels} channels, but these have "
                f"{look.channels}; use --channels {checkpoint.input.channels} or another teacher"
            )
        network = checkpoint.network()
        device.place(network)
        mean, deviation = (torch.tensor(values)[:, None, None] for values in (look.mean, look.deviation))
        own_mean = torch.tensor(checkpoint.input.mean)[:, None, None]
        own_deviation = torch.tensor(checkpoint.input.deviation)[:, None, None]
        order = torch.tensor([known.index(name) for name in task.classes])
        sha256 = hashlib.sha256(checkpoint_file(Path(path)).read_bytes()).hexdigest()
        scale, shift = deviation / own_deviation, (mean - own_mean) / own_deviation
        return cls(network, order, scale, shift, device, sha256)

    @torch.no_grad()
    def __call__(self, images: Tensor, targets: Tensor) -> Taught:
        """Join this teacher's answers, (B, K) logits, to the targets of images (B, C, H, W)."""
        with self.device.autocast():
            answers = self.network(torch.addcmul(self._shift.to(images.dtype), images, self._scale))
        return Taught(targets, answers[:, self._order])
