"""A network's answers for batches, in the same float32 arithmetic wherever they are asked for.

Answers are computed in float32 whatever precision trained the network, so that an evaluation, a prediction and, later,
an exported network can be held against each other.

Shape letters: B samples a batch, N samples, K classes.
"""

import dataclasses
from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from plusx.data.batches import Batches
from plusx.device import Device
from plusx.evaluation.evaluate import UNKNOWN, Predictions
from plusx.events import Advanced, Event
from plusx.tasks.classification import Classification

if TYPE_CHECKING:
    from numpy.typing import NDArray


def predict(
    network: nn.Module, task: Classification, batches: Batches, device: Device, activity: str = "evaluating"
) -> Generator[Event, None, Predictions]:
    """Let a network answer every sample of some batches.

    Args:
        network: The network, on its device; its mode is put back afterwards.
        task: What was asked of it.
        batches: Batches in order, without augmentation.
        device: Where to compute.
        activity: What the progress is called.

    Returns:
        The predictions, in the order of the samples.
    """
    rows: list[NDArray[np.float32]] = []
    device = dataclasses.replace(device, precision="float32")
    training = network.training
    network.eval()
    done = 0
    try:
        for batch in batches.epoch():
            with torch.inference_mode(), device.autocast():
                probabilities = task.probabilities(network(device.place_images(batch.images)))
            rows.append(probabilities.cpu().numpy())
            done += len(probabilities)
            yield Advanced(activity, done, len(batches.samples))
    finally:
        network.train(training)
    return Predictions(
        names=tuple(sample.name for sample in batches.samples),
        targets=np.array([UNKNOWN if sample.target is None else sample.target for sample in batches.samples], np.int64),
        probabilities=np.concatenate(rows) if rows else np.zeros((0, len(task.classes)), np.float32),
        classes=task.classes,
    )


def quick_scores(predictions: Predictions) -> dict[str, float]:
    """Accuracy, and loss as the mean cross-entropy in nats, without intervals: what is followed during training."""
    rows = np.arange(len(predictions.targets))
    own = np.maximum(predictions.probabilities[rows, predictions.targets].astype(np.float64), 1e-30)
    return {
        "accuracy": float((predictions.predicted == predictions.targets).mean()),
        "loss": float(-np.log(own).mean()),
    }
