"""From decoded images and arrays of many kinds to uint8 pixels of 1, 3 or any number of channels.

What each kind becomes:

- Transparent pixels are laid over white: pictures with a cut-out background are drawn for white pages, and the colors
  stored under full transparency are arbitrary (often black), which would show as noise.
- 16-bit gray is divided by 257, so that 65,535 is white; it is rounded, never clipped.
- 32-bit integers and floats in a file have no agreed white: the image's own least value becomes 0, its largest 255.
- Color becomes gray by ITU-R 601-2 luma, L = 0.299 R + 0.587 G + 0.114 B; gray becomes color by repetition.

Shape letters: H height, W width, C channels.
"""

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from plusx.errors import DataError
from plusx.inputs.decode import UnreadableImage

GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
SAFE_MODES = frozenset({*GREY_MODES, "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}) - {
    "F",
    "La",
}  # always convertible
LUMA = (19595, 38470, 7471)  # of 65,536: the integers that Pillow uses


def channels_of(image: Image.Image) -> int:
    """Return 1 for a gray image, 3 for one with color, whatever its depth or transparency."""
    return 1 if image.mode in GREY_MODES else 3


def image_pixels(image: Image.Image, channels: int, name: str) -> Tensor:
    """Convert a decoded image to `channels` of uint8.

    Returns:
        (C, H, W) uint8.

    Raises:
        DataError: The channels are neither 1 nor 3, which no image file gives.
        UnreadableImage: Its colors cannot be converted, or its values are not numbers.
    """
    if channels not in (1, 3):
        raise DataError(
            f"{name} is an image and gives 1 or 3 channels, but this input expects {channels}; "
            f"give arrays of shape (height, width, {channels}) instead"
        )
    if image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.uint32)
        return with_channels(torch.from_numpy(eight_bit(deep))[None], channels, name)
    if image.mode in ("I", "F"):
        return with_channels(torch.from_numpy(stretched(np.asarray(image), name))[None], channels, name)
    try:
        if image.has_transparency_data:
            clear = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
        image = image.convert("L" if channels == 1 or image.mode in ("1", "L") else "RGB")
    except Exception as error:
        raise UnreadableImage(f"has colors that cannot be converted: {error}", name) from error
    pixels = torch.from_numpy(np.array(image))
    pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()
    return with_channels(pixels, channels, name)


def array_pixels(array: NDArray[np.generic], channels: int, name: str = "the array") -> Tensor:
    """Convert an array to `channels` of uint8.

    Args:
        array: (H, W) or (H, W, C), one of uint8, uint16 (65,535 is white), bool, or floats in 0..1.
        channels: How many are wanted; 1 and 3 are converted to one another, others must be there.
        name: What the array is called in a sentence.

    Returns:
        (C, H, W) uint8, a copy.

    Raises:
        DataError: The shape or the type is not one of these.
        UnreadableImage: It has no pixels, or floats outside 0..1.
    """
    if array.ndim not in (2, 3):
        raise DataError(f"{name} has shape {array.shape}; expected (height, width) or (height, width, channels)")
    if array.size == 0:
        raise UnreadableImage("has no pixels", name)
    if array.dtype == np.uint8:
        bytes_ = array
    elif array.dtype == np.uint16:
        bytes_ = eight_bit(array.astype(np.uint32))
    elif array.dtype == np.bool_:
        bytes_ = array.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):
            raise UnreadableImage(f"holds floats from {low:g} to {high:g}; expected 0 to 1 (divide by its white)", name)
        bytes_ = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    else:
        raise DataError(f"{name} has type {array.dtype}; expected uint8, uint16, bool, or floats in 0..1")
    planes = bytes_[None] if bytes_.ndim == 2 else bytes_.transpose(2, 0, 1)
    return with_channels(torch.from_numpy(np.array(planes, order="C")), channels, name)


def with_channels(pixels: Tensor, channels: int, name: str) -> Tensor:
    """Convert (1, H, W) or (3, H, W) uint8 to the other; leave the right number alone.

    Raises:
        DataError: The number cannot be converted.
    """
    found = pixels.shape[0]
    if found == channels:
        return pixels
    if (found, channels) == (1, 3):
        return pixels.repeat(3, 1, 1)
    if (found, channels) == (3, 1):
        red, green, blue = (pixels[k].to(torch.int32) * LUMA[k] for k in range(3))
        return ((red + green + blue + 0x8000) >> 16).to(torch.uint8)[None]
    hint = "; drop the alpha channel with array[..., :3]" if (found, channels) == (4, 3) else ""
    raise DataError(f"{name} has {found} channels, but this input expects {channels}{hint}")


def eight_bit(deep: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Divide 16-bit values by 257, rounding to the nearest: 65,535 becomes 255."""
    return ((deep + 128) // 257).astype(np.uint8)


def stretched(values: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    """Stretch 32-bit values to 0..255 by their own least and largest; a constant image becomes 0.

    Raises:
        UnreadableImage: A value is infinite or not a number.
    """
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise UnreadableImage("holds values that are infinite or not a number", name)
    low = numbers.min()
    span = numbers.max() - low
    # Divided by the span before anything is multiplied: 255 / span would be infinite for the smallest spans there are.
    return np.rint((numbers - low) / (span if span > 0 else 1.0) * 255).astype(np.uint8)


def hash_of(array: NDArray[Any]) -> str:
    """Return the sha256 of an array's shape, type and values."""
    head = f"{array.shape} {array.dtype.str} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()
