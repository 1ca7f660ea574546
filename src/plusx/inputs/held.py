"""Training batches of images that are held in memory: gathered, shifted and mirrored in one pass, then normalized.

Shape letters: N images, B of them, n draws an image, C channels, H and W the size found, h and w the final size.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plusx.inputs.batch_augment import CUT_COLUMN, CUT_ROW, FLIP, PAD_LEFT, PAD_TOP, augment_batch, fitted

if TYPE_CHECKING:
    from plusx.inputs.image import ImageInput

MakeBatch = Callable[[NDArray[np.int64], NDArray[np.float64]], Tensor]
CHUNK = 512  # images that are resized at once
ROW = 1 << 14  # numbers of a normalization's factors that stay in a processor's nearest cache


def hold(settings: "ImageInput", images: Tensor, memory_limit: int) -> MakeBatch:
    """Arrange images so that training batches of them are made fast; the bits are those of `augment_batch`.

    Args:
        settings: The final size and the augmentations.
        images: (N, C, H, W) uint8.
        memory_limit: What needs more bytes than these and than the images is not resized beforehand.

    Returns:
        What takes (B,) places and (B, n) draws and returns float32 (B, C, h, w), channels last in memory.
    """
    whole = len(images) * settings.channels * settings.height * settings.width
    if not settings.random_resized_crop and settings.policy == "none" and whole <= max(memory_limit, images.numel()):
        return Padded(settings, images)

    def make(places: NDArray[np.int64], numbers: NDArray[np.float64]) -> Tensor:
        augmented = augment_batch(settings, images[torch.from_numpy(places)], numbers)
        return finish(settings, augmented.permute(0, 2, 3, 1).contiguous())

    return make


class Padded:
    """Images of the final size, channels last, one after the other with zeros between them.

    A row's zeros on the right are those on the left of the next row, and an image's below are those above the next, so
    every shifted crop is a window of the one long array and needs no test for its borders.
    """

    def __init__(self, settings: "ImageInput", images: Tensor) -> None:
        self.settings = settings
        channels, height, width, pad = settings.channels, settings.height, settings.width, settings.pad_and_crop
        count, line, block = len(images), (width + pad) * channels, height + pad
        flat = np.zeros((count * block + pad) * line + pad * channels, np.uint8)
        body = np.lib.stride_tricks.as_strided(
            flat[(pad * line + pad * channels) :], (count, height, width, channels), (block * line, line, channels, 1)
        )
        for first in range(0, count, CHUNK):
            part = fitted(settings, images[first : first + CHUNK])
            body[first : first + CHUNK] = part.permute(0, 2, 3, 1).numpy()
        shifts = 2 * pad + 1
        self.windows = np.lib.stride_tricks.as_strided(
            flat,
            (count, shifts, shifts, height, width * channels),
            (block * line, line, channels, line, 1),
            writeable=False,
        )

    def __call__(self, places: NDArray[np.int64], numbers: NDArray[np.float64]) -> Tensor:
        """Make a batch; see `hold`."""
        settings = self.settings
        shape = (-1, settings.height, settings.width, settings.channels)
        shifts = 2 * settings.pad_and_crop + 1
        top, left = (numbers[:, PAD_TOP] * shifts).astype(np.int64), (numbers[:, PAD_LEFT] * shifts).astype(np.int64)
        pixels = self.windows[places, top, left].reshape(shape)
        if settings.flip:
            mirrored = np.flatnonzero(numbers[:, FLIP] < 0.5)
            chosen = torch.from_numpy(self.windows[places[mirrored], top[mirrored], left[mirrored]].reshape(shape))
            # torch mirrors fast what it sees as images with the channels last.
            pixels[mirrored] = chosen.permute(0, 3, 1, 2).flip(3).permute(0, 2, 3, 1).numpy()
        if settings.cutout:
            cut_out_in_place(settings, pixels, numbers)
        return finish(settings, torch.from_numpy(pixels))


def cut_out_in_place(settings: "ImageInput", pixels: NDArray[np.uint8], numbers: NDArray[np.float64]) -> None:
    """Do what `cut_out` does to (B, h, w, C)."""
    side, mean = settings.cutout, np.rint(np.array(settings.mean) * 255).astype(np.uint8)
    rows = (numbers[:, CUT_ROW] * settings.height).astype(np.int64) - side // 2
    columns = (numbers[:, CUT_COLUMN] * settings.width).astype(np.int64) - side // 2
    for image, row, column in zip(pixels, rows.tolist(), columns.tolist(), strict=True):
        image[max(0, row) : max(0, row + side), max(0, column) : max(0, column + side)] = mean


def finish(settings: "ImageInput", images: Tensor) -> Tensor:
    """Normalize as `ImageInput.normalize` does, to the same bits: uint8 (B, h, w, C) -> float32 (B, C, h, w).

    The channels stay last in memory, which is how networks on the CPU take them.
    """
    count, height, width, channels = images.shape
    repeats = height * width if height * width * channels <= ROW else width
    scale, shift = factors(settings.mean, settings.deviation, repeats)
    pixels = images.reshape(-1, repeats * channels).to(torch.float32)
    pixels.mul_(torch.from_numpy(scale)).add_(torch.from_numpy(shift))
    return pixels.view(count, height, width, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=32)
def factors(
    mean: tuple[float, ...], deviation: tuple[float, ...], repeats: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what pixels are multiplied by and what is added, channel after channel, `repeats` times.

    Arrays, since a tensor made inside `torch.inference_mode` could not be used outside it.
    """
    spread, center = np.array(deviation, np.float64), np.array(mean, np.float64)
    scale, shift = (1 / (255 * spread)).astype(np.float32), (-center / spread).astype(np.float32)
    return np.tile(scale, repeats), np.tile(shift, repeats)
