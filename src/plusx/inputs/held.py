"""Training batches of images that are held in memory: gathered, shifted and mirrored in one pass, then normalized.

Shape letters: N images, B of them, n draws an image, C channels, H and W the size found, h and w the final size.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plusx.inputs.batch_augment import (
    CUT_COLUMN,
    CUT_ROW,
    DRAWS,
    FLIP,
    PAD_LEFT,
    PAD_TOP,
    PADDINGS,
    augment_batch,
    fitted,
)

if TYPE_CHECKING:
    from plusx.inputs.image import ImageInput

CHUNK = 512  # images that are resized at once
ROW = 1 << 14  # numbers of a normalization's factors that stay in a processor's nearest cache
ALONE = 1 << 15  # numbers that torch works on with one thread; others may be busy reading
MIRRORS = 4  # a mirrored copy is kept where it and the images take no more than 1 / MIRRORS of the memory allowed


class BatchMaker(Protocol):
    """Makes a training batch of images that it holds."""

    draws: ClassVar[int]
    """n, how many random numbers an image takes."""

    def __call__(self, places: NDArray[np.int64], numbers: NDArray[np.float64]) -> Tensor:
        """Take (B,) places and (B, n) draws; return float32 (B, C, h, w), channels last in memory."""
        ...


def hold(settings: "ImageInput", images: Tensor, memory_limit: int) -> BatchMaker:
    """Arrange images so that training batches of them are made fast; the bits are those of `augment_batch`.

    Args:
        settings: The final size and the augmentations.
        images: (N, C, H, W) uint8.
        memory_limit: What needs more bytes than these and than the images is not resized beforehand.
    """
    whole = len(images) * settings.channels * settings.height * settings.width
    one_by_one = settings.random_resized_crop or settings.policy != "none" or settings.erase
    if one_by_one or whole > max(memory_limit, images.numel()):
        return AsRead(settings, images)
    return Padded(settings, images, mirrors=settings.flip and whole * 2 * MIRRORS <= memory_limit)


@dataclass(frozen=True)
class AsRead:
    """Images as they were read, augmented by `augment_batch`."""

    settings: "ImageInput"
    images: Tensor
    draws: ClassVar[int] = DRAWS

    def __call__(self, places: NDArray[np.int64], numbers: NDArray[np.float64]) -> Tensor:
        """Make a batch."""
        augmented = augment_batch(self.settings, self.images[torch.from_numpy(places)], numbers)
        return finish(self.settings, augmented.permute(0, 2, 3, 1).contiguous())


class Padded:
    """Images of the final size, channels last, one after the other with their padding between them.

    Every shifted crop is a window of the one long array and needs no test for its borders. Zeros are shared: those on
    the right of a row are on the left of the next row, and those below an image above the next. The mirrored images, if
    they are held too, follow the others.
    """

    draws: ClassVar[int] = 1 + max(FLIP, PAD_TOP, PAD_LEFT, CUT_ROW, CUT_COLUMN)

    def __init__(self, settings: "ImageInput", images: Tensor, *, mirrors: bool) -> None:
        self.settings, self.count, self.mirrors = settings, len(images), mirrors
        channels, height, width, pad = settings.channels, settings.height, settings.width, settings.pad_and_crop
        shared = settings.padding_mode == "zeros"
        own, start = (0, pad) if shared else (2 * pad, 0)  # what of the padding is an image's own; where the first is
        between = pad if shared else 0
        line, block, held = (width + own + between) * channels, height + own + between, self.count * (1 + mirrors)
        flat = np.zeros((held * block + start) * line + start * channels, np.uint8)
        body = np.lib.stride_tricks.as_strided(
            flat[start * line + start * channels :],
            (held, height + own, width + own, channels),
            (block * line, line, channels, 1),
        )
        sides = ((0, 0), (own // 2, own // 2), (own // 2, own // 2), (0, 0))
        for first in range(0, self.count, CHUNK):
            part = fitted(settings, images[first : first + CHUNK]).permute(0, 2, 3, 1).numpy()
            part = np.pad(part, sides, PADDINGS[settings.padding_mode])
            body[first : first + len(part)] = part
            if mirrors:
                body[self.count + first : self.count + first + len(part)] = part[:, :, ::-1]
        self.shifts = 2 * pad + 1
        self.windows = np.lib.stride_tricks.as_strided(
            flat,
            (held, self.shifts, self.shifts, height, width * channels),
            (block * line, line, channels, line, 1),
            writeable=False,
        )

    def __call__(self, places: NDArray[np.int64], numbers: NDArray[np.float64]) -> Tensor:
        """Make a batch."""
        settings = self.settings
        top, left = (numbers[:, [PAD_TOP, PAD_LEFT]] * self.shifts).astype(np.int64).T
        mirrored = numbers[:, FLIP] < 0.5 if settings.flip else np.zeros(len(places), bool)
        if self.mirrors:  # what is mirrored first is shifted the other way
            places, left = places + self.count * mirrored, np.where(mirrored, self.shifts - 1 - left, left)
        pixels = self.windows[places, top, left]
        pixels = pixels.reshape(-1, settings.height, settings.width, settings.channels)
        if mirrored.any() and not self.mirrors:
            # torch mirrors fast what it sees as images with the channels last.
            chosen = torch.from_numpy(pixels[mirrored]).permute(0, 3, 1, 2)
            pixels[mirrored] = chosen.flip(3).permute(0, 2, 3, 1).numpy()
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


def finish(settings: "ImageInput", images: Tensor, into: NDArray[np.float32] | None = None) -> Tensor:
    """Normalize as `ImageInput.normalize` does, to the same bits: uint8 (B, h, w, C) -> float32 (B, C, h, w).

    The channels stay last in memory, which is how networks on the CPU take them; `into` is that memory, (B, h, w, C).
    """
    count, height, width, channels = images.shape
    repeats = height * width if height * width * channels <= ROW else width
    scale, shift = factors(settings.mean, settings.deviation, repeats)
    rows = images.reshape(-1, repeats * channels)
    # NumPy asks the system for large pages, torch does not: for photos, most of the time would go into small ones.
    made = np.empty(rows.shape, np.float32) if into is None else into.reshape(rows.shape)
    pixels = torch.from_numpy(made)
    factor, summand = torch.from_numpy(scale), torch.from_numpy(shift)
    at_once = max(1, ALONE // (repeats * channels))
    for part, found in zip(pixels.split(at_once), rows.split(at_once), strict=True):
        part.copy_(found).mul_(factor).add_(summand)
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
