"""From samples to batches: read, augment, prepare, stack; the same bits whatever the workers and wherever it starts.

Shape letters: B samples of a batch, C channels, h and w the final height and width.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plusx import launch, random_streams
from plusx.data.cache import Cache
from plusx.data.dataset import Sample
from plusx.data.in_order import in_order
from plusx.data.reading import BatchMaker, Input, Reading, readable
from plusx.data.spare import Spare
from plusx.data.steps import LEAST, Step, evaluation_part, evaluation_steps, step_sizes, training_steps
from plusx.data.workers import Workers
from plusx.errors import DataError, UsageError
from plusx.events import Advanced, Event, result_of

Size = tuple[int, int]


@dataclass
class Batch:
    """What a network is given at once.

    Attributes:
        images: (B, C, h, w).
        targets: Those of the images.
        indices: (B,) those of the samples.
        total: Samples of the whole step, over all ranks.
    """

    images: Tensor
    targets: Tensor
    indices: NDArray[np.int64]
    total: int


class Batches:
    """The batches of some samples, epoch after epoch; of several ranks, each gets its part.

    Images that are known to have one size and that together fit in memory are read once and augmented a whole batch at
    a time; others are read each time, by worker processes, and for training no more of them than it needs. Which of the
    two it is depends on sizes and `memory_limit` alone.

    Attributes:
        samples: What the batches are made of, on all ranks; a batch's indices point into it.
        part: Which of them this rank gets: in evaluation each sample belongs to one rank, in training to whichever rank
            an epoch's order gives it.
        in_memory: Whether all images are held in memory, once they are loaded.
        cached: Whether decoded images are kept on disk.
        replaced: Workers that died and were replaced.
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
        rank: int = 0,
        ranks: int = 1,
        repeats: int = 1,
        sizes: Callable[[int], Size] | None = None,
        cache: Cache | None = None,
    ) -> None:
        """Keep what the batches are made from; no file is read yet.

        Args:
            samples: In evaluation their order is that of the batches.
            input: Reads, augments and prepares.
            batch_size: Samples a training step, over all ranks; the last one may hold fewer, or more rather than fewer
                than two a rank. In evaluation: of each rank's batches.
            collate: From the samples' targets (-1 where unknown) to one tensor.
            seed: Decides order and augmentation.
            training: Shuffled and augmented, or in order as they are.
            workers: Processes that read what does not fit in memory.
            shape: Channels, height and width that `input.read` gives for each of the samples; None if they differ or
                are not known, and then files are not held in memory. Arrays are compared here.
            memory_limit: Bytes that these batches' images may take in memory; batches of training, validation and test
                may take as much each. While those of training are arranged they take about twice as much, and with
                `sizes` they go on doing so.
            rank: Whose part this is, from 0.
            ranks: How many processes train or evaluate together.
            repeats: How often each sample comes in a training step, differently augmented; the epochs have as many
                samples as without, so they see 1 / repeats of them.
            sizes: Height and width of training images in an epoch; the input's own if None.
            cache: Where decoded training images are kept, if they are not held in memory.

        Raises:
            DataError: All samples are arrays of one shape, and the first cannot be read.
            UsageError: Training gives some rank fewer than two samples, or repeats is below one.
        """
        self.samples = tuple(samples)
        self.input = input
        self.batch_size = batch_size
        self.collate = collate
        self.seed = seed
        self.training = training
        self.workers = workers
        self.rank, self.ranks, self.repeats, self.sizes = rank, ranks, repeats, sizes
        whole = range(len(self.samples))
        self.part = whole if training else evaluation_part(len(whole), batch_size, rank, ranks)
        self.shape = shape or self._shape_of_arrays()
        self.memory_limit = memory_limit
        self.in_memory = self.shape is not None and len(self.samples) * math.prod(self.shape) <= memory_limit
        self.cache = None if self.in_memory or not training else cache
        self.replaced = 0
        targets = [-1 if sample.target is None else sample.target for sample in self.samples]
        self._targets = np.array(targets, dtype=np.int64)
        self._spare = Spare()
        self._images: Tensor | None = None
        self._held: tuple[Input, BatchMaker] | None = None
        if repeats < 1:
            raise UsageError(f"repeats is {repeats}, but must be 1 or more")
        if training and ranks > 1 and 0 < min(batch_size, len(self.samples)) < LEAST * ranks:
            raise UsageError(
                f"a step of {min(batch_size, len(self.samples))} samples leaves some of {ranks} ranks fewer than "
                f"{LEAST}; use a larger --batch-size, or fewer processes"
            )

    def __len__(self) -> int:
        """Return the steps of an epoch; in evaluation, this rank's."""
        if self.training:
            return len(step_sizes(len(self.samples), self.batch_size, self.ranks))
        return math.ceil(len(self.part) / self.batch_size)

    @property
    def cached(self) -> bool:
        """Whether decoded images are kept on disk."""
        return self.cache is not None

    def load(self) -> Generator[Event, None, None]:
        """Read all images into memory or into the cache, if one of these holds them; `epoch` does so too, silently.

        Raises:
            DataError: A sample cannot be read, or no longer has the size that all of them had.
            StorageError: The cache cannot be written.
        """
        if self.cache is not None:
            yield from self.cache.fill(self.samples, self.threads)
        if self._images is not None or self._held is not None or not self.in_memory or self.shape is None:
            return
        samples = [self.samples[index] for index in self.part]
        images = torch.empty((len(samples), *self.shape), dtype=torch.uint8)
        pause = max(1, len(samples) // 100)
        for done, image in enumerate(in_order(partial(readable, self.input.read), samples, self.threads)):
            if image.shape != self.shape:
                raise DataError(
                    f"{samples[done].name!r} has changed: its channels, height and width are "
                    f"{tuple(image.shape)}, and when it was checked they were {self.shape}; put it back as it was, or "
                    "start a new run"
                )
            images[done] = image
            if (done + 1) % pause == 0:
                yield Advanced("reading images", done + 1, len(samples))
        self._images = images

    @property
    def threads(self) -> int:
        """How many threads read what is held: none where all samples are arrays."""
        files = any(isinstance(sample.source, Path) for sample in self.samples)
        return max(self.workers, min(4, launch.cores())) if files else 0

    def steps(self, number: int) -> list[Step]:
        """Return this rank's part of each step of an epoch."""
        if not self.training:
            return evaluation_steps(self.part, self.batch_size)
        order = random_streams.order(self.seed, number, len(self.samples))
        return training_steps(order, self.batch_size, repeats=self.repeats, rank=self.rank, ranks=self.ranks)

    def epoch(self, number: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Args:
            number: The epoch, from 0; it decides order, augmentation and size in training.
            start: The step within the epoch to begin at.

        Raises:
            DataError: A sample cannot be read.
            StorageError: The cache cannot be written.
        """
        result_of(self.load())
        steps = self.steps(number)[start:]
        shown = self.input.at_size(*self.sizes(number)) if self.training and self.sizes is not None else self.input
        cached = self.cache.read if self.cache is not None else None
        reading = Reading(self.samples, shown, number, self.seed, self.training, cached)
        made = self._from_memory(steps, reading) if self.in_memory else self._from_files(steps, reading)
        for step, images in zip(steps, made, strict=True):
            yield Batch(images, self.collate(self._targets[step.samples].tolist()), step.samples, step.total)

    def _shape_of_arrays(self) -> tuple[int, int, int] | None:
        """Return what reading gives for samples that are all arrays of one shape, else None."""
        shapes = {None if isinstance(sample.source, Path) else sample.source.shape for sample in self.samples}
        if len(shapes) != 1 or None in shapes:
            return None
        channels, height, width = readable(self.input.read, self.samples[0]).shape
        return channels, height, width

    def _from_memory(self, steps: list[Step], reading: Reading) -> Iterator[Tensor]:
        if self.training:
            make = self._batch_maker(reading.input)
            for step in steps:
                yield make(step.samples, reading.numbers(step, make.draws))
            return
        images = self._images
        assert images is not None  # noqa: S101 - `load` has run
        for step in steps:
            yield self.input.prepare(images[torch.from_numpy(step.samples - self.part.start)])

    def _batch_maker(self, shown: Input) -> BatchMaker:
        """Return what makes batches of the images in memory, arranged for the size that they have now."""
        if self._held is None or self._held[0] != shown:
            assert self._images is not None  # noqa: S101 - `load` has run
            self._held = shown, shown.hold(self._images, self.memory_limit)
            if self.sizes is None:
                self._images = None  # arranged once and for all
        return self._held[1]

    def _from_files(self, steps: list[Step], reading: Reading) -> Iterator[Tensor]:
        if self.workers == 0 or not steps:
            for step in steps:
                images = np.empty((len(step.samples), *reading.shape), reading.dtype)
                unreadable = reading.read_into(images, step)
                if unreadable is not None:
                    raise DataError(unreadable.sentence)
                yield self._finished(images)
            return
        workers = Workers(reading, steps, self.workers, self._count_replaced)
        try:
            for images in workers.results():
                yield self._finished(images)
        finally:
            workers.close()

    def _finished(self, images: NDArray[np.generic]) -> Tensor:
        """Make a tensor of its own; what workers filled they fill again."""
        pixels = torch.from_numpy(images)
        return self.input.finish(pixels, self._spare.array(images.shape)) if self.training else pixels.clone()

    def _count_replaced(self) -> None:
        self.replaced += 1
