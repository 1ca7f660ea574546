"""Splits: stratified, grouped, seeded, and remembered, so that nothing is scored on what it was trained on.

The assignment of groups follows Sechidis, Tsoumakas, Vlahavas 2011, "On the stratification of multi-label data",
algorithm 1: each group goes where its classes are wanted most. It is our own so that a run's splits stay the same
whatever the version of another library.
"""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plusx.data.dataset import Dataset, Sample, check_classes, counted, listed
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
        validation: The share of what it is cut from.
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
    order = sorted(
        (index for index, sample in enumerate(dataset.samples) if sample.split == "train"),
        key=lambda index: (dataset.samples[index].name, dataset.samples[index].sha256),
    )
    pool = [dataset.samples[index] for index in order]
    counts = np.bincount([target_of(sample) for sample in pool], minlength=len(dataset.classes))
    quotas = quotas_of(counts, list(shares.values()))
    small = [label for label, count in zip(dataset.classes, counts, strict=True) if 0 < count < 3]
    if small:
        notes.append(f"{counted(len(small), 'class')} of one or two samples only in train: {listed(small)}")
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
    samples = list(dataset.samples)
    for index, place in zip(order, places.tolist(), strict=True):
        samples[index] = replace(samples[index], split=names[place])
    return replace(dataset, samples=tuple(samples))


def target_of(sample: Sample) -> int:
    """Return a sample's class.

    Raises:
        DataError: It has none.
    """
    if sample.target is None:
        raise DataError(f"{sample.name!r} has no class, and training needs one for each sample")
    return sample.target


def quotas_of(counts: NDArray[np.int64], shares: Sequence[float]) -> NDArray[np.int64]:
    """Return how many samples of each class each cut should get: (cuts, classes).

    A cut gets `ceil(share * all)`, given to the classes in proportion, by largest remainders; a class keeps at least
    one sample in train, and all of them where it has only one or two.
    """
    quotas = np.zeros((len(shares), len(counts)), dtype=np.int64)
    for cut_index, share in enumerate(shares):
        spare = np.where(counts > 2, counts - 1 - quotas.sum(axis=0), 0)
        exact = counts * share
        quota = np.minimum(np.floor(exact + 1e-9).astype(np.int64), spare)
        wanted = int(np.ceil(share * counts.sum() - 1e-9)) - int(quota.sum())
        for target in np.argsort(-(exact - quota), kind="stable"):
            if wanted > 0 and quota[target] < spare[target]:
                quota[target] += 1
                wanted -= 1
        quotas[cut_index] = quota
    return quotas


def units_of(pool: Sequence[Sample]) -> list[list[int]]:
    """Return what must stay together: samples that share a group or their content, however indirectly."""
    parent = list(range(len(pool)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, sample in enumerate(pool):
        for kind, key in (("group", sample.group), ("content", sample.sha256)):
            if key:
                one, other = root(first.setdefault((kind, key), index)), root(index)
                parent[max(one, other)] = min(one, other)
    members: defaultdict[int, list[int]] = defaultdict(list)
    for index in range(len(pool)):
        members[root(index)].append(index)
    return list(members.values())


def assign(pool: Sequence[Sample], units: list[list[int]], quotas: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return the place of each sample: 0 for train, 1 ... for the cuts.

    Units of several samples come first, the largest first. Single samples then fill what is left of the quotas.
    """
    generator = np.random.Generator(np.random.Philox(key=seed & 0xFFFFFFFFFFFFFFFF))
    units = sorted((units[index] for index in generator.permutation(len(units))), key=len, reverse=True)
    targets = np.array([target_of(sample) for sample in pool])
    classes = quotas.shape[1]
    content = [np.bincount(targets[unit], minlength=classes) for unit in units if len(unit) > 1]
    wanted = np.vstack([np.bincount(targets, minlength=classes) - quotas.sum(axis=0), quotas])
    quota = np.maximum(wanted, 1)
    placed: list[int] = []
    for counts in content:
        fits = wanted.sum(axis=1) >= counts.sum()
        lacking = (wanted / quota * counts).sum(axis=1)
        # What a place's squared distance from its quotas loses by the unit, for a unit too large for any of them.
        nearer = ((2 * wanted - counts) * counts / quota.sum(axis=0)).sum(axis=1)
        place = int(np.argmax(np.where(fits, lacking, -np.inf) if fits.any() else nearer))
        wanted[place] -= counts
        placed.append(place)
    for unit in units[len(content) :]:
        target = targets[unit[0]]
        place = next((cut_index for cut_index in range(1, len(wanted)) if wanted[cut_index, target] > 0), 0)
        wanted[place, target] -= 1
        placed.append(place)
    repair(placed, [Counter(targets[unit].tolist()) for unit in units], len(wanted))
    places = np.zeros(len(pool), dtype=np.int64)
    for unit, place in zip(units, placed, strict=True):
        places[unit] = place
    return places


def repair(placed: list[int], content: list[Counter[int]], count: int) -> None:
    """Move as few and small units as it takes: each class gets into train, then each cut gets something.

    Args:
        placed: The place of each unit, changed in place.
        content: How many samples of each class each unit holds; the largest unit first.
        count: How many places there are.
    """
    smallest_first = range(len(placed) - 1, -1, -1)
    train: Counter[int] = Counter()
    for place, counts in zip(placed, content, strict=True):
        train.update(counts if place == 0 else {})
    for target in {target for counts in content for target in counts}:
        if not train[target]:
            unit = next(index for index in smallest_first if content[index][target])
            placed[unit] = 0
            train.update(content[unit])
    for place in range(1, count):
        if place in placed:
            continue
        spare = (
            index
            for index in smallest_first
            if placed[index] == 0 and all(train[target] > held for target, held in content[index].items())
        )
        unit = next(spare, None)
        if unit is not None:
            placed[unit] = place
            train.subtract(content[unit])


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


def write_splits(path: Path, dataset: Dataset) -> None:
    """Write what each sample is used for: the columns path, sha256, split, class.

    Raises:
        StorageError: It could not be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for sample in dataset.samples:
        label = "" if sample.target is None else dataset.classes[sample.target]
        writer.writerow((sample.name, sample.sha256, sample.split or "", label))
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
