"""Optimization: parameter groups, optimizers and learning-rate schedules.

A learning rate is a function of the step, not the memory of a scheduler: a run that stops and goes on cannot lose it.
Only the plateau schedule remembers anything, and that is in the run's progress.
"""

import math
from typing import Any

import torch
from torch import nn

from plusx.network import layers
from plusx.training.freezing import parts_of
from plusx.training.lamb import Lamb
from plusx.training.recipe import Recipe, all_steps

ONE_CYCLE_START = 1 / 25  # where the rise begins, as in torch's OneCycleLR; its share of the training by default:
ONE_CYCLE_RISE = 0.25


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the parameters that are trained, in groups of one weight decay and one part of the learning rate.

    Weight decay acts, unless the recipe decays all, on neither norms nor biases: He et al. 2018 (arXiv:1812.01187),
    section 3.1. `factor` is the group's part of the learning rate: 1 in the head, `rate_decay` in the last stage, and
    once more `rate_decay` for each part towards the image; the norms' biases have `bias_rate` times that.
    """
    apart = recipe.rate_decay < 1 or recipe.head_epochs > 0
    norms = (one for one in network.modules() if isinstance(one, layers.Norm) and recipe.bias_rate != 1)
    biases = {id(one.bias) for one in norms}  # those of another rate
    groups: list[dict[str, Any]] = []

    def add(parameters: list[nn.Parameter], factor: float, decay: float) -> None:
        for decays in (True, False):
            chosen = [one for one in parameters if decays is (one.ndim > 1 or recipe.decay_norm_and_bias)]
            groups.append({"params": chosen, "weight_decay": decay if decays else 0.0, "factor": factor})

    # What waits for the head has groups of its own: torch's fused SGD wants the momentum of all of a group or of none.
    for above, part in enumerate(reversed(parts_of(network)) if apart else [[network]]):
        parameters = [one for module in part for one in module.parameters() if one.requires_grad]
        quick = [one for one in parameters if id(one) in biases]
        slow = [one for one in parameters if id(one) not in biases]
        add(slow, recipe.rate_decay**above, recipe.weight_decay)
        add(quick, recipe.rate_decay**above * recipe.bias_rate, recipe.weight_decay / recipe.bias_rate)
    return [group for group in groups if group["params"]]


def optimizer_for(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over the network's parameters, in its fused form."""
    groups = parameter_groups(network, recipe)
    if recipe.optimizer == "sgd":
        nesterov = recipe.nesterov and recipe.momentum > 0
        return torch.optim.SGD(groups, recipe.learning_rate, recipe.momentum, nesterov=nesterov, fused=True)
    if recipe.optimizer == "lamb":
        return Lamb(groups, recipe.learning_rate, betas=(recipe.momentum, 0.999))
    adam = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return adam(groups, recipe.learning_rate, betas=(recipe.momentum, 0.999), fused=True)


def learning_rate(
    recipe: Recipe, step: int, steps_per_epoch: int, plateau_factor: float = 1.0, *, alone: int = 0
) -> float:
    """Return the learning rate of one step; that of the head, where earlier stages have lower ones.

    Args:
        recipe: The recipe.
        step: The step since the start of training, from 0.
        steps_per_epoch: Steps an epoch.
        plateau_factor: What the plateau schedule has multiplied the rate by so far.
        alone: In how many steps, from the first on, the head is trained alone; the schedule begins after them.
    """
    if step < alone:
        return recipe.learning_rate
    step, total = step - alone, all_steps(recipe, steps_per_epoch) - alone
    warmup = min(recipe.warmup_epochs * steps_per_epoch, total / 2)
    if recipe.schedule == "one_cycle":
        warmup = warmup or ONE_CYCLE_RISE * total
    if step < warmup:
        if recipe.warmup_rate:
            return recipe.warmup_rate
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
