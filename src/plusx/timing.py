"""How long training takes on this machine, measured with a few steps; and whether compiling it pays.

Compiled code is not always faster (measured on CPUs, a step takes 0.87 to 1.8 times as long), and to compile takes time
itself. So it is measured, once, where a run is long enough for it to matter. Most of what that costs is compiling, and
torch keeps what it has compiled on disk: another run of the same network on the same machine measures in seconds.
"""

import copy
import dataclasses
import math
import time
from itertools import pairwise

import torch
from torch import nn

from plusx import memory, ranks
from plusx.data.batches import Batches
from plusx.device import Device
from plusx.errors import PlusxError
from plusx.kernels import library
from plusx.network.backbone import Network
from plusx.plan import Plan
from plusx.training import together
from plusx.training.compilation import compiled
from plusx.training.distillation import Teacher
from plusx.training.loop import train
from plusx.training.mixing import mixed
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe, all_steps
from plusx.training.sizes import side

TIMED_STEPS = 3
PATIENCE = 5.0  # seconds after which no further step is timed
WORTH_TRYING = 600.0  # seconds of training from which on it is measured whether compiling pays
WORTH_A_LAYER = 30.0  # at least this for each layer: to compile takes one to two seconds a layer, some 5 % of it
MANY_IMAGES = 16  # a step and rank, from which on plusx's own convolutions are faster than compiled code
NO_ROOM = "its step, which is not divided, needs more memory than there is"
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
    layers = sum(one.ndim > 1 for one in network.parameters())
    if eager < max(WORTH_TRYING, WORTH_A_LAYER * layers):
        return False, seconds, ""
    device = dataclasses.replace(device, compiled=True)
    compiling, failure = 0.0, _reason_against(plan, network, device)
    if not failure:
        compiling, failure = _compiled_once(plan, network, batches, device)
    if failure:
        return False, seconds, f"{failure}: training is not compiled"
    pixels, sizes = _pixels(plan)
    epoch = min(_seconds(plan, network, batches, device, teach)) * len(batches) * pixels
    pays = compiling * sizes + epoch * epochs < GAIN * eager
    said = (
        f"compiling takes {compiling:.0f} s and makes a step {seconds / epoch:.2f} times as fast: "
        f"training is {'compiled' if pays else 'not compiled'}"
    )
    return pays, epoch if pays else seconds, said


def epochs_of(recipe: Recipe, batches: Batches) -> float:
    """Return how many epochs the training's steps are: fewer than the recipe's where it limits the steps."""
    return all_steps(recipe, len(batches)) / len(batches)


def _reason_against(plan: Plan, network: Network, device: Device) -> str:
    """Say why compiling is not even tried; the same on all ranks.

    Compiled code has torch's operators in the place of plusx's kernels. Measured on a CPU with AVX512-BF16, a compiled
    step takes 1.8 times as long in ResNet-20 and 1.2 times in ResNet-50 (benchmarks/training_step.py); in ten other
    networks, with 16 images or more, 1.04 to 1.67 times; with 4 images 0.87 times in ResNeXt-50 (seconds of one core,
    compiled and other steps in turns).
    """
    if together.norms_wait(network):
        return "compiled code would stop at every synchronized norm"
    own = device.kind == "cpu" and device.precision == "bfloat16" and library.convolves()
    flat = any(type(one) is nn.Conv2d for one in network.modules())
    many = plan.recipe.batch_size // ranks.count() >= MANY_IMAGES
    if not together.any_rank(not (own and flat and many)):
        return "plusx's own convolutions are faster than compiled code (--compile on compiles nevertheless)"
    return ""


def _compiled_once(plan: Plan, network: Network, batches: Batches, device: Device) -> tuple[float, str]:
    """Compile, and compute a first batch forward and backward, on each rank alone: none waits for one that fails.

    What is compiled stays in the process: neither the steps that are timed nor the run itself compile it again.

    Returns:
        The seconds of the slowest rank, and why it does not work, if it fails on any of them.
    """
    began, failure = time.perf_counter(), ""
    trial = _last_epoch(plan, network)
    try:
        trial.with_random_state(lambda: _compute_once(plan, batches, device, trial))
    except PlusxError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the compiler and its backends raise
        words = next(iter(str(error).strip().splitlines()), "without a word")
        failure = NO_ROOM if memory.lacks_memory(error) else f"{type(error).__name__}: {words[:100]}"
    failures = [(rank, one) for rank, one in enumerate(ranks.gathered(failure)) if one]
    (seconds,) = ranks.largest(time.perf_counter() - began)
    if not failures:
        return seconds, ""
    rank, failure = failures[0]
    return seconds, f"torch.compile does not work {f'on rank {rank}' if ranks.count() > 1 else 'here'} ({failure})"


def _compute_once(plan: Plan, batches: Batches, device: Device, trial: Progress) -> None:
    """Compute a trial's first batch forward and backward as a step does, without what ranks do together."""
    trial.freezing.begin_step(head_alone=False)
    batch = next(batches.epoch(trial.epoch))
    images, targets = device.place_images(batch.images), batch.targets.to(device.name)
    place = {"seed": batches.seed, "epoch": trial.epoch, "step": 0}
    images, targets = mixed(images, targets, plan.task, trial.recipe, **place)
    with device.autocast():
        losses = plan.task.losses(compiled(trial.network)(images), targets)
    torch.stack(list(losses.values())).sum().backward()


def _pixels(plan: Plan) -> tuple[float, int]:
    """Return the mean over all epochs of an image's pixels, as a part of the last one's, and how many sizes it has."""
    look, epochs = plan.input, plan.recipe.epochs
    found = [math.prod(side(plan.recipe, epoch, look.height, look.width)) for epoch in range(epochs)]
    return sum(found) / epochs / found[-1], len(set(found))


def _last_epoch(plan: Plan, network: Network) -> Progress:
    """Return the beginning of the last epoch, when images have their final size, of a copy that is trained whole."""
    recipe = dataclasses.replace(plan.recipe, head_epochs=0)
    trial = Progress(copy.deepcopy(network), recipe)
    trial.epoch = recipe.epochs - 1
    return trial


def _seconds(plan: Plan, network: Network, batches: Batches, device: Device, teach: Teacher | None) -> list[float]:
    """Return how long some steps of a copy's last epoch took, on the slowest rank."""
    state = torch.get_rng_state()
    trial = _last_epoch(plan, network)
    stamps = [time.perf_counter()]
    try:
        for _ in train(trial.network, plan.task, batches, trial.recipe, trial, device, teach):
            stamps.append(time.perf_counter())
            (watched,) = ranks.largest(stamps[-1] - stamps[1])
            if trial.step == TIMED_STEPS or trial.epoch_ended or watched > PATIENCE:
                break
    finally:
        torch.set_rng_state(state)
    return ranks.largest(*(later - earlier for earlier, later in pairwise(stamps)))
