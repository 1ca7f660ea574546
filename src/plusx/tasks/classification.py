"""Classification: one class a sample, told from the mean of the last feature map.

The head is that of He et al. 2015 (arXiv:1512.03385), section 3.3: global average pooling, then one linear layer.
Label smoothing: Szegedy et al. 2015 (arXiv:1512.00567), section 7.

Shape letters: B samples, C channels, K classes, * spatial axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from plusx.errors import DataError, UsageError
from plusx.network import layers
from plusx.network.backbone import Backbone


class ClassificationHead(nn.Module):
    """Global pooling, of the mean or of the maximum, and a fully connected layer.

    Args:
        channels: C of the last feature map.
        classes: K.
        pooling: "mean" or "max".
    """

    def __init__(self, channels: int, classes: int, pooling: str = "mean") -> None:
        super().__init__()
        self.pooling = pooling
        self.linear = layers.linear(channels, classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """[..., (B, C, *)] -> (B, K)."""
        pixels = features[-1].flatten(2)
        return self.linear(pixels.amax(-1) if self.pooling == "max" else pixels.mean(-1))


@dataclass(frozen=True)
class ClassProbabilities:
    """The answer for one sample: its most probable class, and the probability of every class."""

    class_name: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Classification:
    """One of `classes` for every sample.

    Args:
        classes: The classes' names, in the order of the outputs.
        label_smoothing: In training, the share of the target that is spread evenly over all classes, 0 to below 1.
    """

    classes: tuple[str, ...]
    label_smoothing: float = 0.0
    kind: ClassVar[str] = "classification"

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(f"label_smoothing is {self.label_smoothing}, but must be at least 0 and below 1")
        if len(self.classes) < 2:
            raise DataError(
                f"there is only one class, {self.classes[0]!r}; classification needs at least two"
                if self.classes
                else "there are no classes; classification needs at least two"
            )

    def head(self, backbone: Backbone) -> nn.Module:
        """Return the head for this backbone: (B, C, *) -> (B, K) logits."""
        head = ClassificationHead(backbone.channels[-1], len(self.classes), backbone.architecture.pooling)
        backbone.initialize_head(head)
        return head

    def losses(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Cross-entropy in nats, the mean over (B, K) logits and (B,) class numbers."""
        return {
            "cross_entropy": functional.cross_entropy(outputs.float(), targets, label_smoothing=self.label_smoothing)
        }

    def measures(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The share of the batch whose most probable class is the right one."""
        return {"accuracy": (outputs.detach().argmax(1) == targets).float().mean()}

    def probabilities(self, outputs: Tensor) -> Tensor:
        """(B, K) logits -> (B, K) float32 probabilities."""
        return outputs.float().softmax(1)

    def decode(self, outputs: Tensor) -> list[ClassProbabilities]:
        """Read (B, K) logits as a class and its probability, one answer a sample."""
        rows = self.probabilities(outputs).tolist()
        answers = [dict(zip(self.classes, row, strict=True)) for row in rows]
        return [
            ClassProbabilities(best := max(answer, key=answer.__getitem__), answer[best], answer) for answer in answers
        ]

    def collate(self, targets: Sequence[int]) -> Tensor:
        """Class numbers as one (B,) tensor."""
        return torch.tensor(targets, dtype=torch.int64)
