"""Mixing: each image of a batch is blended with its neighbor's, or gets a part of it, and so do the targets.

Mixup: Zhang, Cisse, Dauphin and Lopez-Paz 2017, arXiv:1710.09412, equation 1. CutMix: Yun et al. 2019,
arXiv:1905.04899, section 3.1.

The samples of a step stand in random order, so that neighbors (the first and the second, the third and the fourth ...)
are random pairs, and however a step is divided among processes, pairs stay together. What is drawn is drawn once a
step, a function of (seed, epoch, step). The papers draw a partner for each image anew; a pair here is mixed both ways.

Shape letters: B samples, C channels, H height, W width.
"""

import math

import numpy as np
import torch
from torch import Tensor

from plusx import random_streams
from plusx.tasks.task import Task
from plusx.training.recipe import Recipe


def mixed(
    images: Tensor, targets: Tensor, task: Task, recipe: Recipe, *, seed: int, epoch: int, step: int
) -> tuple[Tensor, Tensor]:
    """Mix one step's images and targets as the recipe says; as they are where it says nothing.

    Args:
        images: (B, C, H, W), normalized.
        targets: As `task.collate` gives them.
        task: Blends the targets.
        recipe: Its `mixup` and `cutmix` are the alphas of beta distributions.
        seed: The run's.
        epoch: From 0.
        step: In the epoch, from 0.
    """
    if not (recipe.mixup or recipe.cutmix) or len(images) < 2:
        return images, targets
    draws = random_streams.of_step(seed, epoch, step)
    cuts = recipe.cutmix > 0 and (recipe.mixup == 0 or draws.random() < 0.5)
    alpha = recipe.cutmix if cuts else recipe.mixup
    share = float(draws.beta(alpha, alpha))
    partners = neighbors(len(images)).to(images.device)
    if cuts:
        top, bottom, left, right = box(draws, images.shape[-2], images.shape[-1], share)
        share = 1 - (bottom - top) * (right - left) / (images.shape[-2] * images.shape[-1])
        mixed_images = images.clone()
        mixed_images[..., top:bottom, left:right] = images[partners, :, top:bottom, left:right]
    else:
        mixed_images = torch.lerp(images[partners], images, share)
    return mixed_images, task.blended(targets, targets[partners], share)


def neighbors(count: int) -> Tensor:
    """Return each sample's partner: 1, 0, 3, 2 ...; a last one without any is its own."""
    places = torch.arange(count)
    return torch.where((places ^ 1) < count, places ^ 1, places)


def box(draws: np.random.Generator, height: int, width: int, share: float) -> tuple[int, int, int, int]:
    """Draw the part of CutMix: its center is anywhere, its sides are sqrt(1 - share) of the image's, cut at the edges.

    Returns:
        Top, bottom, left, right.
    """
    tall, wide = (round(side * math.sqrt(1 - share)) for side in (height, width))
    row, column = int(draws.integers(height)), int(draws.integers(width))
    top, left = max(0, row - tall // 2), max(0, column - wide // 2)
    return top, min(height, row - tall // 2 + tall), left, min(width, column - wide // 2 + wide)
