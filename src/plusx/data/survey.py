"""Looking at every sample once before training: what can be read, its size, and its sum."""

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from plusx.data.dataset import Dataset, Rejected, Sample, Source, counted, reason_of
from plusx.data.in_order import in_order
from plusx.errors import DataError
from plusx.events import Advanced, Event


class Facts(Protocol):
    """What an input finds out about one sample."""

    @property
    def channels(self) -> int:
        """1 gray, 3 color."""
        ...

    @property
    def height(self) -> int:
        """In pixels."""
        ...

    @property
    def width(self) -> int:
        """In pixels."""
        ...

    @property
    def sha256(self) -> str:
        """Of the bytes or the pixels."""
        ...


FactsT = TypeVar("FactsT", bound=Facts)


def survey(
    dataset: Dataset, inspect: Callable[[Source], FactsT], *, workers: int
) -> Generator[Event, None, tuple[Dataset, list[FactsT]]]:
    """Look at every sample; set aside, by name and reason, those that cannot be read.

    Args:
        dataset: The samples.
        inspect: The input's own check, which raises DataError (with a `reason`) for what it cannot read.
        workers: Threads that read files at the same time.

    Returns:
        The data set of the readable samples, their `sha256` filled, and the facts of each of them in order.

    Raises:
        DataError: Not one sample can be read.
    """

    def check(sample: Sample) -> FactsT | str:
        try:
            return inspect(sample.source)
        except (DataError, OSError) as error:
            return reason_of(error)

    # An array's check takes microseconds: handing it to a thread would cost more.
    if all(isinstance(sample.source, np.ndarray) for sample in dataset.samples):
        workers = 0
    samples: list[Sample] = []
    facts: list[FactsT] = []
    rejected = list(dataset.rejected)
    total = len(dataset.samples)
    pause = max(1, total // 200)
    answers = in_order(check, dataset.samples, workers)
    for done, (sample, found) in enumerate(zip(dataset.samples, answers, strict=True), start=1):
        if isinstance(found, str):
            rejected.append(Rejected(sample.name, found))
        else:
            samples.append(replace(sample, sha256=found.sha256))
            facts.append(found)
        if done % pause == 0 or done == total:
            yield Advanced("checking images", done, total)
    if not samples:
        first = "; ".join(f"{one.name!r} {one.reason}" for one in rejected[:3])
        raise DataError(f"none of the {counted(len(rejected), 'image')} of {dataset.origin!r} can be read: {first}")
    return replace(dataset, samples=tuple(samples), rejected=tuple(rejected)), facts
