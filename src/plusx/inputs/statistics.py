"""The mean and the standard deviation of training pixels, one of each a channel.

Shape letters: N images, C channels, H height, W width.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from plusx.errors import DataError

CHUNK = 256  # images at a time, so that the wider integers need little memory
LEAST_DEVIATION = 1 / 255  # of a constant channel: one level, so that normalizing divides by something


class PixelSums:
    """Sums of pixels from which mean and deviation come; each pixel counts the same, so a large image counts more.

    The sums are those of integers: exact, whatever the order of the images.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = torch.zeros(1, dtype=torch.int64)
        self.squares = torch.zeros(1, dtype=torch.int64)

    def add(self, images: Tensor) -> None:
        """Add the pixels of (*, C, H, W) uint8 images."""
        wide = images.reshape(-1, *images.shape[-3:]).to(torch.int32)
        self.count += images.numel() // images.shape[-3]
        self.total = self.total + wide.sum(dim=(0, 2, 3), dtype=torch.int64)
        self.squares = self.squares + (wide * wide).sum(dim=(0, 2, 3), dtype=torch.int64)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and deviation of pixels in 0..1, C numbers each; a deviation is at least 1/255.

        Raises:
            DataError: No pixel was added.
        """
        if self.count == 0:
            raise DataError("there are no pixels to measure; expected at least one training image")
        mean = self.total.to(torch.float64) / self.count
        variance = self.squares.to(torch.float64) / self.count - mean**2
        deviation = (variance.clamp(min=0).sqrt() / 255).clamp(min=LEAST_DEVIATION)
        return tuple((mean / 255).tolist()), tuple(deviation.tolist())


def statistics(images: Tensor | Iterable[Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure mean and deviation of pixels in 0..1, C numbers each; see `PixelSums`.

    Args:
        images: (N, C, H, W) uint8, or any number of (C, H, W) uint8 of any size.

    Raises:
        DataError: There are no images.
    """
    sums = PixelSums()
    for part in images.split(CHUNK) if isinstance(images, Tensor) else images:
        sums.add(part)
    return sums.statistics()
