"""The rate finder: a few steps, each at a higher learning rate than the last, until the loss explodes.

Smith 2015, "Cyclical learning rates for training neural networks", arXiv:1506.01186, section 3.3 (the range test), with
rates that grow by the same factor from step to step. The two suggestions are those that fastai made usual.
"""

import copy
import dataclasses
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from plusx.data.batches import Batch, Batches
from plusx.device import Device
from plusx.tasks.task import Task
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe
from plusx.training.step import NotFinite, Stepping

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 200
EXPLODED = 4.0  # times the lowest loss so far
FALLEN = 0.95  # of the first loss, below which the loss has fallen
RISEN = 1.1  # of the first loss, above which the rates are too high, whatever becomes of the loss behind
SMOOTHING = 0.9  # of the running mean of losses


@dataclass(frozen=True)
class Tried:
    """One step: its learning rate, the loss of its batch before it, and the running mean of all losses so far."""

    learning_rate: float
    loss: float
    smoothed: float


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        tried: Its steps, in order.
        steepest: The rate at which the loss falls fastest; None if it never falls.
        tenth: A tenth of the rate at which it is lowest; None if it never falls.
    """

    tried: tuple[Tried, ...]
    steepest: float | None
    tenth: float | None


def find_rate(
    network: nn.Module,
    task: Task,
    batches: Batches,
    recipe: Recipe,
    device: Device | None = None,
    teach: Callable[[Tensor, Any], Any] | None = None,
    *,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    steps: int = STEPS,
) -> Generator[Tried, None, Found]:
    """Search for the learning rate with a copy of a network; the network and the random streams stay as they are.

    Args:
        network: On its device.
        task: What is asked of it.
        batches: The training batches; if the first epoch is too short, others follow.
        recipe: How to train; its schedule, its averaging and its incidents play no part.
        device: Where and how to compute; the CPU in float32 if none is given.
        teach: As `train` takes it.
        lowest: The first learning rate.
        highest: The last one.
        steps: How many rates are tried, two or more.

    Yields:
        Each step. It ends before the last where the smoothed loss exceeds four times its lowest, or is not finite.
    """
    recipe = dataclasses.replace(
        recipe, average_decay=0.0, lookahead_steps=0, head_epochs=0.0, schedule="constant", not_finite="stop",
        early_stopping=0, minimum_learning_rate=0.0,
    )  # fmt: skip
    outside = torch.get_rng_state()
    progress = Progress(copy.deepcopy(network), recipe)
    stepping = Stepping(task, recipe, progress, device or Device(), seed=batches.seed, teach=teach)
    tried: list[Tried] = []
    mean = 0.0
    for number, batch in zip(range(steps), endless(batches), strict=False):
        rate = lowest * (highest / lowest) ** (number / max(steps - 1, 1))
        progress.sums, progress.samples = {}, 0
        try:
            progress.with_random_state(lambda batch=batch, rate=rate: stepping(batch, rate, head_alone=False))
        except NotFinite:
            break
        loss = progress.sums["loss"].item() / progress.samples
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        tried.append(Tried(rate, loss, mean / (1 - SMOOTHING ** (number + 1))))
        torch.set_rng_state(outside)
        yield tried[-1]
        outside = torch.get_rng_state()
        if tried[-1].smoothed > EXPLODED * min(one.smoothed for one in tried):
            break
    torch.set_rng_state(outside)
    return Found(tuple(tried), *suggestions(tried))


def endless(batches: Batches) -> Iterator[Batch]:
    """Yield the batches of one epoch after the other."""
    for epoch in count():
        yield from batches.epoch(epoch)


def suggestions(tried: list[Tried]) -> tuple[float | None, float | None]:
    """Return the rate at which the smoothed loss falls fastest, and a tenth of that at which it is lowest.

    The slope is that over the logarithm of the rate, up to the lowest loss. The first tenth of the steps, at rates that
    change nothing, says what the loss is at first; what is hardly lower is taken for chance, and what comes after a
    loss that is clearly higher plays no part.
    """
    if len(tried) < 2:
        return None, None
    quiet = math.ceil(len(tried) / 10)
    first = sum(one.loss for one in tried[:quiet]) / quiet
    risen = (place for place, one in enumerate(tried) if place >= quiet and one.smoothed > RISEN * first)
    lowest = min(range(quiet, next(risen, len(tried))), key=lambda place: tried[place].smoothed, default=0)
    if lowest < quiet or tried[lowest].smoothed > FALLEN * first:
        return None, None
    slopes = [
        (after.smoothed - before.smoothed) / math.log(after.learning_rate / before.learning_rate)
        for before, after in pairwise(tried[quiet - 1 : lowest + 1])
    ]
    steepest = quiet - 1 + slopes.index(min(slopes))
    return tried[steepest].learning_rate, tried[lowest].learning_rate / 10
