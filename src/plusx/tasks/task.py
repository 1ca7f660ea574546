"""The Task protocol: head, losses and decode agree, so that the training loop knows nothing of classes.

Shape letters: B samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from plusx.network.backbone import Backbone


@dataclass(frozen=True)
class Taught:
    """Targets that a teacher's outputs for the same images have joined; a slice is that of both."""

    targets: Tensor
    answers: Tensor

    def __getitem__(self, samples: slice) -> "Taught":
        return Taught(self.targets[samples], self.answers[samples])


class Task(Protocol):
    """What is asked of a backbone's features."""

    def head(self, backbone: Backbone) -> nn.Module:
        """Return the module that turns the backbone's feature maps into outputs."""
        ...

    def losses(self, outputs: Tensor, targets: Tensor | Taught) -> Mapping[str, Tensor]:
        """Return named scalar losses, each a mean over the batch; training minimizes their sum."""
        ...

    def blended(self, targets: Tensor, others: Tensor, share: float) -> Tensor:
        """Return targets of samples that are `share` of the one kind and the rest of the other."""
        ...

    def measures(self, outputs: Tensor, targets: Tensor | Taught) -> Mapping[str, Tensor]:
        """Return named scalars, each a mean over the batch, that a person follows while training."""
        ...

    def decode(self, outputs: Tensor) -> Sequence[Any]:
        """Return one prediction a sample, as a person reads it."""
        ...

    def collate(self, targets: Sequence[int]) -> Tensor:
        """Return the samples' targets as one tensor."""
        ...
