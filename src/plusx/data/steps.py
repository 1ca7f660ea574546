"""Which samples a step holds, and which of them are one rank's: arithmetic, the same on every rank.

Papers: repeated augmentation, Hoffer et al. 2019, arXiv:1901.09335, section 2; Berman et al. 2019, arXiv:1902.05509,
section 3.1.

Shape letters: B samples.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST = 2  # samples a rank: batch norm cannot train on one alone


@dataclass(frozen=True)
class Step:
    """One rank's samples of one step.

    Attributes:
        samples: (B,) indices of samples.
        copies: (B,) which copy of its sample each is, from 0.
        total: Samples of the whole step, over all ranks.
    """

    samples: NDArray[np.int64]
    copies: NDArray[np.int64]
    total: int


def share(count: int, rank: int, ranks: int) -> range:
    """Return a rank's contiguous part of `count` things; the first ranks have one more where it does not come out."""
    each, more = divmod(count, ranks)
    first = rank * each + min(rank, more)
    return range(first, first + each + (rank < more))


def step_part(size: int, rank: int, ranks: int) -> range:
    """Return a rank's contiguous part of a training step of `size` samples.

    It begins at an even place, so that neighbors, which mixing makes pairs of, stay together; an odd one out goes to
    the last rank.
    """
    pairs = share(size // 2, rank, ranks)
    return range(2 * pairs.start, size if rank == ranks - 1 else 2 * pairs.stop)


def evaluation_part(count: int, batch_size: int, rank: int, ranks: int) -> range:
    """Return a rank's contiguous part of `count` samples to be evaluated, in whole batches.

    The batches are those of one process, whatever the number of ranks, and so are the bits of the answers.
    """
    batches = share(math.ceil(count / batch_size), rank, ranks)
    return range(min(batches.start * batch_size, count), min(batches.stop * batch_size, count))


def step_sizes(count: int, batch_size: int, ranks: int = 1) -> list[int]:
    """Return how many samples each training step has, over all ranks.

    A last step with fewer than two samples a rank joins the step before.
    """
    found = [min(batch_size, count - first) for first in range(0, count, batch_size)]
    if len(found) > 1 and found[-1] < LEAST * ranks:
        found[-2:] = [sum(found[-2:])]
    return found


def training_steps(
    order: NDArray[np.int64], batch_size: int, *, repeats: int = 1, rank: int = 0, ranks: int = 1
) -> list[Step]:
    """Divide an epoch's order into steps, and each step among the ranks.

    With repeats, a step of b samples holds ceil(b / repeats) different ones, one copy of all after the other, the last
    copies left out where b is no multiple; ranks so get different samples. The epoch has as many samples as without.

    Args:
        order: Indices of all samples.
        batch_size: Samples a step, over all ranks.
        repeats: How often a sample comes within its step.
        rank: Whose part is returned.
        ranks: How many there are.
    """
    steps: list[Step] = []
    first = 0
    for size in step_sizes(len(order), batch_size, ranks):
        different = math.ceil(size / repeats)
        places = np.arange(size)
        own = step_part(size, rank, ranks)
        mine = places[own.start : own.stop]
        steps.append(Step(order[first + mine % different], mine // different, size))
        first += different
    return steps


def evaluation_steps(part: range, batch_size: int) -> list[Step]:
    """Divide a rank's part of the samples into steps, in order; ranks take them without one another."""
    indices = np.arange(part.start, part.stop, dtype=np.int64)
    parts = [indices[first : first + batch_size] for first in range(0, len(indices), batch_size)]
    return [Step(one, np.zeros_like(one), len(one)) for one in parts]
