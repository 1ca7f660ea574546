"""Progress: the whole state of a run, saved and restored exactly.

Whatever a resumed run needs is here: weights, optimizer, averaged weights, the place in the epoch, the sums of the
epoch so far, the best score, what plateau and early stopping count, and torch's random state. Data order and
augmentation need no state: they are functions of (seed, epoch, sample index).
"""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from plusx import ranks
from plusx.errors import CheckpointError, PlusxError
from plusx.training.averaging import Lookahead, WeightAverage
from plusx.training.freezing import Freezing
from plusx.training.optimization import optimizer_for
from plusx.training.recipe import Recipe

COUNTERS = (
    "epoch", "step", "step_in_epoch", "epoch_ended", "recorded", "best_score", "best_epoch",
    "plateau_factor", "plateau_wait", "epochs_without_improvement", "seconds", "waiting", "samples", "history",
    "incidents", "skipped", "skipped_in_row", "rollbacks", "micro_batches",
)  # fmt: skip
# What going back to the beginning of an epoch does not take back.
LASTING = ("seconds", "waiting", "incidents", "rollbacks", "micro_batches", "skipped")
ANCHOR = "anchor."


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
        incidents: Sentences on what went wrong and was mended, in order, each with its step.
        skipped: Steps whose loss or gradients were not finite and which were left out.
        skipped_in_row: The last of them that followed one another.
        rollbacks: How often training went back to the beginning of an epoch.
        micro_batches: Into how many parts each batch is divided, because there was too little memory for the whole.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        self.network = network
        self.freezing = Freezing(network, recipe)
        self.optimizer = optimizer_for(network, recipe)
        self.average = WeightAverage(network, recipe.average_decay) if recipe.average_decay else None
        self.lookahead = (
            Lookahead(network, recipe.lookahead_steps, recipe.lookahead_share, grows=recipe.lookahead_grows)
            if recipe.lookahead_steps
            else None
        )
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
        self.incidents: list[str] = []
        self.skipped = 0
        self.skipped_in_row = 0
        self.rollbacks = 0
        self.micro_batches = 1
        self.random_state = torch.get_rng_state()
        self._gpus = sorted({one.device.index for one in network.parameters() if one.device.type == "cuda"})
        self.gpu_random_states = [torch.cuda.get_rng_state(gpu) for gpu in self._gpus]
        self.anchor: tuple[dict[str, Any], dict[str, Tensor]] | None = None

    @property
    def scored_network(self) -> nn.Module:
        """The network that is evaluated and saved: the averaged one, if the recipe averages."""
        return self.average.network if self.average else self.network

    @property
    def kept_epoch(self) -> int:
        """The epoch, from 1, whose weights are kept: the best so far, or the last."""
        return self.epoch if self.recipe.keep == "last" else self.best_epoch

    @property
    def improved(self) -> bool:
        """Whether the epoch just recorded is the one to keep."""
        return self.recorded and self.kept_epoch == self.epoch > 0

    def advance(self, *, skipped: bool = False) -> None:
        """Go on to the next step."""
        self.step += 1
        self.step_in_epoch += 1
        if not skipped:
            self.skipped_in_row = 0

    def count(self, samples: int, sums: Mapping[str, Tensor]) -> None:
        """Add a step's sums over its samples to those of the epoch, without waiting for the device."""
        self.samples += samples
        for name, value in sums.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def end_epoch(self, rate: float) -> None:
        """Close the epoch: its row joins the history, and its scores are waited for."""
        row: dict[str, Any] = {"epoch": self.epoch + 1, "step": self.step, "learning_rate": rate}
        row |= {f"train_{name}": total.item() / self.samples for name, total in self.sums.items()}
        self.history.append(row)
        self.sums, self.samples = {}, 0
        self.epoch += 1
        self.step_in_epoch = 0
        self.epoch_ended, self.recorded = True, False

    @property
    def finished(self) -> bool:
        """Whether training is over: all epochs done, or stopped early, and the last epoch recorded."""
        stopping = self.recipe.early_stopping
        stopped = bool(stopping) and self.epochs_without_improvement >= stopping
        return self.recorded and (self.epoch >= self.recipe.epochs or self.exhausted or stopped)

    @property
    def exhausted(self) -> bool:
        """Whether the recipe's most steps are done."""
        return 0 < self.recipe.steps <= self.step

    @property
    def in_last_epoch(self) -> bool:
        """Whether no epoch follows the present one, however its steps turn out."""
        return self.epoch + 1 >= self.recipe.epochs or self.exhausted

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
        if not scores and self.recipe.keep == "last":
            self.recorded = True
            return
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
        """Return the state as plain values and as named tensors; of several ranks, all do this together."""
        values, tensors = self._state()
        if self.anchor:
            values["anchor"] = self.anchor[0]
            tensors |= {f"{ANCHOR}{name}": tensor for name, tensor in self.anchor[1].items()}
        return values, tensors | _of_other_ranks(tensors)

    def drop_anchor(self) -> None:
        """Remember the present state, for `go_back`."""
        values, tensors = self._state()
        self.anchor = (copy.deepcopy(values), {name: tensor.clone() for name, tensor in tensors.items()})

    def go_back(self) -> None:
        """Return to the state that was remembered last; what is lasting, time and incidents, stays.

        Raises:
            PlusxError: None was remembered.
        """
        if not self.anchor:
            raise PlusxError("go_back() was called, but no state was remembered; call drop_anchor() first")
        values, tensors = self.anchor
        lasting = {name: getattr(self, name) for name in LASTING}
        self._load({**copy.deepcopy(values), **lasting}, {name: tensor.clone() for name, tensor in tensors.items()})

    def _state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
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
        if self.lookahead:
            tensors |= {f"lookahead.{index}": tensor for index, tensor in enumerate(self.lookahead.slow)}
        return values, tensors | self._random_states()

    def _random_states(self) -> dict[str, Tensor]:
        gpus = {f"gpu_random_state.{index}": state for index, state in enumerate(self.gpu_random_states)}
        return {"random_state": self.random_state, **gpus}

    def load_state_dict(self, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave.

        Raises:
            CheckpointError: The state is that of another network or recipe.
        """
        if ranks.rank():
            own = _part(tensors, f"rank{ranks.rank()}.")  # none where there were fewer ranks: it keeps what it has
            tensors = {**tensors, **(own or {name: tensor.clone() for name, tensor in self._random_states().items()})}
        try:
            self._load(values, tensors)
            anchored = _part(tensors, ANCHOR)
            self.anchor = (dict(values["anchor"]), anchored) if anchored else None
        except (LookupError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"the saved state does not fit this network and recipe: {error}") from error

    def _load(self, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        for name in COUNTERS:
            setattr(self, name, values[name])
        self.history = [dict(row) for row in values["history"]]
        self.network.load_state_dict(_part(tensors, "network."))
        if self.average:
            self.average.network.load_state_dict(_part(tensors, "average."))
        if self.lookahead:
            for index, slow in enumerate(self.lookahead.slow):
                slow.copy_(tensors[f"lookahead.{index}"])
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
        self.gpu_random_states = [tensors[f"gpu_random_state.{index}"] for index in range(len(self._gpus))]

    def with_random_state(self, step: Callable[[], None]) -> None:
        """Run one step on the run's own random stream; neither it nor the caller's stream disturbs the other."""
        with torch.random.fork_rng(devices=self._gpus):
            self.restore_random_state()
            step()
            self.random_state = torch.get_rng_state()
            self.gpu_random_states = [torch.cuda.get_rng_state(gpu) for gpu in self._gpus]

    def restore_random_state(self) -> None:
        """Put torch's random streams where they were when the last step ended."""
        torch.set_rng_state(self.random_state)
        for gpu, state in zip(self._gpus, self.gpu_random_states, strict=True):
            torch.cuda.set_rng_state(state, gpu)


def _of_other_ranks(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what differs from rank to rank, the random states, of all ranks but the first."""
    own = {name: tensor for name, tensor in tensors.items() if "random_state" in name.removeprefix(ANCHOR)}
    later = list(enumerate(ranks.gathered(own)))[1:]
    return {f"rank{rank}.{name}": tensor for rank, theirs in later for name, tensor in theirs.items()}


def _laid_out_like(parameter: Tensor, state: Tensor) -> Tensor:
    """Give an optimizer's state its parameter's memory format: fused optimizers walk through both in step."""
    return torch.empty_like(parameter, dtype=state.dtype).copy_(state) if state.shape == parameter.shape else state


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
