"""From a source to samples with splits: read, look at every file, set the broken ones aside, split, and sum up."""

import dataclasses
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plusx import launch
from plusx.data import Dataset, Sample, read_dataset
from plusx.data.in_order import in_order
from plusx.data.split import split_dataset
from plusx.data.survey import survey
from plusx.defaults import SMALL, DataFacts
from plusx.errors import DataError, UsageError
from plusx.events import Advanced, Event
from plusx.inputs.image import ImageInput
from plusx.inputs.statistics import PixelSums
from plusx.plan import Run
from plusx.random_streams import order
from plusx.weights.published import IMAGENET_DEVIATION, IMAGENET_MEAN

STATISTICS_SAMPLES = 5_000

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Prepared:
    """Data that is ready to be planned for.

    Attributes:
        dataset: The samples, with splits.
        sizes: Height and width of every sample, by name.
        facts: What the training split is like; nothing else may decide how it is trained on.
        statistics: Mean and deviation a channel of the training images, in 0..1.
    """

    dataset: Dataset
    sizes: Mapping[str, tuple[int, int]]
    facts: DataFacts
    statistics: Statistics

    def shape(self, samples: Sequence[Sample], channels: int) -> tuple[int, int, int] | None:
        """Return the one (channels, height, width) of all these samples, or None if their sizes differ."""
        found = {self.sizes[sample.name] for sample in samples}
        return (channels, *found.pop()) if len(found) == 1 else None


def reader_of(channels: int, max_pixels: int | None = None) -> ImageInput:
    """Return an input that only reads: for looking at images before their size and statistics are known."""
    reader = ImageInput(1, 1, channels, (0.0,) * channels, (1.0,) * channels)
    return reader if max_pixels is None else dataclasses.replace(reader, max_pixels=max_pixels)


def prepare(
    run: Run, max_pixels: int | None = None, channels: int | None = None, *, measure: bool = True
) -> Generator[Event, None, Prepared]:
    """Read and split a run's source.

    Args:
        run: The run.
        max_pixels: A file whose header claims more is set aside; the input's own limit if None.
        channels: As what the images will be read; chosen from the data if None.
        measure: Whether mean and deviation are needed; ImageNet's or none stand there otherwise.

    Raises:
        DataError: The data cannot be trained on, or a file cannot be read and the run is strict.
        UsageError: There is no such source, or the samples are limited to fewer than there are classes, or files are to
            be read in other channels than 1 or 3.
    """
    data_root = Path(run.data_root) if run.data_root else None
    dataset = yield from read_dataset(run.source, data_root=data_root, download=run.download)
    dataset, found = yield from survey(dataset, reader_of(1, max_pixels).inspect, workers=launch.cores())
    if channels not in (None, 1, 3) and any(isinstance(sample.source, Path) for sample in dataset.samples):
        raise UsageError(f"channels is {channels}, but the images of {run.source!r} are files; use --channels 1 or 3")
    facts = {sample.name: fact for sample, fact in zip(dataset.samples, found, strict=True)}
    if run.strict:
        refuse_rejected(dataset)
    dataset = split_dataset(dataset, seed=run.seed, validation=run.validation, test=run.test)
    if run.limit_samples:
        if run.limit_samples < len(dataset.classes):
            raise UsageError(
                f"limit_samples is {run.limit_samples}, but there are {len(dataset.classes)} classes, "
                "each of which needs a sample to be learned; give at least as many"
            )
        dataset = limited(dataset, run.limit_samples, run.seed)
    training = dataset.split("train")
    summary = DataFacts.of([facts[sample.name] for sample in training], dataset.classes)
    sizes = {name: (fact.height, fact.width) for name, fact in facts.items()}
    wanted = channels or summary.channels
    if (wanted == 3 and max(summary.height, summary.width) > SMALL) or not measure:
        return Prepared(dataset, sizes, summary, (IMAGENET_MEAN, IMAGENET_DEVIATION))
    return Prepared(dataset, sizes, summary, (yield from _statistics(training, reader_of(wanted, max_pixels))))


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


def overfitting(prepared: Prepared, count: int) -> Prepared:
    """Keep the first `count` training samples, the classes taking turns, and score on these same ones."""
    dataset = prepared.dataset
    few = limited(dataclasses.replace(dataset, samples=dataset.split("train")), count, seed=0).samples
    copies = [dataclasses.replace(sample, split=split) for split in ("train", "validation", "test") for sample in few]
    return dataclasses.replace(
        prepared,
        dataset=dataclasses.replace(dataset, samples=tuple(copies), test_name="train"),
        facts=dataclasses.replace(prepared.facts, samples=len(few)),
    )


def _statistics(training: Sequence[Sample], reader: ImageInput) -> Generator[Event, None, Statistics]:
    """Measure mean and deviation a channel of the training images, or of evenly chosen ones where they are many."""
    places = np.linspace(0, len(training) - 1, min(len(training), STATISTICS_SAMPLES)).round().astype(int)
    chosen = [training[place].source for place in places.tolist()]
    threads = 1 if isinstance(chosen[0], np.ndarray) else launch.cores()
    sums = PixelSums()
    for done, image in enumerate(in_order(reader.read, chosen, threads), start=1):
        sums.add(image)
        if done % 100 == 0:
            yield Advanced("measuring mean and deviation", done, len(chosen))
    return sums.statistics()
