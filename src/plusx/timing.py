"""How long training takes on this machine, measured with a few steps; and whether compiling it pays.

Compiled code is not always faster (measured on two CPU cores: ResNet-20 1.2 times faster, a half-width ResNet-9 18
times slower), and to compile takes time itself. So it is measured, once, where a run is long enough for it to matter.
"""

import copy
import dataclasses
import math
import time
from itertools import pairwise

import torch

from plusx import ranks
from plusx.data.batches import Batches
from plusx.device import Device
from plusx.errors import PlusxError
from plusx.network.backbone import Network
from plusx.plan import Plan
from plusx.training.distillation import Teacher
from plusx.training.loop import train
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe, all_steps
from plusx.training.sizes import side

TIMED_STEPS = 3
PATIENCE = 5.0  # seconds after which no further step is timed
WORTH_TRYING = 600.0  # seconds of training from which on it is measured whether compiling pays
GAIN = 0.9  # compiled training, its compiling included, must take less than this part of the time


def seconds_per_epoch(
    plan: Plan, network: Network, batches: Batches, device: Device, teach: Teacher | None = None
) -> float:
    """Measure a few training steps, of the whole network, on a copy of it; the run itself is not touched.

    Where the images grow from epoch to epoch it is the mean over all epochs, reckoned from the pixels.
    """
    return min(_seconds(plan, network, batches, device, teach)) * len(batches) * _pixels(plan)[0]


def compilation_pays(
    plan: Plan, network: Network, batches: Batches, device: Device, seconds: float, teach: Teacher | None = None
) -> tuple[bool, float, str]:
    """Measure whether training is faster compiled.

    Args:
        plan: The whole plan.
        network: The network; the measurement works on copies.
        batches: The training batches.
        device: Where and how to compute, not compiled.
        seconds: What an epoch takes not compiled.
        teach: The teacher, if there is one, whose answers take their time too.

    Returns:
        Whether it pays, the seconds of an epoch then, and a sentence on what was measured.
    """
    epochs = epochs_of(plan.recipe, batches)
    eager = seconds * epochs
    if eager < WORTH_TRYING:
        return False, seconds, ""
    steps, failure = _compiled_seconds(plan, network, batches, device, teach)
    if not steps:
        return False, seconds, f"torch.compile does not work here{failure}: training is not compiled"
    pixels, sizes = _pixels(plan)
    epoch = min(steps) * len(batches) * pixels
    whole = steps[0] * sizes + epoch * epochs
    pays = whole < GAIN * eager
    said = (
        f"compiling takes {steps[0]:.0f} s and makes a step {seconds / epoch:.2f} times as fast: "
        f"training is {'compiled' if pays else 'not compiled'}"
    )
    return pays, epoch if pays else seconds, said


def epochs_of(recipe: Recipe, batches: Batches) -> float:
    """Return how many epochs the training's steps are: fewer than the recipe's where it limits the steps."""
    return all_steps(recipe, len(batches)) / len(batches)


def _compiled_seconds(
    plan: Plan, network: Network, batches: Batches, device: Device, teach: Teacher | None
) -> tuple[list[float], str]:
    """Return how long compiled steps take; none, and why, where compiling fails on any rank."""
    steps, failure = list[float](), ""
    try:
        steps = _seconds(plan, network, batches, dataclasses.replace(device, compiled=True), teach)
    except PlusxError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the compiler and its backends raise
        words = next(iter(str(error).strip().splitlines()), "without a word")
        failure = f" ({type(error).__name__}: {words[:100]})"
    (failed,) = ranks.largest(int(not steps))
    return ([] if failed else steps), failure


def _pixels(plan: Plan) -> tuple[float, int]:
    """Return the mean over all epochs of an image's pixels, as a part of the last one's, and how many sizes it has."""
    look, epochs = plan.input, plan.recipe.epochs
    found = [math.prod(side(plan.recipe, epoch, look.height, look.width)) for epoch in range(epochs)]
    return sum(found) / epochs / found[-1], len(set(found))


def _seconds(plan: Plan, network: Network, batches: Batches, device: Device, teach: Teacher | None) -> list[float]:
    """Return how long some steps of a copy's last epoch took, on the slowest rank."""
    state = torch.get_rng_state()
    recipe = dataclasses.replace(plan.recipe, head_epochs=0)
    trial = Progress(copy.deepcopy(network), recipe)
    trial.epoch = recipe.epochs - 1  # when images have their final size
    stamps = [time.perf_counter()]
    try:
        for _ in train(trial.network, plan.task, batches, recipe, trial, device, teach):
            stamps.append(time.perf_counter())
            (watched,) = ranks.largest(stamps[-1] - stamps[1])
            if trial.step == TIMED_STEPS or trial.epoch_ended or watched > PATIENCE:
                break
    finally:
        torch.set_rng_state(state)
    return ranks.largest(*(later - earlier for earlier, later in pairwise(stamps)))
