"""The mean and the standard deviation of training pixels, one of each a channel.

Shape letters: N images, C channels, H height, W width.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from plusx.errors import DataError

CHUNK = 256  # images at a time, so that the wider integers need little memory
LEAST_DEVIATION = 1 / 255  # of a constant channel: one level, so that normalizing divides by something


def statistics(images: Tensor | Iterable[Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure pixels in 0..1; each pixel counts the same, so a large image counts more.

    The sums are those of integers: exact, whatever the order of the images.

    Args:
        images: (N, C, H, W) uint8, or any number of (C, H, W) uint8 of any size.

    Returns:
        Mean and deviation, C numbers each; a deviation is at least 1/255.

    Raises:
        DataError: There are no images.
    """
    parts = images.split(CHUNK) if isinstance(images, Tensor) else (image[None] for image in images)
    count, total, squares = 0, 0, 0
    for part in parts:
        wide = part.to(torch.int32)
        count += part.numel() // part.shape[1]
        total = total + wide.sum(dim=(0, 2, 3), dtype=torch.int64)
        squares = squares + (wide * wide).sum(dim=(0, 2, 3), dtype=torch.int64)
    if count == 0:
        raise DataError("there are no pixels to measure; expected at least one training image")
    mean = torch.as_tensor(total).to(torch.float64) / count
    variance = torch.as_tensor(squares).to(torch.float64) / count - mean**2
    deviation = (variance.clamp(min=0).sqrt() / 255).clamp(min=LEAST_DEVIATION)
    return tuple((mean / 255).tolist()), tuple(deviation.tolist())
