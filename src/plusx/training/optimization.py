"""Optimization: parameter groups, optimizers, learning-rate schedules and averaged weights.

A learning rate is a function of the step, not the memory of a scheduler: a run that stops and goes on cannot lose it.
Only the plateau schedule remembers anything, and that is in the run's progress.
"""

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from plusx.training.recipe import Recipe

ONE_CYCLE_START = 1 / 25  # where the rise begins, as in torch's OneCycleLR; its share of the training by default:
ONE_CYCLE_RISE = 0.25


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return two groups: what weight decay acts on, and (unless the recipe decays them too) norms and biases.

    Leaving out norms and biases: He et al. 2018 (arXiv:1812.01187), section 3.1.
    """
    decayed: list[Tensor] = []
    spared: list[Tensor] = []
    for parameter in network.parameters():
        if parameter.requires_grad:
            (decayed if parameter.ndim > 1 or recipe.decay_norm_and_bias else spared).append(parameter)
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def optimizer_for(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over the network's parameters, in its fused form."""
    groups = parameter_groups(network, recipe)
    if recipe.optimizer == "sgd":
        nesterov = recipe.nesterov and recipe.momentum > 0
        return torch.optim.SGD(groups, recipe.learning_rate, recipe.momentum, nesterov=nesterov, fused=True)
    adam = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return adam(groups, recipe.learning_rate, betas=(recipe.momentum, 0.999), fused=True)


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int, plateau_factor: float = 1.0) -> float:
    """Return the learning rate of one step.

    Args:
        recipe: The recipe.
        step: The step since the start of training, from 0.
        steps_per_epoch: Steps an epoch.
        plateau_factor: What the plateau schedule has multiplied the rate by so far.
    """
    total = recipe.epochs * steps_per_epoch
    warmup = min(recipe.warmup_epochs, recipe.epochs / 2) * steps_per_epoch
    if recipe.schedule == "one_cycle":
        warmup = warmup or ONE_CYCLE_RISE * total
    if step < warmup:
        start = ONE_CYCLE_START if recipe.schedule == "one_cycle" else 0.0
        return recipe.learning_rate * (start + (1 - start) * (step + 1) / (math.floor(warmup) + 1))
    share = (step - warmup) / max(total - warmup, 1)
    span = recipe.learning_rate - recipe.minimum_learning_rate
    match recipe.schedule:
        case "cosine":
            return recipe.minimum_learning_rate + span * (1 + math.cos(math.pi * share)) / 2
        case "one_cycle":
            return recipe.minimum_learning_rate + span * (1 - share)
        case "step":
            passed = sum(step >= milestone * total for milestone in recipe.milestones)
            return max(recipe.learning_rate * recipe.factor**passed, recipe.minimum_learning_rate)
        case "plateau":
            return max(recipe.learning_rate * plateau_factor, recipe.minimum_learning_rate)
        case _:
            return recipe.learning_rate


class WeightAverage:
    """An exponential moving average of a network's weights and norm statistics, kept in a second network.

    After step t it is average + (1 - d) (weights - average) with d = min(decay, (1 + t) / (10 + t)), so that the first
    steps, whose weights are worthless, are forgotten (the decay's warm-up of TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards the weights after step `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for average, now in zip(_state(self.network), _state(network), strict=True):
            if average.is_floating_point():
                average.lerp_(now, 1 - decay)
            else:
                average.copy_(now)


def _state(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()
