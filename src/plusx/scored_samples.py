"""Which samples a trained network is scored on: a split that its run kept, or another source, honestly.

What the network was trained on, or chosen by, is recognized by its content (splits.csv), left out, and counted.
"""

import dataclasses
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from plusx import launch
from plusx.checkpoint import Checkpoint
from plusx.data import Dataset, read_dataset
from plusx.data.split import read_splits, without_training
from plusx.data.survey import survey
from plusx.errors import DataError, UsageError
from plusx.events import Event, Noted
from plusx.plan import Plan
from plusx.request import read_config
from plusx.run_folder import RunFolder, typed
from plusx.weights.choose import Chosen
from plusx.weights.fit import place_of


@dataclass(frozen=True)
class Found:
    """Samples to score a network on.

    Attributes:
        dataset: The samples, with their sums, and what could not be read.
        checkpoint: The network; its classes have the data's names if they had none of their own.
        left_out: How many samples were left out because they were trained on.
    """

    dataset: Dataset
    checkpoint: Checkpoint
    left_out: int = 0


def run_of(file: Path | None) -> RunFolder | None:
    """Return the run that a checkpoint's file lies in, None where it lies in none."""
    run = file.parent.parent if file else None
    return RunFolder.open(run) if run and (run / "splits.csv").is_file() else None


def foreign_samples(
    chosen: Chosen, folder: RunFolder | None, source: str | Path, split: str, *, include_training: bool,
    data_root: Path | None, download: bool,
) -> Generator[Event, None, Found]:  # fmt: skip
    """Read a source that the network's run does not know, or may know in part.

    Raises:
        UsageError, DataError: The source cannot be scored.
    """
    checkpoint = chosen.checkpoint
    classes = None if chosen.numbered else checkpoint.task.classes
    dataset = yield from read_dataset(
        source, classes=classes, data_root=data_root, download=download, place_of=place_of
    )
    if chosen.numbered:
        checkpoint = named_by(dataset, checkpoint)
        text = (
            f"the {len(dataset.classes)} classes of the weights have no names: those of {source} are assumed, in order"
        )
        yield Noted(text, "warning")
    dataset = yield from _looked_at(_foreign_split(dataset, split), checkpoint)
    if include_training:
        return Found(dataset, checkpoint)
    if folder is None:
        what = "checkpoint stands" if chosen.file else "network's weights stand"
        yield Noted(f"this {what} alone: whether it was trained on these samples is not known", "warning")
        return Found(dataset, checkpoint)
    trained = [row.sha256 for row in read_splits(folder.splits) if row.split != "test"]
    dataset, left_out = without_training(dataset, trained)
    return Found(dataset, checkpoint, left_out)


def named_by(dataset: Dataset, checkpoint: Checkpoint) -> Checkpoint:
    """Return a network whose classes have numbers for names with those of a data set, which has as many.

    Raises:
        DataError: It has more or fewer.
    """
    if len(dataset.classes) != len(checkpoint.task.classes):
        raise DataError(
            f"the weights have {len(checkpoint.task.classes)} classes without names, and {dataset.origin!r} has "
            f"{len(dataset.classes)}; weights without names are scored on data with as many classes, in their order"
        )
    return dataclasses.replace(checkpoint, task=dataclasses.replace(checkpoint.task, classes=dataset.classes))


def own_samples(
    chosen: Chosen, folder: RunFolder | None, split: str, *, data_root: Path | None, download: bool
) -> Generator[Event, None, Found]:
    """Read the samples that the run itself put into a split, as they were then; what they were used for is said.

    Raises:
        UsageError, DataError: There is no run, or its data cannot be read.
    """
    if folder is None:
        raise DataError(
            f"{chosen.name!r} is not in a run's folder, so its test split is not known; name a source to score"
        )
    checkpoint, rows = chosen.checkpoint, read_splits(folder.splits)
    run = Plan.from_dict(read_config(folder.config)).run
    root = data_root or (Path(run.data_root) if run.data_root else None)
    try:
        dataset = yield from read_dataset(
            run.source, classes=checkpoint.task.classes, data_root=root, download=download
        )
    except UsageError as error:
        raise UsageError(
            f"the source {run.source!r} of the run {str(folder.path)!r} cannot be read from here; name where it is: "
            f"plusx evaluate {typed(folder.path)} SOURCE ({error})"
        ) from error
    used = {(row.path, row.sha256) for row in rows if row.split == split}
    trained = {row.sha256 for row in rows if row.split == "train"}
    seen = sum(sha256 in trained for _, sha256 in used)
    named = "val" if split == "test" and _val_is_test(dataset) else split
    if split == "train":
        yield Noted("the network was trained on these samples: their scores say nothing of new ones", "warning")
    elif seen and seen == len(used):  # as --overfit-batches does
        yield Noted(f"the {split} split of this run is what it was trained on, and is called train", "warning")
        named = "train"
    elif seen:
        yield Noted(f"{seen:,} of the {len(used):,} samples were trained on too", "warning")
    if split == "validation" and named != "train":
        yield Noted("the network was chosen by these samples: their scores flatter it", "warning")
    paths = {path for path, _ in used}
    dataset = dataclasses.replace(
        dataset,
        samples=tuple(sample for sample in dataset.samples if sample.name in paths),
        rejected=tuple(one for one in dataset.rejected if one.name in paths),
        test_name=named,
    )
    dataset = yield from _looked_at(dataset, checkpoint)
    samples = tuple(sample for sample in dataset.samples if (sample.name, sample.sha256) in used)
    if len(samples) < len(used):
        yield Noted(
            "some samples of the split are gone or have changed since training; the others are scored", "warning"
        )
    return Found(dataclasses.replace(dataset, samples=samples), checkpoint)


def _looked_at(dataset: Dataset, checkpoint: Checkpoint) -> Generator[Event, None, Dataset]:
    """The samples that can be read, with their sums."""
    if dataset.samples:
        dataset, _ = yield from survey(dataset, checkpoint.input.inspect, workers=launch.cores())
    return dataset


def _val_is_test(dataset: Dataset) -> bool:
    given = {sample.split for sample in dataset.samples}
    return "validation" in given and "test" not in given


def _foreign_split(dataset: Dataset, split: str) -> Dataset:
    """The split that was asked for, or the one that is meant to be scored."""
    given = {sample.split for sample in dataset.samples}
    chosen = split or next((name for name in ("test", "validation") if name in given), "")
    if not chosen:
        return dataclasses.replace(dataset, test_name="all")
    return dataclasses.replace(dataset, samples=dataset.split(chosen), test_name=chosen)
