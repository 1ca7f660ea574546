"""The training loop, a generator: the caller's `for` is the hook.

    for progress in train(network, task, batches, recipe):
        if progress.epoch_ended:
            progress.record({"accuracy": ...})      # the validation score: plateau and early stopping need it

It yields after every optimizer step. All state is in `progress`; nothing that a resume needs lives in locals.

Shape letters: B samples, C channels, H height, W width.
"""

import time
from collections.abc import Callable, Generator
from typing import Any

from torch import Tensor, nn

from plusx import memory
from plusx.data.batches import Batches
from plusx.device import Device
from plusx.errors import PlusxError
from plusx.tasks.task import Task
from plusx.training.compilation import compiled
from plusx.training.exact_statistics import average_statistics
from plusx.training.freezing import head_steps, trained_norms
from plusx.training.optimization import all_steps, learning_rate
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe
from plusx.training.step import ROLLBACK_FACTOR, NotFinite, Stepping, heed


def train(
    network: nn.Module,
    task: Task,
    batches: Batches,
    recipe: Recipe,
    progress: Progress | None = None,
    device: Device | None = None,
    teach: Callable[[Tensor, Any], Any] | None = None,
) -> Generator[Progress]:
    """Train a network until the recipe is done.

    Args:
        network: The network, already on its device; its weights are changed in place.
        task: What is asked of the network.
        batches: The training batches, which are a function of the epoch and the place in it.
        recipe: How to train.
        progress: Where to begin, made from the same network and recipe; `load_state_dict` may have put it in the middle
            of a run. A new one if none is given.
        device: Where and how to compute; the CPU in float32 if none is given.
        teach: Joins a teacher's answers to the targets of some images; there is no teacher if none is given.

    Yields:
        `progress`, after every optimizer step. When `progress.epoch_ended`, the caller hands the epoch's validation
        scores to `progress.record`; the best checkpoint, plateau and early stopping rest on them. What went wrong and
        was mended is added to `progress.incidents`.

    Raises:
        Diverged: The loss or a gradient is not finite, and the recipe does not say otherwise or it came too often; the
            weights are those before the step.
        TooLarge: The memory is not enough for a step.
        PlusxError: An epoch ended and `record` was not called though the recipe needs the scores.
    """
    device = device or Device()
    progress = progress or Progress(network, recipe)
    if progress.epoch_ended and not progress.recorded:
        yield progress
        _expect_record(progress)
    steps = len(batches)
    alone_until = head_steps(network, recipe, steps)
    answer = compiled(network) if device.compiled else network
    stepping = Stepping(task, recipe, progress, device, seed=batches.seed, answer=answer, teach=teach)
    with memory.kept(device.kind):
        if progress.step_in_epoch >= steps:  # saved where there were fewer ranks, and an epoch had a step more
            asked = time.perf_counter()
            progress.freezing.begin_step(head_alone=progress.step <= alone_until)
            _end_epoch(progress, batches, device, _rate(progress, progress.step - 1, steps, alone_until))
            progress.seconds += time.perf_counter() - asked
            yield progress
            _expect_record(progress)
        while not progress.finished:
            progress.epoch_ended = False
            if recipe.not_finite == "rollback" and progress.step_in_epoch == 0:
                progress.drop_anchor()
            asked = time.perf_counter()
            for batch in batches.epoch(progress.epoch, start=progress.step_in_epoch):
                progress.waiting += time.perf_counter() - asked
                rate = _rate(progress, progress.step, steps, alone_until)
                alone, done = progress.step < alone_until, min(1.0, (progress.step + 1) / all_steps(recipe, steps))
                went_back = False
                try:
                    progress.with_random_state(
                        lambda batch=batch, rate=rate, alone=alone, done=done: stepping(
                            batch, rate, head_alone=alone, done=done
                        )
                    )
                except NotFinite as error:
                    went_back = heed(error, progress)
                if not went_back and (progress.step_in_epoch == steps or progress.step == recipe.steps):
                    _end_epoch(progress, batches, device, rate)
                progress.seconds += time.perf_counter() - asked
                if went_back:
                    break
                yield progress
                if progress.epoch_ended:
                    _expect_record(progress)
                    break
                asked = time.perf_counter()


def _rate(progress: Progress, step: int, steps: int, alone_until: int) -> float:
    """Return a step's learning rate.

    A run that began with more steps an epoch makes a few steps after the schedule's last one, at the rate of that.
    """
    step = min(step, all_steps(progress.recipe, steps) - 1)
    rate = learning_rate(progress.recipe, step, steps, progress.plateau_factor, alone=alone_until)
    return rate * ROLLBACK_FACTOR**progress.rollbacks


def _end_epoch(progress: Progress, batches: Batches, device: Device, rate: float) -> None:
    """Average the norms' statistics, where the recipe says so, and close the epoch."""
    recipe = progress.recipe
    choosing = recipe.keep == "best" or recipe.early_stopping > 0  # any epoch's weights may be those that stay
    if recipe.exact_statistics and (choosing or progress.in_last_epoch):
        names, parts = trained_norms(progress.network), progress.micro_batches
        average_statistics(progress.scored_network, batches, recipe, progress.epoch, device, names, parts=parts)
    progress.end_epoch(rate)


def _expect_record(progress: Progress) -> None:
    if progress.recorded:
        return
    recipe = progress.recipe
    if recipe.schedule == "plateau" or recipe.early_stopping:
        needs = "the plateau schedule" if recipe.schedule == "plateau" else "early stopping"
        raise PlusxError(
            f"epoch {progress.epoch} ended without scores, but {needs} needs them; call progress.record(scores)"
        )
    progress.recorded = True
