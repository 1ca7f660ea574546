"""The preprocessing that is assumed of weights that do not say theirs: the habits of those who publish networks."""

from plusx.inputs.image import ImageInput
from plusx.network.architecture import Architecture
from plusx.weights.fit import adapted_input
from plusx.weights.published import IMAGENET_DEVIATION, IMAGENET_MEAN

PHOTO = 224
SMALLEST_PHOTO = 128  # what is for smaller images has images of one size, and nothing is cropped
CROP = 0.875  # 224 of 256


def assumed_input(architecture: Architecture | None, channels: int) -> ImageInput:
    """Return the preprocessing of most networks of that image size, for images of so many channels.

    Args:
        architecture: Of what network the weights are; a network for photos if None.
        channels: Of an image.
    """
    side = PHOTO if architecture is None else architecture.image_size
    crop = CROP if side >= SMALLEST_PHOTO else 1.0
    look = ImageInput(side, side, 3, IMAGENET_MEAN, IMAGENET_DEVIATION, crop_fraction=crop, rounded=True)
    return adapted_input(look, channels)


def in_words(look: ImageInput) -> str:
    """Return what is assumed: "224x224 pixels, the center of 256, with ImageNet's mean and deviation"."""
    cropped = f", the center of {round(look.height / look.crop_fraction)}" if look.crop_fraction < 1 else ""
    return f"{look.height}x{look.width} pixels{cropped}, with ImageNet's mean and deviation"
