"""A network's answers, in the same float32 arithmetic wherever they are asked for.

Answers are computed in float32 whatever precision trained the network, so that an evaluation, a prediction and, later,
an exported network can be held against each other.

Shape letters: B samples a batch, C channels, N samples, K classes.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from plusx import ranks
from plusx.data.batches import Batches
from plusx.data.reading import Input
from plusx.data.steps import evaluation_part
from plusx.device import Device
from plusx.evaluation.evaluate import UNKNOWN, Predictions
from plusx.events import Advanced, Event
from plusx.memory import lacks_memory
from plusx.tasks.classification import Classification

if TYPE_CHECKING:
    from numpy.typing import NDArray


@contextmanager
def exact_float32() -> Generator[None]:
    """Compute convolutions and matrix products of float32 numbers in float32 inside the block.

    Unless told otherwise cuDNN rounds what a convolution takes to TF32's 10 bits of mantissa, and a program can allow
    as much for matrix products.
    """
    backends: Any = torch.backends  # whose stubs lack these settings
    parts = (backends.cudnn.conv, backends.cuda.matmul, backends.mkldnn.conv, backends.mkldnn.matmul)
    before = [part.fp32_precision for part in parts]
    try:
        for part in parts:
            part.fp32_precision = "ieee"
        yield
    finally:
        for part, precision in zip(parts, before, strict=True):
            part.fp32_precision = precision


def outputs_of(network: nn.Module, images: Tensor, device: Device, look: Input | None = None) -> Tensor:
    """Return a network's outputs for prepared images (B, C, height, width), computed in float32.

    Args:
        network: In evaluation mode, on the device.
        images: As the input prepares them.
        device: Where to compute.
        look: Over its views of an image the outputs are averaged, if one is given.

    Images for which the memory is not enough are answered in two halves, and so on.
    """
    try:
        return _outputs_at_once(network, images, device, look)
    except (RuntimeError, MemoryError) as error:
        if len(images) == 1 or not lacks_memory(error):
            raise
    halves = images.split(-(-len(images) // 2))
    return torch.cat([outputs_of(network, half, device, look) for half in halves])


def _outputs_at_once(network: nn.Module, images: Tensor, device: Device, look: Input | None) -> Tensor:
    with torch.inference_mode(), torch.autocast(device.kind, enabled=False), exact_float32():
        if look is None:
            return network(device.place_images(images))
        return look.averaged(lambda seen: network(device.place_images(seen)), images)


def predict(
    network: nn.Module, task: Classification, batches: Batches, device: Device, activity: str = "evaluating"
) -> Generator[Event, None, Predictions]:
    """Let a network answer every sample of some batches.

    Args:
        network: The network, on its device; its mode is put back afterwards.
        task: What was asked of it.
        batches: Batches in order, without augmentation.
        device: Where to compute.
        activity: What the progress is called; that of reading into memory has its own name.

    Returns:
        The predictions, in the order of the samples; where several ranks share the batches, all of them, on every rank.
    """
    rows: list[NDArray[np.float32]] = []
    training = network.training
    network.eval()
    done = 0
    try:
        yield from batches.load()
        for batch in batches.epoch():
            probabilities = task.probabilities(outputs_of(network, batch.images, device, batches.input))
            rows.append(probabilities.cpu().numpy())
            done += len(probabilities)
            yield Advanced(activity, done, len(batches.part))
    finally:
        network.train(training)
    answers = np.concatenate(rows) if rows else np.zeros((0, len(task.classes)), np.float32)
    if batches.ranks > 1:
        parts = [
            evaluation_part(len(batches.samples), batches.batch_size, one, batches.ranks)
            for one in range(batches.ranks)
        ]
        answers = ranks.gathered_rows(torch.from_numpy(answers), [len(part) for part in parts]).numpy()
    return Predictions(
        names=tuple(sample.name for sample in batches.samples),
        targets=np.array([UNKNOWN if sample.target is None else sample.target for sample in batches.samples], np.int64),
        probabilities=answers,
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
