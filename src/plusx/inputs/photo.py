"""Reading a photo for training: the random crop is drawn first, and then little more than it is decoded and resized.

A JPEG's decoder can give 1/2, 1/4 or 1/8 of the size in less time: it gives the smallest in which the crop still has
at least the final size. And since its rows come from top to bottom, it is told that the image ends below the crop.
Only training reads so; evaluation and prediction use `ImageInput.read` and `prepare`.

Shape letters: C channels, H and W the size found, h and w the final size.
"""

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor

from plusx.inputs.batch_augment import FLIP, changed_at_size, crop_box, harmless_reduction, is_strip, resized_bytes
from plusx.inputs.decode import decode, opened, orientation
from plusx.inputs.pixels import array_pixels, image_pixels

if TYPE_CHECKING:
    from plusx.inputs.image import ImageInput, Source

FACTORS = (8, 4, 2)
"""By which a JPEG's decoder can divide the sides, the largest first."""
PLAIN = {"RGB": 3, "L": 1}
"""Modes whose pixels are what the network is given, with their channels."""
BELOW = 8  # rows that are decoded below a crop: at its lower edge a decoder smooths colors with the row that follows
KEPT = 1.5
"""Of a photo that is cropped at random a cache keeps so much more than the final size on the shorter side."""
SEQUENTIAL = (0xC0, 0xC1)  # markers of frames whose rows come from top to bottom, in one scan
OTHER_FRAMES = {0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
SCAN = 0xDA
ALONE = {0x01, *range(0xD0, 0xDA)}  # markers without a length


def read_for_training(settings: "ImageInput", source: "Source", least: int = 0) -> Tensor:
    """Read one image as `ImageInput.read` does, a JPEG perhaps smaller: as far as training's resize allows.

    The same file and settings always give the same bits, which are not those of `read`: see `harmless_reduction`.

    Args:
        settings: What it is read for.
        source: As `ImageInput.read` takes it.
        least: The shorter side that is wanted, if that decides it.
    """
    if isinstance(source, np.ndarray):
        return array_pixels(source, settings.channels)
    image, content, name, suffix = opened(source, settings.max_pixels)
    if isinstance(image, JpegImageFile):
        size = upright_size(image)
        enough = next((by for by in FACTORS if min(size) // by >= least), 1)
        reduce_by(image, enough if least else harmless_reduction(settings, *size))
    whole = decode(image, content=content, name=name, suffix=suffix)
    return image_pixels(whole, settings.channels, name)


def read_augmented(settings: "ImageInput", source: "Source", numbers: NDArray[np.float64]) -> Tensor:
    """Read one image and change it at random: uint8 (C, h, w), in memory perhaps channels last.

    Raises:
        UnreadableImage: It cannot be read; what lies below a JPEG's crop is not looked at.
        DataError: It gives other channels than the input expects.
    """
    if not settings.random_resized_crop:
        return settings.augment(read_for_training(settings, source), numbers)
    part = array_part(settings, source, numbers) if isinstance(source, np.ndarray) else None
    if part is None:
        part = file_part(settings, source, numbers)
    image = resized_bytes(part[None], settings.height, settings.width, settings.interpolation)
    if settings.pad_and_crop or settings.cutout or settings.policy != "none" or settings.erase:
        return changed_at_size(settings, image, numbers[None])[0]
    mirrored = settings.flip and numbers[FLIP] < 0.5
    return (image.flip(3) if mirrored else image)[0]


def array_part(settings: "ImageInput", array: NDArray[Any], numbers: NDArray[np.float64]) -> Tensor:
    """Return the part of an array that is to be resized: (C, *, *) uint8."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != settings.channels:
        array = array_pixels(array, settings.channels).permute(1, 2, 0).numpy()
    top, left, tall, wide = crop_box(array.shape[0], array.shape[1], settings, numbers)
    return torch.from_numpy(array[top : top + tall, left : left + wide].copy()).permute(2, 0, 1)


def file_part(settings: "ImageInput", source: "Source", numbers: NDArray[np.float64]) -> Tensor:
    """Decode the part of an image that is to be resized, or what contains it, and cut it out: (C, *, *) uint8."""
    image, content, name, suffix = opened(source, settings.max_pixels)
    factor, box = 1, None
    if isinstance(image, JpegImageFile):
        box = crop_box(*upright_size(image), settings, numbers)
        factor = next((by for by in FACTORS if box[2] // by >= settings.height and box[3] // by >= settings.width), 1)
        shorter = ending_at(content, box[0] + box[2] + BELOW) if orientation(image) == 1 else content
        if shorter is not content:
            image = JpegImageFile(io.BytesIO(shorter))
        reduce_by(image, factor)
    whole = decode(image, content=content, name=name, suffix=suffix)
    top, left, tall, wide = box or crop_box(whole.height, whole.width, settings, numbers)
    top, left, tall, wide = top // factor, left // factor, max(1, tall // factor), max(1, wide // factor)
    if PLAIN.get(whole.mode) != settings.channels:
        return image_pixels(whole, settings.channels, name)[:, top : top + tall, left : left + wide]
    pixels = np.array(whole.crop((left, top, left + wide, top + tall)))
    return torch.from_numpy(pixels.reshape(tall, wide, settings.channels)).permute(2, 0, 1)


def reduced(settings: "ImageInput", source: "Source") -> NDArray[np.uint8]:
    """Return what a cache keeps of an image: (H, W, C) uint8.

    Without a random crop the image as it is resized for training, not yet cropped, so that training has the same bits
    as without a cache wherever its images have the final size. With one, at most `KEPT` times the final size on the
    shorter side: a crop whose sides are below 1 / KEPT of the image's is then enlarged from fewer pixels than the file
    has, and detail finer than that is lost. Images that are smaller already are kept as they are.
    """
    side = math.ceil(KEPT * max(settings.height, settings.width))
    image = read_for_training(settings, source, least=side if settings.random_resized_crop else 0)
    height, width = image.shape[-2:]
    if settings.random_resized_crop:
        shrink = min(1.0, side / min(height, width))
        tall, wide = max(1, round(height * shrink)), max(1, round(width * shrink))
    else:
        spans = settings.spans(height, width)
        wanted = spans and not is_strip(*spans)
        tall, wide = (spans[0].resized, spans[1].resized) if spans and wanted else (height, width)
    if tall * wide < height * width:
        image = resized_bytes(image[None], tall, wide, settings.interpolation)[0]
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def upright_size(image: JpegImageFile) -> tuple[int, int]:
    """Return height and width of an image whose pixels are not decoded yet, turned upright."""
    width, height = image.size
    return (width, height) if orientation(image) >= 5 else (height, width)


def reduce_by(image: JpegImageFile, factor: int) -> None:
    """Have a JPEG decoded at 1/factor of its size."""
    if factor > 1:
        width, height = image.size
        image.draft(image.mode, (max(1, width // factor), max(1, height // factor)))


def ending_at(content: bytes, rows: int) -> bytes:
    """Return a JPEG file whose header says that it has no more than so many rows, if they come in order."""
    place = place_of_height(content)
    if place is None or int.from_bytes(content[place : place + 2], "big") <= rows:
        return content
    return content[:place] + rows.to_bytes(2, "big") + content[place + 2 :]


def place_of_height(content: bytes) -> int | None:
    """Return where a JPEG's header holds its height, if its rows come in order and in one scan; else None."""
    place, frame = 2, 0
    while place + 9 < len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == SCAN:
            return frame + 5 if frame and content[place + 4] == content[frame + 9] else None
        if marker in OTHER_FRAMES:
            return None
        if marker in SEQUENTIAL:
            frame = place
        if marker == 0xFF:
            place += 1
        elif marker in ALONE:
            place += 2
        else:
            place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return None
