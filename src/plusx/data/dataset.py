"""Sample and Dataset: what every format reads into, and what is checked of all of them alike."""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plusx.errors import DataError

Source: TypeAlias = Path | NDArray[np.uint8]

SPLITS = ("train", "validation", "test")

# The words that people use for the three splits, in folder names and in manifests.
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing to learn from or to be asked about.

    Attributes:
        name: What people see and splits.csv holds: the path below the source, or "mnist/train/00012".
        source: What an input reads: a file, or pixels (H, W) or (H, W, C).
        target: Index into the classes; None where the class is not known.
        split: "train", "validation" or "test"; None while no split is given.
        group: Samples of one group never go to different splits.
        sha256: Of the file's bytes or of the pixels; filled when the images are checked.
    """

    name: str
    source: Source = field(compare=False)
    target: int | None
    split: str | None = None
    group: str | None = None
    sha256: str = ""


@dataclass(frozen=True)
class Rejected:
    """A sample that was set aside, and why: "is empty", "does not exist"."""

    name: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """Samples, their classes, and what a person should know about them.

    Attributes:
        name: Names the run's folder.
        origin: The source as the user gave it.
        classes: The names of the classes; a sample's target is an index into them.
        samples: Those that are used.
        rejected: Those that were set aside.
        notes: Sentences to be read.
        test_name: What the source calls the split that is scored once at the end.
    """

    name: str
    origin: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()
    test_name: str = "test"

    def split(self, name: str) -> tuple[Sample, ...]:
        """Return the samples of one split, in order."""
        return tuple(sample for sample in self.samples if sample.split == name)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many samples each split has of each class: `counts()["train"]["cat"]`.

        Every class is there, with 0 where a split lacks it; samples without a split stand under "".
        """
        found = Counter((sample.split or "", sample.target) for sample in self.samples)
        splits = [split for split in (*SPLITS, "") if any(key[0] == split for key in found)]
        return {split: {label: found[split, target] for target, label in enumerate(self.classes)} for split in splits}


def safe_name(text: str) -> str:
    """Return `text` as a folder's name on any system: letters and digits of every script, dots, dashes, underscores."""
    return re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", text)).strip("._-") or "data"


def printable(path: str) -> str:
    """Return a path as text that can be written as UTF-8, whatever bytes its file system holds."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def class_name(text: str) -> str:
    """Return a class's name in the one form in which names are compared: composed (NFC), without outer blanks."""
    return unicodedata.normalize("NFC", printable(text)).strip()


def listed(names: Iterable[str], most: int = 3) -> str:
    """Return the first names, quoted, and how many more there are."""
    every = list(names)
    shown = ", ".join(repr(name) for name in every[:most])
    return shown if len(every) <= most else f"{shown} and {len(every) - most} more"


def counted(count: int, noun: str) -> str:
    """Return "1 file", "1,234 files"."""
    if count == 1:
        return f"1 {noun}"
    ending = "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{count:,} {noun}{ending}"


def reason_of(error: Exception) -> str:
    """Return in a few words why a sample could not be read: "is empty", "No such file or directory".

    Raises:
        MemoryError: Memory lacked, which is no fault of the sample's.
    """
    if isinstance(error.__cause__, MemoryError):
        raise MemoryError(str(error)) from error  # noqa: TRY004
    return str(getattr(error, "reason", "") or getattr(error, "strerror", "") or error)


def rejected_words(rejected: Sequence[Rejected], most: int = 10, file: str = "rejected.csv") -> str:
    """Return what was set aside and why, as one sentence: "2 files were set aside: 'a.jpg' is empty; 'b.png' ...".

    Args:
        rejected: At least one.
        most: How many are named; the others are counted.
        file: Where the others are listed; empty if nowhere.
    """
    words = "; ".join(f"{one.name!r} {one.reason}" for one in rejected[:most])
    if len(rejected) > most:
        words += f"; and {len(rejected) - most:,} more" + (f" ({file})" if file else "")
    return f"{counted(len(rejected), 'file')} {'was' if len(rejected) == 1 else 'were'} set aside: {words}"


def with_classes(
    dataset: Dataset, classes: Sequence[str], place_of: Callable[[str, Sequence[str]], int] | None = None
) -> Dataset:
    """Return the data set with every class matched by name against `classes`, whose order is kept.

    Args:
        dataset: What was read.
        classes: Those of a trained network.
        place_of: Which of the classes a class of another name is, -1 for none: for classes that have several names.

    Raises:
        DataError: A sample's class is not among them.
    """
    wanted = {class_name(label): index for index, label in enumerate(classes)}
    if place_of is not None:
        others = [label for label in map(class_name, dataset.classes) if label not in wanted]
        wanted |= {label: place for label in others if (place := place_of(label, classes)) >= 0}
    used = {sample.target for sample in dataset.samples if sample.target is not None}
    unknown = [dataset.classes[target] for target in sorted(used) if class_name(dataset.classes[target]) not in wanted]
    if unknown:
        close = [match for label in unknown for match in difflib.get_close_matches(label, wanted, n=1)]
        hint = f"did you mean {listed(dict.fromkeys(close))}?" if close else f"it knows {listed(classes, 10)}."
        raise DataError(
            f"{dataset.origin!r} has the class {listed(unknown)}, which the trained network does not know; {hint} "
            "Rename that class or leave it out"
        )
    places = {target: wanted[class_name(dataset.classes[target])] for target in used}
    samples = tuple(
        sample if sample.target is None else replace(sample, target=places[sample.target]) for sample in dataset.samples
    )
    return replace(dataset, classes=tuple(classes), samples=samples)


def check_classes(dataset: Dataset) -> None:
    """Check that a network can be trained on these classes.

    Raises:
        DataError: There is one class only, or validation or test has a class that training never had.
    """
    if len(dataset.classes) < 2:
        found = f"one class only, {dataset.classes[0]!r}" if dataset.classes else "no class"
        raise DataError(
            f"{dataset.origin!r} has {found}, and telling classes apart needs at least two: "
            "a folder of images for each class, or a class column with two different names"
        )
    held = {split: {sample.target for sample in dataset.split(split)} for split in SPLITS}
    if not held["train"]:
        return
    for split in ("validation", "test"):
        unseen = [dataset.classes[target] for target in sorted(t for t in held[split] - held["train"] if t is not None)]
        if unseen:
            raise DataError(
                f"{dataset.origin!r} has the class {listed(unseen)} in {split} but not in train, so it could never be "
                "learned; add samples of it to train, or remove it"
            )
