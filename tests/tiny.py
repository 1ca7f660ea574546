"""A network, a task and samples so small that training them takes milliseconds: bright bars in noise, 8 by 8 pixels."""

import numpy as np
import torch
from torch import nn

from plusx.checkpoint import Checkpoint
from plusx.data import Sample
from plusx.data.batches import Batches
from plusx.inputs.image import ImageInput
from plusx.network.architecture import Architecture
from plusx.network.backbone import Backbone, Network
from plusx.tasks.classification import Classification

SIDE = 8
CLASSES = ("上", "middle", "low")
TASK = Classification(CLASSES)
INPUT = ImageInput(SIDE, SIDE, 1, (0.4,), (0.3,))
AUGMENTED = ImageInput(SIDE, SIDE, 1, (0.4,), (0.3,), flip=True, pad_and_crop=1)
ARCHITECTURE = Architecture(
    "tiny", "no paper", "small", "basic", (1, 1), (4, 8), "zero_pad", channels_in=1, image_size=SIDE
)


def pixels(target: int, number: int, side: int = SIDE) -> np.ndarray:
    """One picture of a class: a bright bar at the top, in the middle or at the bottom, in noise of its own."""
    picture = np.random.default_rng((target, number)).integers(0, 120, (side, side)).astype(np.uint8)
    third = side // 3
    picture[target * third : (target + 1) * third] += 130
    return picture


def samples(count: int) -> list[Sample]:
    """Samples whose classes take turns."""
    return [Sample(f"{place:03}", pixels(place % 3, place), place % 3) for place in range(count)]


def network(*, seed: int = 0, dropout: float = 0.0, architecture: Architecture = ARCHITECTURE) -> Network:
    """A network with weights of its seed; with dropout it draws random numbers in every step."""
    torch.manual_seed(seed)
    backbone = Backbone(architecture)
    made = Network(backbone, TASK.head(backbone))
    if dropout:
        made.head.linear = nn.Sequential(nn.Dropout(dropout), made.head.linear)
    return made


def batches(count: int = 12, *, batch_size: int = 4, training: bool = True, input: ImageInput = INPUT) -> Batches:  # noqa: A002
    """Batches of `count` samples, all in memory."""
    return Batches(
        samples(count), input, batch_size=batch_size, collate=TASK.collate, seed=3, training=training, workers=0
    )


def checkpoint(seed: int = 0) -> Checkpoint:
    """A checkpoint of an untrained network whose batch statistics are not those of a new one."""
    made = network(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for name, buffer in made.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) - 0.5)
        elif name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    nn.init.normal_(made.head.linear.weight, generator=generator)
    return Checkpoint(ARCHITECTURE, INPUT, TASK, made.state_dict(), {"validation": {"accuracy": 0.5}}, {"epoch": 3})
