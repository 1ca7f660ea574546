"""From a source to samples with splits: read, look at every file, set the broken ones aside, split, and sum up."""

import dataclasses
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plusx.data import Dataset, Sample, read_dataset
from plusx.data.split import split_dataset
from plusx.data.survey import survey
from plusx.defaults import IMAGENET_DEVIATION, IMAGENET_MEAN, SMALL, DataFacts
from plusx.errors import DataError
from plusx.events import Event
from plusx.inputs.image import ImageInput
from plusx.inputs.statistics import statistics
from plusx.plan import Run
from plusx.random_streams import order

STATISTICS_SAMPLES = 5_000

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Prepared:
    """Data that is ready to be planned for: samples with splits, what they are like, and their mean and deviation."""

    dataset: Dataset
    facts: DataFacts
    statistics: Statistics


def reader_of(channels: int, max_pixels: int | None = None) -> ImageInput:
    """Return an input that only reads: for looking at images before their size and statistics are known."""
    reader = ImageInput(1, 1, channels, (0.0,) * channels, (1.0,) * channels)
    return reader if max_pixels is None else dataclasses.replace(reader, max_pixels=max_pixels)


def prepare(run: Run, max_pixels: int | None = None, channels: int | None = None) -> Generator[Event, None, Prepared]:
    """Read and split a run's source.

    Args:
        run: The run.
        max_pixels: A file whose header claims more is set aside; the input's own limit if None.
        channels: As what the images will be read; chosen from the data if None.

    Raises:
        DataError: The data cannot be trained on, or a file cannot be read and the run is strict.
        UsageError: There is no such source.
    """
    data_root = Path(run.data_root) if run.data_root else None
    dataset = yield from read_dataset(run.source, data_root=data_root, download=run.download)
    dataset, facts = yield from survey(dataset, reader_of(1, max_pixels).inspect, workers=os.cpu_count() or 1)
    if run.strict:
        refuse_rejected(dataset)
    dataset = split_dataset(dataset, seed=run.seed, validation=run.validation, test=run.test)
    if run.limit_samples:
        dataset = limited(dataset, run.limit_samples, run.seed)
    training = dataset.split("train")
    summary = DataFacts.of(facts, len(training), dataset.classes)
    return Prepared(dataset, summary, _statistics(training, summary, channels or summary.channels))


def refuse_rejected(dataset: Dataset) -> None:
    """Make an error of files that cannot be used.

    Raises:
        DataError: There is one.
    """
    if dataset.rejected:
        first = dataset.rejected[0]
        raise DataError(
            f"{len(dataset.rejected)} of the files of {dataset.origin!r} cannot be used; the first, {first.name!r}, "
            f"{first.reason}; mend or remove them, or leave out --strict to set them aside"
        )


def limited(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Keep at most `count` samples of each split, the classes taking turns."""
    kept: list[int] = []
    turns: dict[tuple[str | None, int | None], int] = {}
    queues: dict[str | None, list[tuple[int, int]]] = {}
    for index in order(seed, 0, len(dataset.samples)).tolist():
        sample = dataset.samples[index]
        turn = turns.get((sample.split, sample.target), 0)
        turns[sample.split, sample.target] = turn + 1
        queues.setdefault(sample.split, []).append((turn, index))
    for queue in queues.values():
        kept += [index for _, index in sorted(queue)[:count]]
    return dataclasses.replace(dataset, samples=tuple(dataset.samples[index] for index in sorted(kept)))


def overfitting(dataset: Dataset, count: int) -> Dataset:
    """Keep the first `count` training samples, the classes taking turns, and score on these same ones."""
    few = limited(dataclasses.replace(dataset, samples=dataset.split("train")), count, seed=0).samples
    copies = [dataclasses.replace(sample, split=split) for split in ("train", "validation", "test") for sample in few]
    return dataclasses.replace(dataset, samples=tuple(copies), test_name="train")


def _statistics(training: Sequence[Sample], facts: DataFacts, channels: int) -> Statistics:
    """Mean and deviation a channel: of the training images where they are small, else ImageNet's, as is the custom."""
    if channels == 3 and max(facts.height, facts.width) > SMALL:
        return IMAGENET_MEAN, IMAGENET_DEVIATION
    places = np.linspace(0, len(training) - 1, min(len(training), STATISTICS_SAMPLES)).round().astype(int)
    reader = reader_of(channels)
    return statistics([reader.read(training[place].source) for place in places.tolist()])
