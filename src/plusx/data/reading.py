"""What batches ask of an input, and reading a step's samples one by one, in this process or in a worker.

Shape letters: B samples of a step, C channels, h and w the final height and width, N draws a sample.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plusx import random_streams
from plusx.data.dataset import Sample, Source, reason_of
from plusx.data.steps import Step
from plusx.errors import DataError

R = TypeVar("R")


class BatchMaker(Protocol):
    """Makes training batches of images in memory."""

    draws: ClassVar[int]
    """n, how many random numbers it takes of each sample's."""

    def __call__(self, places: NDArray[np.int64], numbers: NDArray[np.float64]) -> Tensor:
        """Take (B,) places and (B, n) numbers; return float32 (B, C, h, w), normalized."""
        ...


class Input(Protocol):
    """How a source becomes a tensor; plusx.inputs has them."""

    draws: ClassVar[int]
    """N, how many random numbers a sample's augmentation takes."""

    @property
    def alternating(self) -> tuple[int, ...]:
        """Places of the numbers that are drawn once for all epochs and move by a half from each to the next."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what a network is given."""
        ...

    def averaged(self, answer: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Return what answers prepared images, averaged over what the network is shown of each."""
        ...

    def read(self, source: Source) -> Tensor:
        """Return uint8 (C, H, W)."""
        ...

    def read_augmented(self, source: Source, numbers: NDArray[np.float64]) -> Tensor:
        """Return uint8 (C, h, w): read and changed at random, of a file only what that needs."""
        ...

    def hold(self, images: Tensor, memory_limit: int) -> "BatchMaker":
        """Take uint8 (N, C, H, W); return what makes training batches of them, as `finish` does."""
        ...

    def finish(self, images: Tensor, into: NDArray[np.float32] | None = None) -> Tensor:
        """Make of augmented uint8 (B, h, w, C) a training batch, perhaps in the memory given: float32 (B, C, h, w)."""
        ...

    def prepare(self, image: Tensor) -> Tensor:
        """Return float32, normalized, of the input's size: (C, h, w) or (B, C, h, w)."""
        ...

    def at_size(self, height: int, width: int) -> "Input":
        """Return the input whose training images have another size, its augmentations scaled."""
        ...


@dataclass(frozen=True)
class Unreadable:
    """What a worker hands back for a sample that cannot be read; an error would lose its words on the way."""

    sentence: str


@dataclass(frozen=True)
class Reading:
    """How one epoch's samples are read, each by itself, and augmented or prepared."""

    samples: tuple[Sample, ...]
    input: Input
    epoch: int
    seed: int
    training: bool
    cached: Callable[[int], NDArray[np.uint8]] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of what `read_into` fills for each sample: channels last in training."""
        channels, height, width = self.input.shape
        return (height, width, channels) if self.training else (channels, height, width)

    @property
    def dtype(self) -> type[np.generic]:
        """The type of what `read_into` fills."""
        return np.uint8 if self.training else np.float32

    def numbers(self, step: Step, draws: int) -> NDArray[np.float64]:
        """Return the first random numbers of a step's samples: (B, draws)."""
        numbers = random_streams.uniform(self.seed, self.epoch, step.samples, draws, step.copies)
        for place in self.input.alternating:
            first = random_streams.uniform(self.seed, 0, step.samples, place + 1, step.copies)[:, place]
            numbers[:, place] = (first + self.epoch / 2) % 1
        return numbers

    def read_into(self, images: NDArray[Any], step: Step) -> Unreadable | None:
        """Fill (B, *shape) with a step's samples, or say which of them cannot be read."""
        numbers = self.numbers(step, self.input.draws) if self.training else None
        for place, index in enumerate(step.samples.tolist()):
            try:
                if numbers is None:
                    images[place] = self.input.prepare(readable(self.input.read, self.samples[index])).numpy()
                else:
                    images[place] = self._augmented(index, numbers[place]).permute(1, 2, 0).numpy()
            except DataError as error:
                return Unreadable(str(error))
        return None

    def _augmented(self, index: int, numbers: NDArray[np.float64]) -> Tensor:
        def read(source: Source) -> Tensor:
            return self.input.read_augmented(source if self.cached is None else self.cached(index), numbers)

        return readable(read, self.samples[index])


def readable(read: Callable[[Source], R], sample: Sample) -> R:
    """Return what is read of a sample.

    Raises:
        DataError: It cannot be read; the message names it.
    """
    try:
        return read(sample.source)
    except (DataError, OSError) as error:
        raise DataError(
            f"{sample.name!r} can no longer be read: {reason_of(error)}; put it back as it was, or start a "
            "new run without it"
        ) from error
