"""From samples to batches: read, augment, prepare, stack; the same bits whatever the workers and wherever it starts.

Shape letters: B samples of a batch, C channels, N draws a sample.
"""

import math
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from plusx import random_streams
from plusx.data.dataset import Sample, Source, reason_of
from plusx.data.in_order import in_order
from plusx.errors import DataError
from plusx.events import Advanced, Event, result_of


class Input(Protocol):
    """How a source becomes a tensor; plusx.inputs has them."""

    draws: ClassVar[int]
    """N, how many random numbers a sample's augmentation takes."""

    def read(self, source: Source) -> Tensor:
        """Return uint8 (C, H, W)."""
        ...

    def read_for_training(self, source: Source) -> Tensor:
        """Return uint8 (C, H, W), for `augment` alone: it may be smaller than what `read` gives."""
        ...

    def augment(self, image: Tensor, numbers: NDArray[np.float64]) -> Tensor:
        """Return uint8 (C, height, width)."""
        ...

    def augment_batch(self, images: Tensor, numbers: NDArray[np.float64]) -> Tensor:
        """Return uint8 (B, C, height, width)."""
        ...

    def prepare(self, image: Tensor) -> Tensor:
        """Return float32, normalized, of the input's size: (C, height, width) or (B, C, height, width)."""
        ...

    def normalize(self, images: Tensor) -> Tensor:
        """Return float32 (B, C, height, width)."""
        ...


@dataclass
class Batch:
    """What a network is given at once: images (B, C, height, width), their targets, their indices in the samples."""

    images: Tensor
    targets: Tensor
    indices: NDArray[np.int64]


@dataclass(frozen=True)
class Unreadable:
    """What a worker hands back for a sample that cannot be read; an error would lose its words on the way."""

    sentence: str


class Batches:
    """The batches of some samples, epoch after epoch.

    Images that are known to have one size and that together fit in memory are read once and augmented a whole batch at
    a time; others are read each time, by worker processes, and for training no larger than it needs them. Which of the
    two it is depends on sizes and `memory_limit` alone.

    Attributes:
        samples: What the batches are made of; a batch's indices point into it.
        in_memory: Whether all images are held in memory, once they are loaded.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        input: Input,  # noqa: A002 - the house's word
        *,
        batch_size: int,
        collate: Callable[[Sequence[int]], Tensor],
        seed: int = 0,
        training: bool,
        workers: int = 0,
        shape: tuple[int, int, int] | None = None,
        memory_limit: int = 2 * 2**30,
    ) -> None:
        """Keep what the batches are made from; no file is read yet.

        Args:
            samples: In evaluation their order is that of the batches.
            input: Reads, augments and prepares.
            batch_size: Samples a batch; the last one may hold fewer, and in training one more rather than one alone.
            collate: From the samples' targets (-1 where unknown) to one tensor.
            seed: Decides order and augmentation.
            training: Shuffled and augmented, or in order as they are.
            workers: Processes that read what does not fit in memory.
            shape: Channels, height and width that `input.read` gives for each of the samples; None if they differ or
                are not known, and then files are not held in memory. Arrays are compared here.
            memory_limit: Bytes that these batches' images may take in memory; batches of training, validation and test
                may take as much each.

        Raises:
            DataError: All samples are arrays of one shape, and the first cannot be read.
        """
        self.samples = tuple(samples)
        self.input = input
        self.batch_size = batch_size
        self.collate = collate
        self.seed = seed
        self.training = training
        self.workers = workers
        self.shape = shape or self._shape_of_arrays()
        self.in_memory = self.shape is not None and len(self.samples) * math.prod(self.shape) <= memory_limit
        self._images: Tensor | None = None

    def __len__(self) -> int:
        """Return the steps of an epoch."""
        count, size = len(self.samples), self.batch_size
        return math.ceil(count / size) - (1 if self._last_joins(count) else 0)

    def load(self) -> Generator[Event, None, None]:
        """Read all images into memory, if that is where they are held; `epoch` does so too, silently.

        Raises:
            DataError: A sample cannot be read, or no longer has the size that all of them had.
        """
        if self._images is not None or not self.in_memory or self.shape is None:
            return
        count = len(self.samples)
        images = torch.empty((count, *self.shape), dtype=torch.uint8)
        pause = max(1, count // 100)
        files = any(isinstance(sample.source, Path) for sample in self.samples)
        threads = max(self.workers, min(4, os.cpu_count() or 1)) if files else 0
        for done, image in enumerate(in_order(partial(readable, self.input.read), self.samples, threads)):
            if image.shape != self.shape:
                raise DataError(
                    f"{self.samples[done].name!r} has changed: its channels, height and width are "
                    f"{tuple(image.shape)}, and when it was checked they were {self.shape}; put it back as it was, or "
                    "start a new run"
                )
            images[done] = image
            if (done + 1) % pause == 0:
                yield Advanced("reading images", done + 1, count)
        self._images = images

    def epoch(self, number: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Args:
            number: The epoch, from 0; it decides order and augmentation in training.
            start: The step within the epoch to begin at.

        Raises:
            DataError: A sample cannot be read.
        """
        result_of(self.load())
        count = len(self.samples)
        order = random_streams.order(self.seed, number, count) if self.training else np.arange(count, dtype=np.int64)
        steps = self._steps(order)[start:]
        reading = Reading(self.samples, self.input, number, self.seed, training=self.training)
        stacked = self._from_memory(steps, reading) if self.in_memory else self._from_files(steps, reading)
        for indices, images in zip(steps, stacked, strict=True):
            targets = [self.samples[index].target for index in indices.tolist()]
            yield Batch(images, self.collate([-1 if target is None else target for target in targets]), indices)

    def _shape_of_arrays(self) -> tuple[int, int, int] | None:
        """Return what reading gives for samples that are all arrays of one shape, else None."""
        shapes = {None if isinstance(sample.source, Path) else sample.source.shape for sample in self.samples}
        if len(shapes) != 1 or None in shapes:
            return None
        channels, height, width = readable(self.input.read, self.samples[0]).shape
        return channels, height, width

    def _last_joins(self, count: int) -> bool:
        """Say whether a last sample alone joins the step before: batch norm cannot train on one."""
        return self.training and count > self.batch_size and (count - 1) % self.batch_size == 0

    def _steps(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return each step's samples."""
        steps = [order[first : first + self.batch_size] for first in range(0, len(order), self.batch_size)]
        if self._last_joins(len(order)):
            steps[-2:] = [np.concatenate(steps[-2:])]
        return steps

    def _from_memory(self, steps: list[NDArray[np.int64]], reading: "Reading") -> Iterator[Tensor]:
        images = self._images
        assert images is not None  # noqa: S101 - `load` has run
        for indices in steps:
            chosen = images[torch.from_numpy(indices)]
            if self.training:
                yield self.input.normalize(self.input.augment_batch(chosen, reading.numbers(indices)))
            else:
                yield self.input.prepare(chosen)

    def _from_files(self, steps: list[NDArray[np.int64]], reading: "Reading") -> Iterator[Tensor]:
        if self.workers == 0:
            batches: Any = (stack([reading[index] for index in indices.tolist()]) for indices in steps)
        else:
            batches = iter(
                DataLoader(
                    reading,
                    batch_sampler=[indices.tolist() for indices in steps],
                    num_workers=self.workers,
                    collate_fn=stack,
                    worker_init_fn=start_worker,
                    # Elsewhere than on Linux a forked process may not use the system's own libraries.
                    multiprocessing_context="fork" if sys.platform == "linux" else None,
                    # Without a generator of its own the loader would draw from torch's, which the network may use.
                    generator=torch.Generator(),
                )
            )
        try:
            for batch in batches:
                if isinstance(batch, Unreadable):
                    raise DataError(batch.sentence)
                images = torch.from_numpy(batch)
                yield self.input.normalize(images) if self.training else images
        finally:
            # After an error its traceback would keep the workers, and the next epoch's would inherit them.
            stop = getattr(batches, "_shutdown_workers", None)
            if stop is not None:
                stop()


class Reading(Dataset[Any]):
    """One epoch's samples, each read and augmented or prepared by itself."""

    def __init__(self, samples: tuple[Sample, ...], input: Input, epoch: int, seed: int, *, training: bool) -> None:  # noqa: A002
        self.samples, self.input, self.epoch, self.seed, self.training = samples, input, epoch, seed, training

    def numbers(self, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the random numbers of some samples: (B, N)."""
        return random_streams.uniform(self.seed, self.epoch, indices, self.input.draws)

    def __getitem__(self, index: int) -> Tensor | Unreadable:
        read = self.input.read_for_training if self.training else self.input.read
        try:
            image = readable(read, self.samples[index])
        except DataError as error:
            return Unreadable(str(error))
        if not self.training:
            return self.input.prepare(image)
        return self.input.augment(image, self.numbers(np.array([index]))[0])


def readable(read: Callable[[Source], Tensor], sample: Sample) -> Tensor:
    """Return a sample's pixels, uint8 (C, H, W).

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


def stack(images: list[Tensor | Unreadable]) -> NDArray[Any] | Unreadable:
    """Return one array (B, C, height, width), or the first sample that could not be read.

    Arrays leave a worker through a pipe; tensors would need shared memory, of which containers often have 64 MB.
    """
    good: list[NDArray[Any]] = []
    for image in images:
        if isinstance(image, Unreadable):
            return image
        good.append(image.numpy())
    return np.stack(good)


def start_worker(_: int) -> None:
    """Leave signals to the process that saves the run; the loader itself gives each worker one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
