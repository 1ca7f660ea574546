"""Progress: the whole state of a run, saved and restored exactly.

Whatever a resumed run needs is here: weights, optimizer, averaged weights, the place in the epoch, the sums of the
epoch so far, the best score, what plateau and early stopping count, and torch's random state. Data order and
augmentation need no state: they are functions of (seed, epoch, sample index).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from plusx.errors import CheckpointError, PlusxError
from plusx.training.freezing import Freezing
from plusx.training.optimization import WeightAverage, optimizer_for
from plusx.training.recipe import Recipe

COUNTERS = (
    "epoch", "step", "step_in_epoch", "epoch_ended", "recorded", "best_score", "best_epoch",
    "plateau_factor", "plateau_wait", "epochs_without_improvement", "seconds", "waiting", "samples", "history",
)  # fmt: skip


class Progress:
    """Where a run is, and everything needed to go on from there.

    Attributes:
        network: The network in training.
        epoch: Finished epochs.
        step: Optimizer steps since the start.
        step_in_epoch: Steps of the present epoch that are done.
        epoch_ended: Whether the step just done was the last of its epoch; its scores are then expected by `record`.
        history: One row an epoch: training sums, scores, learning rate, seconds.
        best_score: The best validation score so far, with its tie-break, of `best_epoch`, counted from 1.
        seconds: Seconds of training, validation and saving left out.
        waiting: Seconds of them spent waiting for data.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        self.network = network
        self.freezing = Freezing(network, recipe)
        self.optimizer = optimizer_for(network, recipe)
        self.average = WeightAverage(network, recipe.average_decay) if recipe.average_decay else None
        self.recipe = recipe
        self.epoch = 0
        self.step = 0
        self.step_in_epoch = 0
        self.epoch_ended = False
        self.recorded = True
        self.best_score: list[float] | None = None
        self.best_epoch = 0
        self.plateau_factor = 1.0
        self.plateau_wait = 0
        self.epochs_without_improvement = 0
        self.seconds = 0.0
        self.waiting = 0.0
        self.samples = 0
        self.sums: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []
        self.random_state = torch.get_rng_state()

    @property
    def scored_network(self) -> nn.Module:
        """The network that is evaluated and saved: the averaged one, if the recipe averages."""
        return self.average.network if self.average else self.network

    @property
    def improved(self) -> bool:
        """Whether the epoch just recorded is the best so far."""
        return self.recorded and self.best_epoch == self.epoch > 0

    @property
    def finished(self) -> bool:
        """Whether training is over: all epochs done, or stopped early, and the last epoch recorded."""
        stopping = self.recipe.early_stopping
        stopped = bool(stopping) and self.epochs_without_improvement >= stopping
        return self.recorded and (self.epoch >= self.recipe.epochs or stopped)

    def record(
        self, scores: Mapping[str, float], *, monitor: str | None = None, tie: str | None = None, lower: bool = False
    ) -> None:
        """Take the validation scores of the epoch that just ended.

        Args:
            scores: Named numbers for the history.
            monitor: Which of them decides what is best, higher being better; the first if none is named.
            tie: Which of them decides, lower being better, between two epochs that `monitor` finds equal.
            lower: The other way round: lower values of `monitor` are better, and higher ones of `tie`.

        Raises:
            PlusxError: No epoch is waiting for its scores, or the monitored score is not among them.
        """
        if not self.epoch_ended or self.recorded:
            raise PlusxError("record() was called but no epoch has just ended; call it once when progress.epoch_ended")
        decisive = monitor or next(iter(scores), "")
        for name in (decisive, tie or decisive):
            if name not in scores:
                raise PlusxError(f"record() was given {list(scores)}, but not the score to monitor, {name!r}; add it")
        self.history[-1].update({name: float(score) for name, score in scores.items()})
        self.recorded = True
        sign = -1.0 if lower else 1.0
        numbers = [sign * float(scores[decisive]), -sign * float(scores[tie]) if tie else 0.0]
        score = [-math.inf if math.isnan(number) else number for number in numbers]
        if self.best_score is None or score > self.best_score:
            self.best_score, self.best_epoch = score, self.epoch
            self.plateau_wait = self.epochs_without_improvement = 0
            return
        self.plateau_wait += 1
        self.epochs_without_improvement += 1
        if self.recipe.schedule == "plateau" and self.plateau_wait > self.recipe.patience:
            self.plateau_factor *= self.recipe.factor
            self.plateau_wait = 0

    def state_dict(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the state as plain values and as named tensors."""
        values: dict[str, Any] = {name: getattr(self, name) for name in COUNTERS}
        values["sums"] = list(self.sums)
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        if self.average:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.network.state_dict().items()}
        optimizer = self.optimizer.state_dict()
        for index, state in optimizer["state"].items():
            for name, tensor in state.items():
                if tensor is not None:
                    tensors[f"optimizer.{index}.{name}"] = tensor
        tensors |= {f"sums.{name}": tensor for name, tensor in self.sums.items()}
        tensors["random_state"] = self.random_state
        return values, tensors

    def load_state_dict(self, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave.

        Raises:
            CheckpointError: The state is that of another network or recipe.
        """
        try:
            for name in COUNTERS:
                setattr(self, name, values[name])
            self.history = [dict(row) for row in values["history"]]
            self.network.load_state_dict(_part(tensors, "network."))
            if self.average:
                self.average.network.load_state_dict(_part(tensors, "average."))
            groups = self.optimizer.state_dict()["param_groups"]
            parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
            states: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _part(tensors, "optimizer.").items():
                index, key = name.split(".", 1)
                states.setdefault(int(index), {})[key] = _laid_out_like(parameters[int(index)], tensor)
            self.optimizer.load_state_dict({"state": states, "param_groups": groups})
            device = next(self.network.parameters()).device
            self.sums = {name: tensors[f"sums.{name}"].to(device) for name in values["sums"]}
            self.random_state = tensors["random_state"]
        except (LookupError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"the saved state does not fit this network and recipe: {error}") from error

    def with_random_state(self, step: Callable[[], None]) -> None:
        """Run one step on the run's own random stream; neither it nor the caller's stream disturbs the other."""
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.random_state)
            step()
            self.random_state = torch.get_rng_state()


def _laid_out_like(parameter: Tensor, state: Tensor) -> Tensor:
    """Give an optimizer's state its parameter's memory format: fused optimizers walk through both in step."""
    return torch.empty_like(parameter, dtype=state.dtype).copy_(state) if state.shape == parameter.shape else state


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
