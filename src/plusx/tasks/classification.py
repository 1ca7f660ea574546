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

from plusx.errors import DataError, UsageError, look_up
from plusx.network import layers
from plusx.network.backbone import Backbone
from plusx.tasks.task import Taught

LOSSES = {
    "cross_entropy": "one class a sample",
    "binary_cross_entropy": "each class by itself",
}


class ClassificationHead(nn.Module):
    """Global pooling, of the mean or of the maximum, and a fully connected layer.

    Args:
        channels: C of the last feature map.
        classes: K.
        pooling: "mean" or "max".
        scale: What the logits are multiplied by.
    """

    def __init__(self, channels: int, classes: int, pooling: str = "mean", scale: float = 1.0) -> None:
        super().__init__()
        self.pooling, self.scale = pooling, scale
        self.linear = layers.linear(channels, classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """[..., (B, C, *)] -> (B, K)."""
        pixels = features[-1].flatten(2)
        logits = self.linear(pixels.amax(-1) if self.pooling == "max" else pixels.mean(-1))
        return logits if self.scale == 1 else logits * self.scale


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
        loss: "cross_entropy", or "binary_cross_entropy": each class by itself is there or not (Wightman, Touvron and
            Jegou 2021, arXiv:2110.00476, section 3.1). Answers are read as probabilities of one class either way.
        binary_threshold: The share of a target above which its class counts as there; 0 takes shares as they are.
        teacher_share: Where there is a teacher, the part of the loss that is the distance to its answers.
        teacher_temperature: What the logits of both are divided by for that (Hinton, Vinyals and Dean 2015,
            arXiv:1503.02531, section 2).
    """

    classes: tuple[str, ...]
    label_smoothing: float = 0.0
    loss: str = "cross_entropy"
    binary_threshold: float = 0.0
    teacher_share: float = 0.5
    teacher_temperature: float = 2.0
    kind: ClassVar[str] = "classification"

    def __post_init__(self) -> None:
        look_up("loss", self.loss, LOSSES)
        for name in ("label_smoothing", "binary_threshold"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, but must be at least 0 and below 1")
        if not 0 < self.teacher_share <= 1:
            raise UsageError(f"teacher_share is {self.teacher_share}, but must be above 0 and at most 1")
        if self.teacher_temperature <= 0:
            raise UsageError(f"teacher_temperature is {self.teacher_temperature}, but must be above 0")
        if len(self.classes) < 2:
            raise DataError(
                f"there is only one class, {self.classes[0]!r}; classification needs at least two"
                if self.classes
                else "there are no classes; classification needs at least two"
            )

    def head(self, backbone: Backbone) -> nn.Module:
        """Return the head for this backbone: (B, C, *) -> (B, K) logits."""
        made = backbone.architecture
        head = ClassificationHead(backbone.channels[-1], len(self.classes), made.pooling, made.output_scale)
        backbone.initialize_head(head)
        return head

    def losses(self, outputs: Tensor, targets: Tensor | Taught) -> dict[str, Tensor]:
        """The loss of (B, K) logits for (B,) class numbers or (B, K) shares of the classes, a mean over the batch.

        Cross-entropy in nats; or binary cross-entropy, the mean over the classes, each of which is there or not (its
        smoothed share being above `binary_threshold`, if that is not 0).
        """
        logits = outputs.float()
        if isinstance(targets, Taught):
            own = self.losses(outputs, targets.targets)
            distance = self.teacher_share * self._distance(logits, targets.answers.float())
            return {**{name: (1 - self.teacher_share) * value for name, value in own.items()}, "teacher": distance}
        if self.loss == "cross_entropy":
            return {self.loss: functional.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)}
        shares = self._shares(targets)
        shares = shares * (1 - self.label_smoothing) + self.label_smoothing / len(self.classes)
        if self.binary_threshold:
            shares = (shares > self.binary_threshold).float()
        return {self.loss: functional.binary_cross_entropy_with_logits(logits, shares)}

    def _distance(self, logits: Tensor, answers: Tensor) -> Tensor:
        """T^2 KL(teacher || student) of both logits / T: Hinton et al. 2015, section 2, up to the teacher's entropy."""
        warm = self.teacher_temperature
        student, teacher = (logits / warm).log_softmax(1), (answers / warm).log_softmax(1)
        return warm**2 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)

    def blended(self, targets: Tensor, others: Tensor, share: float) -> Tensor:
        """(B,) class numbers or (B, K) shares, twice -> (B, K) shares of the classes."""
        return torch.lerp(self._shares(others), self._shares(targets), share)

    def _shares(self, targets: Tensor) -> Tensor:
        """Return the classes' shares in each target: (B, K) float32."""
        return targets if targets.ndim == 2 else functional.one_hot(targets, len(self.classes)).float()

    def measures(self, outputs: Tensor, targets: Tensor | Taught) -> dict[str, Tensor]:
        """The share of the batch whose most probable class is the right one, of blended targets the larger."""
        targets = targets.targets if isinstance(targets, Taught) else targets
        right = targets.argmax(1) if targets.ndim == 2 else targets
        return {"accuracy": (outputs.detach().argmax(1) == right).float().mean()}

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
