"""Scoring a trained network again: on its own test split, or on any other source, honestly."""

import json
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plusx import launch, memory
from plusx.data import Dataset
from plusx.data.batches import Batches
from plusx.data.dataset import SPLIT_WORDS, rejected_words
from plusx.device import choose_device
from plusx.errors import DataError, UsageError, look_up
from plusx.evaluation import evaluate as scoring
from plusx.evaluation.evaluate import Evaluation
from plusx.evaluation.inference import predict
from plusx.events import Event, Noted, Section
from plusx.preparation import refuse_rejected
from plusx.reporting import score_rows
from plusx.run_folder import EVALUATIONS, RunFolder
from plusx.scored_samples import foreign_samples, own_samples, run_of
from plusx.storage import writing
from plusx.weights.choose import choose

ASKED = "asked.json"  # what the numbers beside it are of: checkpoint, source, split
MOST_WORKERS = 8


@dataclass(frozen=True)
class Assessment:
    """How good a trained network is on some samples.

    Attributes:
        checkpoint: The file whose weights were scored, or what the user called them.
        source: Where the samples came from.
        split: What the source calls the split.
        left_out: How many samples were left out because they were trained on.
        evaluation: The scores with their intervals, and the predictions.
        folder: Where the numbers were written, if anywhere.
        seconds: "total".
    """

    checkpoint: str
    source: str
    split: str
    left_out: int
    evaluation: Evaluation
    folder: Path | None
    seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values: what --json prints."""
        return {
            "checkpoint": self.checkpoint,
            "source": self.source,
            "split": self.split,
            "samples": self.evaluation.samples,
            "left_out": self.left_out,
            "scores": {name: score.to_dict() for name, score in self.evaluation.scores.items()},
            "folder": str(self.folder) if self.folder else None,
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }


def evaluate(
    first: str | Path,
    source: str | Path = "",
    *,
    weights: str | Path = "",
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
        first: A run's folder, whose best weights are meant, a checkpoint, other weights, the name of published ones, or
            that of an architecture, which needs weights.
        source: What to score it on; the run's own data if empty.
        weights: Of an architecture that was named: a file, a folder or a published name.
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
    wanted = look_up("split", split, SPLIT_WORDS) if split else ""
    chosen = yield from choose(first, weights)
    folder = run_of(chosen.file)
    if source:
        found = yield from foreign_samples(
            chosen, folder, source, wanted,
            include_training=include_training, data_root=data_root, download=download,
        )  # fmt: skip
    else:
        found = yield from own_samples(chosen, folder, wanted or "test", data_root=data_root, download=download)
    dataset, checkpoint, left_out = found.dataset, found.checkpoint, found.left_out
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
    computing = choose_device(device)
    network = checkpoint.network()
    computing.place(network)
    batches = Batches(
        dataset.samples,
        checkpoint.input,
        batch_size=batch_size,
        collate=checkpoint.task.collate,
        training=False,
        workers=reading_workers(dataset, batch_size),
    )
    with memory.bounded("end other programs, or score it on a machine with more"):
        predictions = yield from predict(network, checkpoint.task, batches, computing)
    evaluation = scoring.evaluate(predictions, dataset.test_name)
    asked = {
        "checkpoint": chosen.file.name if chosen.file else chosen.name,
        "source": str(Path(dataset.origin).resolve()) if Path(dataset.origin).exists() else dataset.origin,
        "split": dataset.test_name,
        "include_training": include_training,
    }
    place = output or (
        _place(folder.path / EVALUATIONS, f"{dataset.name}-{dataset.test_name}", asked) if folder else None
    )
    if place:
        with writing(place):
            place.mkdir(parents=True, exist_ok=True)
        numbers = RunFolder(place)
        numbers.write_json(ASKED, asked)
        scoring.write(evaluation, place)
        numbers.write_rejected((one.name, one.reason) for one in dataset.rejected)
    seconds = {"total": time.perf_counter() - began}
    result = Assessment(chosen.name, dataset.origin, dataset.test_name, left_out, evaluation, place, seconds)
    yield _screen(result)
    return result


def reading_workers(dataset: Dataset, batch_size: int) -> int:
    """How many processes read: none where the samples are in memory, none for less than a batch."""
    if not any(isinstance(sample.source, Path) for sample in dataset.samples):
        return 0
    return min(launch.cores(), MOST_WORKERS, len(dataset.samples) // batch_size)


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


def _screen(result: Assessment) -> Section:
    rows = [
        ("network", result.checkpoint),
        ("scored on", f"{result.evaluation.samples:,} samples of {result.source}, split {result.split}"),
        *score_rows(result.evaluation),
    ]
    if result.folder:
        rows.append(("numbers", str(result.folder)))
    return Section("Result", tuple(rows))
