"""Scoring a trained network again: on its own test split, or on any other source, honestly.

What the network was trained on, or chosen by, is recognized by its content (splits.csv), left out, and counted.
"""

import dataclasses
import json
import os
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plusx.checkpoint import Checkpoint, checkpoint_file
from plusx.data import Dataset, read_dataset
from plusx.data.batches import Batches
from plusx.data.dataset import SPLIT_WORDS, rejected_words
from plusx.data.split import SplitRow, read_splits, without_training
from plusx.data.survey import survey
from plusx.device import choose_device
from plusx.errors import DataError, UsageError, look_up
from plusx.evaluation import evaluate as scoring
from plusx.evaluation.evaluate import Evaluation
from plusx.evaluation.inference import predict
from plusx.events import Event, Noted, Section
from plusx.plan import Plan, read_config
from plusx.preparation import refuse_rejected
from plusx.reporting import score_rows
from plusx.run_folder import RunFolder, typed
from plusx.storage import writing

ASKED = "asked.json"  # what the numbers beside it are of: checkpoint, source, split
MOST_WORKERS = 8


@dataclass(frozen=True)
class Assessment:
    """How good a trained network is on some samples.

    Attributes:
        checkpoint: The file whose weights were scored.
        source: Where the samples came from.
        split: What the source calls the split.
        left_out: How many samples were left out because they were trained on.
        evaluation: The scores with their intervals, and the predictions.
        folder: Where the numbers were written, if anywhere.
        seconds: "total".
    """

    checkpoint: Path
    source: str
    split: str
    left_out: int
    evaluation: Evaluation
    folder: Path | None
    seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values: what --json prints."""
        return {
            "checkpoint": str(self.checkpoint),
            "source": self.source,
            "split": self.split,
            "samples": self.evaluation.samples,
            "left_out": self.left_out,
            "scores": {name: score.to_dict() for name, score in self.evaluation.scores.items()},
            "folder": str(self.folder) if self.folder else None,
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }


def evaluate(
    path: str | Path,
    source: str | Path = "",
    *,
    split: str = "",
    include_training: bool = False,
    output: Path | None = None,
    data_root: Path | None = None,
    download: bool = False,
    strict: bool = False,
    device: str = "auto",
    batch_size: int = 64,
) -> Generator[Event, None, Assessment]:
    """Score a trained network.

    Args:
        path: A run's folder, whose best weights are meant, or a checkpoint file.
        source: What to score it on; the run's own data if empty.
        split: Which split; of the run's own data its test split, of another source its test split, else its validation
            split, else all of it.
        include_training: Score samples too that the network was trained on or chosen by.
        output: A folder for the numbers. If None, `evaluations/photos-test` (source, split) in the run's folder,
            and nowhere for a lone checkpoint; another source of that name gets a number (`photos-test-2`), and only
            the same source, split and checkpoint scored again replace their former numbers.
        data_root: Where named data sets are looked for first.
        download: Whether a named data set may be downloaded.
        strict: Whether a file that cannot be read is an error.
        device: Where to compute.
        batch_size: Samples that are answered together.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        UsageError, DataError: The source cannot be scored.
    """
    began = time.perf_counter()
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}, but must be at least 1")
    file = checkpoint_file(Path(path))
    checkpoint = Checkpoint.load(file)
    classes = checkpoint.task.classes
    wanted = look_up("split", split, SPLIT_WORDS) if split else ""
    folder = RunFolder.open(file.parent.parent) if (file.parent.parent / "splits.csv").is_file() else None
    rows = read_splits(folder.splits) if folder else []
    left_out = 0
    if folder and not source:
        dataset = yield from _own_split(folder, rows, wanted or "test", checkpoint, data_root, download)
    elif source:
        dataset = yield from read_dataset(source, classes=classes, data_root=data_root, download=download)
        dataset = yield from _looked_at(_foreign_split(dataset, wanted), checkpoint)
        if not include_training:
            if folder is None:
                yield Noted(
                    "this checkpoint stands alone: whether it was trained on these samples is not known", "warning"
                )
            trained = [row.sha256 for row in rows if row.split != "test"]
            dataset, left_out = without_training(dataset, trained)
    else:
        raise DataError(
            f"{str(file)!r} is not in a run's folder, so its test split is not known; name a source to score"
        )
    for text in dataset.notes:
        yield Noted(text)
    if strict:
        refuse_rejected(dataset)
    if dataset.rejected:
        listed_in = "rejected.csv" if folder or output else ""
        yield Noted(rejected_words(dataset.rejected, file=listed_in), "warning")
    if left_out:
        yield Noted(
            f"{left_out:,} samples that the network was trained on or chosen by are left out (--include-training)"
        )
    if not dataset.samples:
        why = (
            "all its samples were trained on; --include-training scores them" if left_out else "it has no such samples"
        )
        raise DataError(f"nothing of {dataset.origin!r} can be scored: {why}")
    chosen = choose_device(device)
    network = checkpoint.network()
    chosen.place(network)
    batches = Batches(
        dataset.samples,
        checkpoint.input,
        batch_size=batch_size,
        collate=checkpoint.task.collate,
        training=False,
        workers=reading_workers(dataset, batch_size),
    )
    predictions = yield from predict(network, checkpoint.task, batches, chosen)
    evaluation = scoring.evaluate(predictions, dataset.test_name)
    asked = {
        "checkpoint": file.name,
        "source": str(Path(dataset.origin).resolve()) if Path(dataset.origin).exists() else dataset.origin,
        "split": dataset.test_name,
        "include_training": include_training,
    }
    place = output or (
        _place(folder.path / "evaluations", f"{dataset.name}-{dataset.test_name}", asked) if folder else None
    )
    if place:
        with writing(place):
            place.mkdir(parents=True, exist_ok=True)
        numbers = RunFolder(place)
        numbers.write_json(ASKED, asked)
        scoring.write(evaluation, place)
        numbers.write_rejected((one.name, one.reason) for one in dataset.rejected)
    seconds = {"total": time.perf_counter() - began}
    result = Assessment(file, dataset.origin, dataset.test_name, left_out, evaluation, place, seconds)
    yield _screen(result)
    return result


def _own_split(
    folder: RunFolder, rows: list[SplitRow], split: str, checkpoint: Checkpoint, data_root: Path | None, download: bool
) -> Generator[Event, None, Dataset]:
    """The samples that the run itself put into this split, as they were then; what they were used for is said."""
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
    return dataclasses.replace(dataset, samples=samples)


def _looked_at(dataset: Dataset, checkpoint: Checkpoint) -> Generator[Event, None, Dataset]:
    """The samples that can be read, with their sums."""
    if dataset.samples:
        dataset, _ = yield from survey(dataset, checkpoint.input.inspect, workers=os.cpu_count() or 1)
    return dataset


def reading_workers(dataset: Dataset, batch_size: int) -> int:
    """How many processes read: none where the samples are in memory, none for less than a batch."""
    if not any(isinstance(sample.source, Path) for sample in dataset.samples):
        return 0
    return min(os.cpu_count() or 1, MOST_WORKERS, len(dataset.samples) // batch_size)


def _place(parent: Path, name: str, asked: dict[str, Any]) -> Path:
    """A folder for these numbers: that of the same question asked before, else the first free one."""
    number = 1
    while True:
        place = parent / (name if number == 1 else f"{name}-{number}")
        if not place.exists() or _asked(place) == asked:
            return place
        number += 1


def _asked(place: Path) -> object:
    """What was scored in this folder; None if it does not say."""
    try:
        return json.loads((place / ASKED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


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


def _screen(result: Assessment) -> Section:
    rows = [
        ("network", str(result.checkpoint)),
        ("scored on", f"{result.evaluation.samples:,} samples of {result.source}, split {result.split}"),
        *score_rows(result.evaluation),
    ]
    if result.folder:
        rows.append(("numbers", str(result.folder)))
    return Section("Result", tuple(rows))
