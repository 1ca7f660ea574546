"""Freezing: which parts of a network stay as they are, for the whole run or for its first epochs.

A frozen part is left out of the backward pass: its parameters get no gradient, so neither optimizer nor weight decay
touch them, and its norms and dropout work as in evaluation, so no running statistics move. `Freezing` says so before
every step, because whoever scores the network in between changes its mode.
"""

import math
from collections.abc import Iterable

from torch import nn

from plusx.errors import UsageError
from plusx.network import layers
from plusx.network.backbone import Network
from plusx.training.recipe import FREEZE_WORDS, FROZEN, Recipe, all_steps


def parts_of(network: nn.Module) -> list[list[nn.Module]]:
    """Return the modules of a network's parts, from the image on: the stem, each stage, the head.

    What leads into a stage belongs to it, what follows the last one to that. Any other module is all head.
    """
    if not isinstance(network, Network):
        return [[network]]
    backbone = network.backbone
    stages = [list[nn.Module](pair) for pair in zip(backbone.transitions, backbone.stages, strict=True)]
    stages[-1].append(backbone.finish)
    return [[backbone.stem], *stages, [network.head]]


def frozen_parts(freeze: str, stages: int) -> int:
    """Return how many parts, from the image on, `freeze` names in a network of so many stages.

    Raises:
        UsageError: It names more stages than there are.
    """
    if freeze in FROZEN:
        return {"none": 0, "stem": 1, "backbone": 1 + stages}[freeze]
    if int(freeze) > stages:
        raise UsageError(
            f"freeze is {freeze!r}, but the network has a stem and {stages} stages; "
            f"expected {FREEZE_WORDS} from 1 to {stages}"
        )
    return 1 + int(freeze)


def head_steps(network: nn.Module, recipe: Recipe, steps_per_epoch: int) -> int:
    """Return in how many steps, from the first on, the head is trained alone; none where nothing waits for it."""
    stages = len(parts_of(network)) - 2
    if stages < 0 or frozen_parts(recipe.freeze, stages) == 1 + stages:
        return 0
    return math.floor(min(recipe.head_epochs * steps_per_epoch, all_steps(recipe, steps_per_epoch) / 2))


def trained_norms(network: nn.Module) -> set[str]:
    """Return the names of the norms that took the statistics of the last step's batch."""
    return {name for name, one in network.named_modules() if isinstance(one, layers.Norm) and one.training}


class Freezing:
    """What of a network is frozen when.

    Args:
        network: The network; what `recipe.freeze` names gets no gradients from now on.
        recipe: Its `freeze`, `head_epochs`, `frozen_norms` and `frozen_scales` decide.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        parts = parts_of(network)
        count = frozen_parts(recipe.freeze, len(parts) - 2) if len(parts) > 1 else 0
        for parameter in (one for part in parts[:count] for module in part for one in module.parameters()):
            parameter.requires_grad = False
        for norm in (one for one in network.modules() if recipe.frozen_scales and isinstance(one, layers.Norm)):
            norm.weight.requires_grad = False
        backbone = [module for part in parts[:-1] for module in part]
        self._waiting = [one for module in backbone for one in module.parameters() if one.requires_grad]
        frozen = _within(module for part in parts[:count] for module in part)
        norms = {id(one) for one in network.modules() if recipe.frozen_norms and isinstance(one, layers.Norm)}
        self._all_modes = [(one, id(one) not in frozen | norms) for one in network.modules()]
        below = _within(backbone)
        self._head_modes = [(one, mode and id(one) not in below) for one, mode in self._all_modes]

    def begin_step(self, *, head_alone: bool) -> None:
        """Put every module in the mode, and every parameter in or out of the backward pass, that the step needs."""
        for module, training in self._head_modes if head_alone else self._all_modes:
            if module.training is not training:
                module.training = training
        for parameter in self._waiting:
            if parameter.requires_grad is head_alone:
                parameter.requires_grad = not head_alone


def _within(modules: Iterable[nn.Module]) -> set[int]:
    return {id(inner) for module in modules for inner in module.modules()}
