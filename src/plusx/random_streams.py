"""Random numbers that depend on what they are for, and on nothing that happened before.

A draw is a function of (seed, epoch, sample index, position), computed by a counter-based generator. So the number of
workers, the batch size, a restart in the middle of an epoch or another process cannot change it.

Source: SplitMix64's finalizer (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", figure 16)
applied to a Weyl sequence of the four numbers.

Shape letters: B samples, N draws a sample.
"""

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
UNIT = 2.0**-53
COPY = 1 << 32  # apart from the positions of draws, which are absorbed at the same place


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finalizer: a bijection of 64-bit numbers whose output bits all depend on all input bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def absorbed(state: NDArray[np.uint64], number: NDArray[np.uint64] | int) -> NDArray[np.uint64]:
    """Mix one more number into the state of a stream."""
    return mixed((state ^ np.asarray(number, dtype=np.uint64)) + GOLDEN)


def uniform(
    seed: int, epoch: int, samples: NDArray[np.int64], draws: int, copies: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Draw `draws` numbers in [0, 1) for each sample of one epoch.

    Args:
        seed: The run's seed.
        epoch: The epoch, from 0.
        samples: (B,) each sample's index in its data set, not its place in a batch.
        draws: N, how many numbers a sample gets; the first ones do not depend on how many are asked for.
        copies: (B,) which copy of its sample each is, where one comes several times an epoch; 0 for all if None.

    Returns:
        (B, N) numbers in [0, 1).
    """
    with np.errstate(over="ignore"):
        run = absorbed(absorbed(np.zeros(1, np.uint64), seed & 0xFFFFFFFFFFFFFFFF), epoch)
        streams = absorbed(run, samples.astype(np.uint64))
        if copies is not None and copies.any():
            streams = np.where(copies > 0, absorbed(streams, copies.astype(np.uint64) + np.uint64(COPY)), streams)
        numbers = absorbed(streams[:, None], np.arange(draws, dtype=np.uint64)[None, :])
    return (numbers >> np.uint64(11)).astype(np.float64) * UNIT


def order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Return the order in which one epoch visits `count` samples: a permutation of 0 ... count - 1."""
    key = np.array([seed & 0xFFFFFFFFFFFFFFFF, epoch], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key))
    return generator.permutation(count).astype(np.int64)


def of_rank(seed: int, rank: int) -> int:
    """Return the seed of what a rank draws for itself, such as which branches it drops; the first has the run's."""
    return int(np.random.SeedSequence((seed, rank)).generate_state(1)[0]) if rank else seed


def of_step(seed: int, epoch: int, step: int) -> np.random.Generator:
    """Return the stream of what is drawn once for all samples of a step; apart from the epoch's order."""
    key = np.array([seed & 0xFFFFFFFFFFFFFFFF, epoch], dtype=np.uint64)
    counter = np.array([0, 0, 0, step + 1], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
