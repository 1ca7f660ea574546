"""Batch norms' statistics as averages over training images, with the weights as they are now.

Running statistics lag behind the weights and remember noisy batches. He et al. 2015 (arXiv:1512.03385; their released
models) average them anew after training; so does Wu and Johnson 2021 (arXiv:2105.07576, section 3, "PreciseBN").
"""

from collections.abc import Collection, Sequence

import torch
from torch import nn

from plusx import ranks
from plusx.data.batches import Batches
from plusx.device import Device
from plusx.evaluation.inference import exact_float32
from plusx.memory import lacks_memory, shortly
from plusx.network import layers
from plusx.training import together
from plusx.training.recipe import Recipe
from plusx.training.step import TooLarge, part_places


def average_statistics(
    network: nn.Module,
    batches: Batches,
    recipe: Recipe,
    epoch: int,
    device: Device,
    names: Collection[str] | None = None,
    parts: int = 1,
) -> None:
    """Replace the running statistics of a network's norms by their means over the first batches of an epoch.

    Means and variances of batches of the recipe's size are averaged, computed in float32 as an evaluation is. Of
    several ranks each takes its part of every batch; unless the norms are synchronized, the variances then are the
    means of those of the parts. So they are where the memory is not enough for whole batches.

    Args:
        network: On its device; only its norms' statistics change.
        batches: The training batches.
        recipe: `exact_statistics` is the number of batches.
        epoch: Whose batches, from 0.
        device: Where to compute.
        names: The norms whose statistics they are, all if none are given; those that are frozen stay as they are.
        parts: In how many parts each batch is computed; in more where the memory is not enough.

    Raises:
        TooLarge: The memory is not enough for the smallest parts.
    """
    named = [one for name, one in network.named_modules() if names is None or name in names]
    norms = [one for one in named if isinstance(one, layers.Norm) and one.momentum is not None]
    if not norms:
        return
    modes = [(one, one.training) for one in network.modules()]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.train()
        norm.momentum = None  # torch's word for the plain mean over all batches
    try:
        while lacking := _averaged(network, norms, batches, recipe, epoch, device, parts):
            parts *= 2
            if parts > recipe.batch_size // ranks.count() // 2:
                raise _too_large(lacking)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes:
            module.training = mode


@torch.no_grad()
def _averaged(
    network: nn.Module,
    norms: Sequence[layers.Norm],
    batches: Batches,
    recipe: Recipe,
    epoch: int,
    device: Device,
    parts: int,
) -> str:
    """Let the norms see the batches; return "", or why the memory is not enough for it on some rank."""
    for norm in norms:
        norm.reset_running_stats()
    own, total, lacking, waiting = 0, 0, "", together.norms_wait(network)
    with exact_float32():
        for _, batch in zip(range(recipe.exact_statistics), batches.epoch(epoch), strict=False):
            try:
                for place in part_places(len(batch.images), parts):
                    network(device.place_images(batch.images[place]))
            except (RuntimeError, MemoryError) as error:
                if not lacks_memory(error):
                    raise
                lacking = shortly(error)
                if waiting:
                    raise _too_large(lacking) from error
                break
            own, total = own + len(batch.images), total + batch.total
    if together.any_rank(lacking):
        return lacking or "on another process"
    together.average([norm for norm in together.norms_apart(network) if norm in norms], own / max(total, 1))
    return ""


def _too_large(lacking: str) -> TooLarge:
    return TooLarge(
        f"the memory is not enough for the norms' statistics ({lacking}); use a smaller --batch-size or --model, or "
        "leave out --exact-statistics"
    )
