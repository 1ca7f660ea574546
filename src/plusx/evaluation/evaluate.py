"""Stored predictions of a split, the scores they earn with their 95 % intervals, and the files that hold both.

Papers: Wilson 1927; Guo et al. 2017, arXiv:1706.04599, section 2 (reliability diagram and calibration error).

Shape letters: N samples, K classes.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plusx.errors import DataError
from plusx.evaluation.scores import (
    SMALLEST,
    CalibrationBin,
    Outcomes,
    Score,
    bootstrap,
    calibration_of,
    f1_score,
    wilson,
)
from plusx.storage import write_text

UNKNOWN = -1
PROBABILITY_COLUMNS = 100  # more classes than this, and predictions.csv holds only the predicted class's probability


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network answered for each sample of a split.

    Args:
        names: N names of samples.
        targets: (N,) index of each sample's class, `UNKNOWN` (-1) where it has none.
        probabilities: (N, K) a row of probabilities for each sample.
        classes: K names of classes.
    """

    names: tuple[str, ...]
    targets: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) index of the most probable class; of equally probable ones the first."""
        return self.probabilities.argmax(1).astype(np.int64)

    @cached_property
    def confidences(self) -> NDArray[np.float64]:
        """(N,) probability of the predicted class."""
        return self.probabilities.max(1).astype(np.float64)


@dataclass(frozen=True)
class ClassScores:
    """How well one class is recognized; a score that is undefined is None."""

    name: str
    samples: int
    predicted: int
    precision: Score | None  # None: the class was never predicted
    recall: Score | None  # None: the split has no sample of the class
    f1: Score | None  # None: both


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The scores of one split's predictions.

    Args:
        split: What the split is called.
        predictions: What they were computed from.
        samples: How many samples have a known class; only these are scored.
        scores: accuracy, top5_accuracy (more than 5 classes), balanced_accuracy, macro_precision, macro_recall,
            macro_f1, log_loss, calibration_error.
        per_class: A row a class, in the order of the classes.
        confusion: (K, K) numbers of samples, rows the true class, columns the predicted one.
        calibration: 15 bins of equal width.
        mistakes: Indices into the predictions of all wrong answers, the most confident first.
    """

    split: str
    predictions: Predictions
    samples: int
    scores: dict[str, Score]
    per_class: tuple[ClassScores, ...]
    confusion: NDArray[np.int64]
    calibration: tuple[CalibrationBin, ...]
    mistakes: NDArray[np.int64]


def check(predictions: Predictions, split: str) -> None:
    """Refuse predictions that cannot be scored.

    Raises:
        DataError: There is no sample, the sizes disagree, or a row holds no probabilities.
    """
    count, classes = len(predictions.names), len(predictions.classes)
    if predictions.probabilities.shape != (count, classes) or predictions.targets.shape != (count,):
        raise DataError(
            f"the predictions of the {split} split do not fit together: {count} names, {predictions.targets.shape} "
            f"targets, {predictions.probabilities.shape} probabilities for {classes} classes"
        )
    known = predictions.targets != UNKNOWN
    if not known.any():
        raise DataError(
            f"the {split} split has no sample whose class is known, so nothing can be scored; "
            "give a source with labels, or use predict"
        )
    outside = np.flatnonzero(known & ((predictions.targets < 0) | (predictions.targets >= classes)))
    if len(outside):
        first = int(outside[0])
        raise DataError(
            f"{predictions.names[first]!r} has class number {predictions.targets[first]}, "
            f"but there are only the classes 0 to {classes - 1}"
        )
    rows = predictions.probabilities.astype(np.float64)
    with np.errstate(invalid="ignore"):
        good = (rows >= 0).all(1) & (np.abs(rows.sum(1) - 1) < 0.02)  # bfloat16 rounds a sum to within 0.01
    bad = np.flatnonzero(~good)
    if len(bad):
        first = int(bad[0])
        kind = "not a number" if np.isnan(rows[first]).any() else "not probabilities that sum to 1"
        raise DataError(
            f"the network's answer for {len(bad):,} of {count:,} samples is {kind} (the first is "
            f"{predictions.names[first]!r}); the training has probably diverged: lower the learning rate"
        )


def top(predictions: Predictions, chosen: NDArray[np.int64], places: int) -> int:
    """Count the samples whose class is among the `places` most probable; equals rank in the order of the classes."""
    targets = predictions.targets[chosen][:, None]
    rows = predictions.probabilities[chosen]
    own = np.take_along_axis(rows, targets, 1)
    before = (rows > own) | ((rows == own) & (np.arange(rows.shape[1]) < targets))
    return int((before.sum(1) < places).sum())


def evaluate(predictions: Predictions, split: str, *, resamples: int = 1000, seed: int = 0) -> Evaluation:
    """Score stored predictions.

    Proportions (accuracy, top-5 accuracy, precision, recall) have Wilson's interval, a class's F1 the one that follows
    from it, the others (macro scores, log loss, calibration error) a bootstrap's over samples.

    Args:
        predictions: A row a sample; samples whose class is unknown are left out of every score.
        split: What the split is called.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        DataError: There is nothing to score, or a row holds no probabilities.
    """
    check(predictions, split)
    chosen = np.flatnonzero(predictions.targets != UNKNOWN)
    targets, predicted = predictions.targets[chosen], predictions.predicted[chosen]
    classes = len(predictions.classes)
    own = predictions.probabilities[chosen, targets].astype(np.float64)
    outcomes = Outcomes(
        targets, predicted, predictions.confidences[chosen], -np.log(np.clip(own, SMALLEST, 1.0)), classes
    )
    confusion = np.bincount(targets * classes + predicted, minlength=classes**2).reshape(classes, classes)

    scores: dict[str, Score] = {}
    drawn = bootstrap(outcomes, resamples=resamples, seed=seed)
    hits = int(outcomes.correct.sum())
    proportions = {"accuracy": wilson(hits, len(chosen))}
    if classes > 5:
        proportions["top5_accuracy"] = wilson(top(predictions, chosen, 5), len(chosen))
    scores.update({name: score for name, score in proportions.items() if score is not None})
    scores["balanced_accuracy"] = drawn["macro_recall"]
    scores.update(drawn)

    rows: list[ClassScores] = []
    for index, name in enumerate(predictions.classes):
        right, true, answered = (
            int(count) for count in (confusion[index, index], confusion[index].sum(), confusion[:, index].sum())
        )
        precision, recall = wilson(right, answered), wilson(right, true)
        rows.append(ClassScores(name, true, answered, precision, recall, f1_score(right, true, answered)))

    wrong = chosen[~outcomes.correct]
    mistakes = wrong[np.argsort(-predictions.confidences[wrong], kind="stable")]
    return Evaluation(
        split, predictions, len(chosen), scores, tuple(rows), confusion, calibration_of(outcomes), mistakes
    )


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV text; None is an empty cell, a name that is no valid Unicode is written with escapes."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8")


def numbers(score: Score | None) -> tuple[object, ...]:
    """Return a score's three cells, empty ones where it is undefined."""
    return tuple(score.to_dict().values()) if score else (None, None, None)


def write(evaluation: Evaluation, folder: Path) -> None:
    """Write scores.json, per_class.csv, confusion.csv, calibration.csv and predictions.csv.

    Raises:
        StorageError: The folder cannot be written.
    """
    predictions, classes = evaluation.predictions, evaluation.predictions.classes
    summary = {
        "split": evaluation.split,
        "samples": evaluation.samples,
        "scores": {name: score.to_dict() for name, score in evaluation.scores.items()},
        "calibration_bins": len(evaluation.calibration),
        "interval": "95 %",
    }
    write_text(folder / "scores.json", json.dumps(summary, ensure_ascii=False, indent=2) + "\n")

    header = ["class", "samples", "predicted"]
    header += [f"{name}{end}" for name in ("precision", "recall", "f1") for end in ("", "_low", "_high")]
    rows = (
        (row.name, row.samples, row.predicted, *numbers(row.precision), *numbers(row.recall), *numbers(row.f1))
        for row in evaluation.per_class
    )
    write_text(folder / "per_class.csv", table(header, rows))

    counts = ((name, *row) for name, row in zip(classes, evaluation.confusion.tolist(), strict=True))
    write_text(folder / "confusion.csv", table(("true \\ predicted", *classes), counts))

    bins = (
        tuple(None if cell is None else round(cell, 6) for cell in (b.low, b.high, b.samples, b.confidence, b.accuracy))
        for b in evaluation.calibration
    )
    write_text(folder / "calibration.csv", table(("low", "high", "samples", "confidence", "accuracy"), bins))
    write_text(folder / "predictions.csv", predictions_table(predictions))


def predictions_table(predictions: Predictions) -> str:
    """Return a row a sample: path, true_class (empty if unknown), predicted, probability, each class's probability."""
    classes = predictions.classes
    all_classes = len(classes) <= PROBABILITY_COLUMNS
    header = ("path", "true_class", "predicted", "probability")
    header += tuple(f"probability:{name}" for name in classes) if all_classes else ()
    targets, predicted = predictions.targets.tolist(), predictions.predicted.tolist()
    rows = (
        (
            name,
            None if target == UNKNOWN else classes[target],
            classes[answer],
            f"{row[answer]:.6f}",
            *([f"{cell:.6f}" for cell in row] if all_classes else ()),
        )
        for name, target, answer, row in zip(
            predictions.names, targets, predicted, predictions.probabilities.tolist(), strict=True
        )
    )
    return table(header, rows)
