"""The training loop, a generator: the caller's `for` is the hook.

    for progress in train(network, task, batches, recipe):
        if progress.epoch_ended:
            progress.record({"accuracy": ...})      # the validation score: plateau and early stopping need it

It yields after every optimizer step. All state is in `progress`; nothing that a resume needs lives in locals.

Shape letters: B samples, C channels, H height, W width.
"""

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from plusx.data.batches import Batch, Batches
from plusx.device import Device
from plusx.errors import PlusxError
from plusx.tasks.task import Task
from plusx.training.freezing import head_steps
from plusx.training.optimization import learning_rate
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe


class Diverged(PlusxError):
    """The loss or the gradients are no longer finite."""


def train(
    network: nn.Module,
    task: Task,
    batches: Batches,
    recipe: Recipe,
    progress: Progress | None = None,
    device: Device | None = None,
) -> Iterator[Progress]:
    """Train a network until the recipe is done.

    Args:
        network: The network, already on its device; its weights are changed in place.
        task: What is asked of the network.
        batches: The training batches, which are a function of the epoch and the place in it.
        recipe: How to train.
        progress: Where to begin, made from the same network and recipe; `load_state_dict` may have put it in the middle
            of a run. A new one if none is given.
        device: Where and how to compute; the CPU in float32 if none is given.

    Yields:
        `progress`, after every optimizer step. When `progress.epoch_ended`, the caller hands the epoch's validation
        scores to `progress.record`; the best checkpoint, plateau and early stopping rest on them.

    Raises:
        Diverged: The loss or a gradient is not finite; the weights are those before the step.
        PlusxError: An epoch ended and `record` was not called though the recipe needs the scores.
    """
    device = device or Device()
    progress = progress or Progress(network, recipe)
    if progress.epoch_ended and not progress.recorded:
        yield progress
        _expect_record(progress)
    steps = len(batches)
    alone_until = head_steps(network, recipe, steps)
    while not progress.finished:
        progress.epoch_ended = False
        asked = time.perf_counter()
        for batch in batches.epoch(progress.epoch, start=progress.step_in_epoch):
            progress.waiting += time.perf_counter() - asked
            rate = learning_rate(recipe, progress.step, steps, progress.plateau_factor, alone=alone_until)
            alone = progress.step < alone_until
            progress.with_random_state(
                lambda batch=batch, rate=rate, alone=alone: _step(
                    task, batch, recipe, progress, device, rate, head_alone=alone
                )
            )
            if progress.step_in_epoch == steps:
                _end_epoch(progress, rate)
            progress.seconds += time.perf_counter() - asked
            yield progress
            asked = time.perf_counter()
        _expect_record(progress)


def _step(
    task: Task, batch: Batch, recipe: Recipe, progress: Progress, device: Device, rate: float, *, head_alone: bool
) -> None:
    """One optimizer step: forward, backward, clip, update, average, count."""
    network, optimizer = progress.network, progress.optimizer
    progress.freezing.begin_step(head_alone=head_alone)
    images, targets = device.place_images(batch.images), batch.targets.to(device.name, non_blocking=True)
    with device.autocast():
        outputs = network(images)
        losses = task.losses(outputs, targets)
    loss = torch.stack(list(losses.values())).sum()
    loss.backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if not torch.isfinite(norm + loss.detach()):
        optimizer.zero_grad()
        raise Diverged(
            f"the loss became {loss.item():.3g} and the gradients' norm {norm.item():.3g} in step {progress.step + 1} "
            f"(epoch {progress.epoch + 1}) at learning rate {rate:.3g}; use a lower --learning-rate, more "
            "--warmup-epochs or --gradient-clip 1"
        )
    if recipe.gradient_clip:
        torch.nn.utils.clip_grads_with_norm_(network.parameters(), recipe.gradient_clip, norm)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    optimizer.step()
    optimizer.zero_grad()
    progress.step += 1
    progress.step_in_epoch += 1
    if progress.average:
        progress.average.update(network, progress.step)
    count = len(targets)
    progress.samples += count
    _add(progress.sums, "loss", loss, count)
    for name, value in task.measures(outputs, targets).items():
        _add(progress.sums, name, value, count)


def _add(sums: dict[str, Tensor], name: str, mean: Tensor, count: int) -> None:
    """Sum up a batch's mean, weighted by its samples, without waiting for the device."""
    value = mean.detach().double() * count
    sums[name] = sums[name] + value if name in sums else value


def _end_epoch(progress: Progress, rate: float) -> None:
    row: dict[str, Any] = {"epoch": progress.epoch + 1, "step": progress.step, "learning_rate": rate}
    row |= {f"train_{name}": total.item() / progress.samples for name, total in progress.sums.items()}
    progress.history.append(row)
    progress.sums, progress.samples = {}, 0
    progress.epoch += 1
    progress.step_in_epoch = 0
    progress.epoch_ended, progress.recorded = True, False


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
