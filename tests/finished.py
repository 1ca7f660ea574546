"""A run that is over, in plain values: what screens and reports are made of."""

import dataclasses

import numpy as np
import tiny
import torch

from plusx.data import Dataset
from plusx.evaluation.evaluate import Predictions, evaluate
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone, Network
from plusx.plan import Plan, Run
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe

ARCHITECTURE = dataclasses.replace(ARCHITECTURES["resnet20"], channels_in=1)


def plan_of(**changes):
    return Plan(Run("bars", model="resnet20", seed=3), ARCHITECTURE, tiny.AUGMENTED, tiny.TASK, Recipe(**changes))


def network():
    torch.manual_seed(0)
    backbone = Backbone(ARCHITECTURE)
    return Network(backbone, tiny.TASK.head(backbone))


def dataset():
    splits = ["train"] * 12 + ["validation"] * 3 + ["test"] * 6
    samples = [dataclasses.replace(one, split=split) for one, split in zip(tiny.samples(21), splits, strict=True)]
    return Dataset("bars", "some/bars", tiny.CLASSES, tuple(samples))


def evaluated(count=6):
    random = np.random.default_rng(0)
    rows = random.dirichlet(np.ones(3), count).astype(np.float32)
    rows[0] = (0.0, 0.0, 1.0)  # a sure mistake: the first sample is of the first class
    names = tuple(f"{place:03}" for place in range(count))
    return evaluate(Predictions(names, np.arange(count) % 3, rows, tiny.CLASSES), "test")


def finished():
    progress = Progress(network(), Recipe())
    progress.epoch, progress.best_epoch, progress.seconds, progress.waiting = 3, 2, 80.0, 4.0
    progress.history = [
        {
            "epoch": epoch,
            "step": 3 * epoch,
            "learning_rate": 0.1,
            "train_loss": 1.0 / epoch,
            "train_accuracy": 0.5,
            "validation_loss": 1.0,
            "validation_accuracy": 0.4,
        }
        for epoch in (1, 2, 3)
    ]
    return progress
