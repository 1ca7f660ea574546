"""Which samples go together and where: the arithmetic of stratified, grouped, seeded splits.

The assignment of groups follows Sechidis, Tsoumakas, Vlahavas 2011, "On the stratification of multi-label data",
algorithm 1: each group goes where its classes are wanted most. It is our own so that a run's splits stay the same
whatever the version of another library.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plusx.data.dataset import Sample
from plusx.errors import DataError


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
