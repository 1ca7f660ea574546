"""One optimizer step, whatever happens in it: forward, backward, clip, update, average, count.

Two things can go wrong without any fault of the program. The memory is not enough for the batch: it is divided into
micro-batches, and the attempt that failed leaves no trace, neither in running statistics nor in random streams. The
loss or a gradient is not a finite number: the weights stay as they are, and what follows is the recipe's `not_finite`.

Shape letters: B samples, C channels, H height, W width.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from plusx import ranks
from plusx.data.batches import Batch
from plusx.data.steps import step_part
from plusx.device import Device
from plusx.errors import PlusxError
from plusx.memory import lacks_memory, shortly
from plusx.tasks.task import Task
from plusx.training import together
from plusx.training.mixing import mixed
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe

MOST_SKIPPED_IN_ROW = 10
MOST_SKIPPED_SHARE = 0.05  # of all steps so far, once there are more than those
MOST_ROLLBACKS = 5
ROLLBACK_FACTOR = 0.5  # of the learning rate, each time


class Diverged(PlusxError):
    """The loss or the gradients are no longer finite."""


class TooLarge(PlusxError):
    """The memory is not enough for a step, however small its parts."""


class NotFinite(Exception):
    """The loss or a gradient of this step is not finite; `sentence` says which, and where."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


Answer = Callable[[Tensor], Tensor]


class Stepping:
    """The steps of one training.

    Args:
        task: What is asked of the network.
        recipe: How to train.
        progress: All state; a step changes it and nothing else.
        device: Where and how to compute.
        seed: What is drawn for mixing depends on it.
        answer: The network as it is computed for whole batches: perhaps compiled.
        teach: Joins a teacher's answers to the targets of some images.
    """

    def __init__(
        self,
        task: Task,
        recipe: Recipe,
        progress: Progress,
        device: Device,
        *,
        seed: int = 0,
        answer: Answer | None = None,
        teach: Callable[[Tensor, Any], Any] | None = None,
    ) -> None:
        self.task, self.recipe, self.progress, self.device, self.seed = task, recipe, progress, device, seed
        self.answer, self.teach = progress.network if answer is None else answer, teach
        self._buffers = [one for one in progress.network.buffers() if one.numel()]
        self._copies = [one.clone() for one in self._buffers]
        self._norms_apart = together.norms_apart(progress.network)
        self._norms_wait = together.norms_wait(progress.network)
        self._whole = len(step_part(recipe.batch_size, ranks.rank(), ranks.count()))

    def __call__(self, batch: Batch, rate: float, *, head_alone: bool, done: float = 1.0) -> None:
        """Make one step, after which `done` (0..1) of the training is done.

        Raises:
            NotFinite: The loss or a gradient is not; weights and running statistics are those before the step.
            TooLarge: The memory is not enough; training cannot go on with these weights.
        """
        progress, network, optimizer = self.progress, self.progress.network, self.progress.optimizer
        progress.freezing.begin_step(head_alone=head_alone)
        for copy, buffer in zip(self._copies, self._buffers, strict=True):
            copy.copy_(buffer)
        images, sums = self._gradients(batch)
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        loss = sums["loss"] / batch.total
        if not torch.isfinite(norm + loss):
            self._undo()
            raise NotFinite(self._what(images, loss, norm, rate))
        if self.recipe.gradient_clip:
            torch.nn.utils.clip_grads_with_norm_(network.parameters(), self.recipe.gradient_clip, norm)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self._update()
        optimizer.zero_grad()
        progress.advance()
        if progress.lookahead:
            progress.lookahead.update(progress.step, done)
        if progress.average:
            progress.average.update(network, progress.step)
        progress.count(batch.total, sums)

    def _placed(self, batch: Batch) -> tuple[Tensor, Any]:
        """Return images and targets on the device, mixed as the recipe says."""
        images, targets = self.device.place_images(batch.images), batch.targets.to(self.device.name, non_blocking=True)
        place = {"seed": self.seed, "epoch": self.progress.epoch, "step": self.progress.step_in_epoch}
        return mixed(images, targets, self.task, self.recipe, **place)

    def _gradients(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the mean gradient over a batch, in as many parts as the memory demands.

        Returns:
            The images as they were trained on, and sums over the samples.
        """
        progress, size = self.progress, len(batch.images)
        while True:
            outcome = self._attempt(batch)
            if not together.any_rank(isinstance(outcome, str)) and not isinstance(outcome, str):
                images, sums = outcome
                share = size / batch.total
                return images, together.add_up(progress.network.parameters(), self._norms_apart, share, sums)
            reason = outcome if isinstance(outcome, str) else "on another process"
            del outcome
            self._undo()
            progress.restore_random_state()
            if progress.micro_batches * 2 > batch.total // ranks.count() // 2:
                raise TooLarge(
                    f"the memory is not enough for a step, even in parts of {max(2, size // progress.micro_batches)} "
                    f"images ({reason}); use a smaller --batch-size, --image-size or --model"
                )
            progress.micro_batches *= 2
            progress.incidents.append(
                f"step {progress.step + 1}: the memory is not enough for a batch of {batch.total}, so each batch is "
                f"computed in {progress.micro_batches} parts from now on; batch normalization uses the statistics of a "
                "part, everything else is as before"
            )

    def _attempt(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]] | str:
        """Return images and sums, or why the memory is not enough; what a failed attempt made is free on return."""
        try:
            images, targets = self._placed(batch)
            return images, self._in_parts(images, targets, self.progress.micro_batches, batch.total)
        except (RuntimeError, MemoryError) as error:
            if not lacks_memory(error):
                raise
            reason = shortly(error)
        if self._norms_wait:
            raise TooLarge(  # the other ranks wait for this one's statistics, and cannot begin anew
                f"the memory is not enough for this process's {len(batch.images)} images of a step ({reason}), and "
                "with --sync-batch-norm a step cannot be divided; use a smaller --batch-size or more processes"
            )
        return reason

    def _in_parts(self, images: Tensor, targets: Any, parts: int, total: int) -> dict[str, Tensor]:  # noqa: ANN401
        sums: dict[str, Tensor] = {}
        for place in part_places(len(images), parts):
            part, wanted = images[place], targets[place]
            if self.teach:
                wanted = self.teach(part, wanted)
            answer = self.answer if len(part) == self._whole else self.progress.network
            with self.device.autocast():
                outputs = answer(part)
                losses = self.task.losses(outputs, wanted)
            loss = torch.stack(list(losses.values())).sum()
            (loss if len(part) == total else loss * (len(part) / total)).backward()
            for name, value in {"loss": loss, **self.task.measures(outputs, wanted)}.items():
                of_part = value.detach().double() * len(part)
                sums[name] = sums[name] + of_part if name in sums else of_part
        return sums

    def _undo(self) -> None:
        """Leave no trace of an attempt: neither gradients nor running statistics."""
        self.progress.optimizer.zero_grad()
        for copy, buffer in zip(self._copies, self._buffers, strict=True):
            buffer.copy_(copy)

    def _update(self) -> None:
        try:
            self.progress.optimizer.step()
        except (RuntimeError, MemoryError) as error:
            if not lacks_memory(error):
                raise
            raise TooLarge(  # some weights may have moved: what is saved of the run is from before
                f"the memory is not enough for the optimizer's own numbers ({shortly(error)}), however few images a "
                "batch has; use a smaller --model, or --optimizer sgd"
            ) from error

    def _what(self, images: Tensor, loss: Tensor, norm: Tensor, rate: float) -> str:
        place = f"in step {self.progress.step + 1} (epoch {self.progress.epoch + 1}) at learning rate {rate:.3g}"
        if together.any_rank(not torch.isfinite(images).all()):
            return f"images that are not finite numbers came {place}"
        return f"the loss became {loss.item():.3g} and the gradients' norm {norm.item():.3g} {place}"


def part_places(samples: int, parts: int) -> list[slice]:
    """Divide a batch into parts whose sizes differ by one at most, and of two samples at least: batch norms need two.

    Args:
        samples: Of the batch, two or more.
        parts: How many there are, if the batch is large enough.
    """
    parts = min(parts, max(1, samples // 2))
    edges = [samples * number // parts for number in range(parts + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


def heed(error: NotFinite, progress: Progress) -> bool:
    """Do what the recipe says of a step that is not finite.

    Returns:
        Whether training went back to the beginning of the epoch.

    Raises:
        Diverged: It says "stop", or it happened too often.
    """
    policy = progress.recipe.not_finite
    if policy == "stop":
        raise Diverged(
            f"{error.sentence}; use a lower --learning-rate, more --warmup-epochs or --gradient-clip 1, or let "
            "--not-finite skip or rollback"
        ) from error
    if policy == "rollback":
        if progress.rollbacks == MOST_ROLLBACKS:
            raise Diverged(f"{error.sentence}, after going back {MOST_ROLLBACKS} times; use a lower --learning-rate")
        progress.go_back()
        progress.rollbacks += 1
        progress.incidents.append(
            f"{error.sentence}: back to the beginning of epoch {progress.epoch + 1}, from now on at "
            f"{ROLLBACK_FACTOR**progress.rollbacks:g} times the learning rate"
        )
        return True
    progress.skipped += 1
    progress.skipped_in_row += 1
    allowed = max(MOST_SKIPPED_IN_ROW, MOST_SKIPPED_SHARE * progress.step)
    if progress.skipped_in_row > MOST_SKIPPED_IN_ROW or progress.skipped > allowed:
        raise Diverged(
            f"{error.sentence}; {progress.skipped} of {progress.step + 1} steps were not finite, the last "
            f"{progress.skipped_in_row} in a row; use a lower --learning-rate, more --warmup-epochs or "
            "--gradient-clip 1"
        )
    progress.incidents.append(f"{error.sentence}: the step is left out")
    progress.advance(skipped=True)
    return False
