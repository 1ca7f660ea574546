"""Splits: stratified, grouped, seeded, and remembered, so that nothing is scored on what it was trained on."""

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np

from plusx.data.dataset import Dataset, check_classes, counted, listed
from plusx.data.stratify import assign, quotas_of, target_of, units_of
from plusx.errors import DataError
from plusx.storage import write_text

COLUMNS = ("path", "sha256", "split", "class")


@dataclass(frozen=True)
class SplitRow:
    """One row of splits.csv: what a run used a sample for."""

    path: str
    sha256: str
    split: str
    label: str


def split_dataset(dataset: Dataset, *, seed: int, validation: float = 0.1, test: float = 0.2) -> Dataset:
    """Give every sample a split.

    Without splits in the source (or with train only), test and validation are cut from all samples. With train and
    test, validation is cut from train. With train and validation, that validation is what is scored once at the end,
    and a validation split is cut from train. With all three, nothing changes. What is cut is stratified by class;
    samples of one group or of the same content stay together; classes of one or two samples stay in train. The
    order of the samples plays no part.

    Args:
        dataset: Its samples have splits all or none; `sha256` is used where it is filled.
        seed: Decides which samples go where.
        validation: The share of what it is cut from; 0 cuts none.
        test: The share of all samples.

    Raises:
        DataError: There is no train split, a class has no sample to train on, a class of validation or test is not in
            train, or there are too few samples or groups.
    """
    check_classes(dataset)
    given = {sample.split for sample in dataset.samples}
    notes: list[str] = []
    if given - {None, "train"} and "train" not in given:
        has = " and ".join(sorted(split for split in given if split))
        raise DataError(f"{dataset.origin!r} has a {has} split but no train split; add one, or give all without splits")
    if given >= {"train", "validation", "test"}:
        result = dataset
    elif "test" in given:
        result = cut(dataset, seed, {"validation": validation}, notes)
    elif "validation" in given:
        notes.append(
            "the source has only train and val: val is scored once, at the end, and validation is cut from train"
        )
        moved = [replace(one, split="test") if one.split == "validation" else one for one in dataset.samples]
        result = cut(replace(dataset, samples=tuple(moved), test_name="val"), seed, {"validation": validation}, notes)
    else:
        pooled = tuple(replace(sample, split="train") for sample in dataset.samples)
        result = cut(replace(dataset, samples=pooled), seed, {"test": test, "validation": validation}, notes)
    check_trainable(result)
    notes.extend(overlap(result))
    return replace(result, notes=(*dataset.notes, *notes))


def check_trainable(dataset: Dataset) -> None:
    """Check that every class can be learned.

    Raises:
        DataError: A class has no sample in train.
    """
    held = {sample.target for sample in dataset.split("train")}
    lacking = [label for target, label in enumerate(dataset.classes) if target not in held]
    if lacking:
        aside = f" ({counted(len(dataset.rejected), 'file')} set aside)" if dataset.rejected else ""
        raise DataError(
            f"the class {listed(lacking)} of {dataset.origin!r} has no usable sample to train on{aside}; "
            "add samples or remove the class"
        )


def cut(dataset: Dataset, seed: int, shares: dict[str, float], notes: list[str]) -> Dataset:
    """Move shares of the train split to other splits."""
    shares = {name: share for name, share in shares.items() if share}
    if not shares:
        return dataset
    order = sorted(
        (index for index, sample in enumerate(dataset.samples) if sample.split == "train"),
        key=lambda index: (dataset.samples[index].name, dataset.samples[index].sha256),
    )
    pool = [dataset.samples[index] for index in order]
    counts = np.bincount([target_of(sample) for sample in pool], minlength=len(dataset.classes))
    quotas = quotas_of(counts, list(shares.values()))
    units = units_of(pool)
    repeated = sum(len(unit) for unit in units if len(unit) > 1 and not pool[unit[0]].group)
    if repeated:
        notes.append(
            f"{counted(repeated, 'sample')} with the same content as another; the same content is in one split only"
        )
    places = assign(pool, units, quotas, seed)
    names = ["train", *shares]
    for place, name in enumerate(names):
        if place not in places:
            what = (
                f"{counted(len(units), 'group')}"
                if any(sample.group for sample in pool)
                else counted(len(pool), "sample")
            )
            raise DataError(
                f"{dataset.origin!r} cannot be split: of its {what} none can be spared for {name}; add more, "
                "or give the splits yourself as folders or as a split column"
            )
    elsewhere = {target_of(sample) for sample, place in zip(pool, places.tolist(), strict=True) if place}
    small = [
        label for target, label in enumerate(dataset.classes) if 0 < counts[target] < 3 and target not in elsewhere
    ]
    if small:
        notes.append(f"{counted(len(small), 'class')} of one or two samples only in train: {listed(small)}")
    samples = list(dataset.samples)
    for index, place in zip(order, places.tolist(), strict=True):
        samples[index] = replace(samples[index], split=names[place])
    return replace(dataset, samples=tuple(samples))


def overlap(dataset: Dataset) -> list[str]:
    """Say what the given splits share that they should not."""
    notes: list[str] = []
    train = dataset.split("train")
    content, groups = {sample.sha256 for sample in train if sample.sha256}, {sample.group for sample in train}
    for split in ("validation", "test"):
        samples = dataset.split(split)
        same = [sample.name for sample in samples if sample.sha256 in content]
        if same:
            notes.append(
                f"{counted(len(same), 'sample')} of {split} with the content of a sample of train: {listed(same)}"
            )
        shared = sorted({sample.group for sample in samples if sample.group} & groups)
        if shared:
            notes.append(f"{counted(len(shared), 'group')} both in {split} and in train: {listed(shared)}")
    return notes


def without_training(dataset: Dataset, trained: Iterable[str]) -> tuple[Dataset, int]:
    """Leave out the samples whose content was trained on.

    Args:
        dataset: Its samples' sums are filled.
        trained: The sums of what the network was trained on and chosen by: the train and validation splits.

    Returns:
        The rest, and how many samples were left out.
    """
    known = set(trained) - {""}
    kept = tuple(sample for sample in dataset.samples if sample.sha256 not in known)
    return replace(dataset, samples=kept), len(dataset.samples) - len(kept)


def split_rows(dataset: Dataset) -> list[SplitRow]:
    """Return what each sample is used for, in their order."""
    return [
        SplitRow(one.name, one.sha256, one.split or "", "" if one.target is None else dataset.classes[one.target])
        for one in dataset.samples
    ]


def write_splits(path: Path, dataset: Dataset) -> None:
    """Write what each sample is used for: the columns path, sha256, split, class.

    Raises:
        StorageError: It could not be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(astuple(row) for row in split_rows(dataset))
    write_text(path, text.getvalue())


def read_splits(path: Path) -> list[SplitRow]:
    """Read a run's splits.csv.

    Raises:
        DataError: It is not there or is not what `write_splits` wrote.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{str(path)!r} cannot be read ({error}); it tells what a run was trained on") from error
    if not rows or tuple(rows[0]) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        raise DataError(f"{str(path)!r} is not the splits of a run; expected the columns {', '.join(COLUMNS)}")
    return [SplitRow(*row) for row in rows[1:]]
