"""Looking at every sample once before training: what can be read, its size, and its sum."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from plusx.data.dataset import Dataset, Rejected, Sample, Source, counted
from plusx.errors import DataError
from plusx.events import Advanced, Event

LOOK_AHEAD = 16


class Facts(Protocol):
    """What an input finds out about one sample."""

    @property
    def channels(self) -> int:
        """1 grey, 3 colour."""
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
    samples: list[Sample] = []
    facts: list[FactsT] = []
    rejected = list(dataset.rejected)
    total = len(dataset.samples)
    pause = max(1, total // 200)
    for done, (sample, found) in enumerate(inspected(dataset, inspect, workers), start=1):
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


def inspected(
    dataset: Dataset, inspect: Callable[[Source], FactsT], workers: int
) -> Iterator[tuple[Sample, FactsT | str]]:
    """Yield each sample, in order, with its facts or with the reason why there are none."""

    def check(sample: Sample) -> FactsT | str:
        try:
            return inspect(sample.source)
        except (DataError, OSError) as error:
            return str(getattr(error, "reason", "") or getattr(error, "strerror", "") or error)

    in_memory = all(isinstance(sample.source, np.ndarray) for sample in dataset.samples)
    if workers < 2 or in_memory:
        # An array's check takes microseconds: handing it to a thread would cost more.
        yield from ((sample, check(sample)) for sample in dataset.samples)
        return
    with ThreadPoolExecutor(workers, "checking") as pool:
        waiting: list[tuple[Sample, Future[FactsT | str]]] = []
        try:
            for sample in dataset.samples:
                waiting.append((sample, pool.submit(check, sample)))
                if len(waiting) >= workers * LOOK_AHEAD:
                    first, future = waiting.pop(0)
                    yield first, future.result()
            for sample, future in waiting:
                yield sample, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
