"""Predictor: a checkpoint's answers for new images, each under its own name, whatever becomes of its neighbors.

Images are read and prepared by the input that the checkpoint holds, the same that its training's evaluation used.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from plusx import launch
from plusx.checkpoint import Checkpoint
from plusx.data import list_images
from plusx.data.in_order import in_order
from plusx.device import Device, choose_device
from plusx.errors import DataError, UsageError
from plusx.evaluation.inference import outputs_of
from plusx.tasks.classification import ClassProbabilities

Source = Path | str | bytes | Image | NDArray[Any]

MOST_THREADS = 8  # that read files; more of them wait for the network
FILES_A_THREAD = 4  # with fewer, starting a thread costs more than it saves


@dataclass(frozen=True)
class Answer:
    """What the network says of one image, or why it could not be asked.

    Attributes:
        path: The image's file, or "image 3" for one that came without a name.
        class_name: The most probable class; None if the image could not be read.
        probability: Its probability.
        probabilities: The probability of every class.
        error: Why the image could not be read; None if it could.
    """

    path: str
    class_name: str | None = None
    probability: float | None = None
    probabilities: dict[str, float] | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values: what `plusx predict --json` lists."""
        if self.error is not None:
            return {"path": self.path, "error": self.error}
        return {
            "path": self.path,
            "class": self.class_name,
            "probability": self.probability,
            "probabilities": self.probabilities,
        }


class Predictor:
    """A checkpoint that answers.

    Args:
        checkpoint: The network, its input and its classes.
        device: Where to compute; chosen from the hardware if none is given. Answers are computed in float32,
            whatever its precision.
        batch_size: Images that are answered together.
        max_pixels: A file whose header claims more is not decoded; the checkpoint's own limit if None.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: Device | None = None, batch_size: int = 32, max_pixels: int | None = None
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}, but must be at least 1")
        self.checkpoint = checkpoint
        self.device = device or choose_device()
        self.batch_size = batch_size
        self.input = checkpoint.input
        if max_pixels is not None:
            self.input = dataclasses.replace(checkpoint.input, max_pixels=max_pixels)
        self.network = checkpoint.network()
        self.device.place(self.network)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of the outputs."""
        return self.checkpoint.task.classes

    def __call__(self, images: Source | Iterable[Source]) -> list[Answer]:
        """Answer images.

        Args:
            images: A file, a folder, a glob, a file's bytes, a PIL image, an array (H, W) or (H, W, C), or several.

        Returns:
            An answer an image, in order. An image that cannot be read has an `error` instead of a class.

        Raises:
            UsageError: A path leads nowhere.
        """
        several = not isinstance(images, (Path, str, bytes, Image)) and not hasattr(images, "__array__")
        sources: list[Source] = []
        for image in images if several else [images]:  # pyright: ignore[reportGeneralTypeIssues]
            sources += list_images([image]) if isinstance(image, (Path, str)) else [image]  # pyright: ignore[reportArgumentType]
        return list(self.answers(sources))

    def answers(self, sources: Iterable[Source]) -> Iterator[Answer]:
        """Yield an answer an image, in order, as soon as its batch is computed."""
        numbered = enumerate(sources, start=1)
        while group := list(islice(numbered, self.batch_size)):
            read = [
                (name, image if isinstance(image, str) else self.input.prepare(image))
                for name, image in in_order(self._read, group, reading_threads([source for _, source in group]))
            ]
            decoded = iter(self._decoded([image for _, image in read if isinstance(image, Tensor)]))
            for name, image in read:
                if isinstance(image, Tensor):
                    answer = next(decoded)
                    yield Answer(name, answer.class_name, answer.probability, answer.probabilities)
                else:
                    yield Answer(name, error=image)

    def _decoded(self, images: list[Tensor]) -> list[ClassProbabilities]:
        if not images:
            return []
        outputs = outputs_of(self.network, torch.stack(images), self.device, self.input)
        return self.checkpoint.task.decode(outputs)

    def _read(self, numbered: tuple[int, Source]) -> tuple[str, Tensor | str]:
        """One image's name, and its pixels or the reason why they cannot be read."""
        number, source = numbered
        name = str(source) if isinstance(source, (Path, str)) else f"image {number}"
        try:
            return name, self.input.read(source)
        except DataError as error:
            return name, str(getattr(error, "reason", error))


def reading_threads(sources: Sequence[Source]) -> int:
    """Return how many threads read these images; pictures and arrays are already in memory, and may be shared."""
    if not all(isinstance(source, (Path, str, bytes)) for source in sources):
        return 0
    return min(launch.cores(), MOST_THREADS, len(sources) // FILES_A_THREAD)
