"""Resizing by two matrix products: rows, then columns, with antialiased triangle (bilinear) filter weights.

Library resizers differ (rounding between the passes, filter support, fixed-point weights), so an exported network that
resized with another one would answer differently. A matrix product is the same everywhere.

The weights are those of Pillow's BILINEAR and of torch's `interpolate(antialias=True)`: output pixel i looks at the
input around (i + 1/2) s, s = input / output, through a triangle of half-width max(s, 1), normalized to sum 1.

Shape letters: C channels, H height, W width, h and w the same after resizing, * any leading axes.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """One axis of a resize and crop: `length` pixels from `offset` on of an axis of `size` resized to `resized`."""

    size: int
    resized: int
    offset: int
    length: int


def crop_spans(height: int, width: int, to_height: int, to_width: int, fraction: float) -> tuple[Span, Span]:
    """Resize the shorter side to the crop's size / fraction, keep the shape, and crop the center.

    The rounding is that of torchvision's `Resize(int)` and `CenterCrop`: the longer side is rounded down, the crop's
    offset to the nearest even. A crop that is not square is covered the same way by the side that needs more.
    """
    whole_height, whole_width = round(to_height / fraction), round(to_width / fraction)
    if height * whole_width <= width * whole_height:
        resized = (whole_height, max(to_width, whole_height * width // height))
    else:
        resized = (max(to_height, whole_width * height // width), whole_width)
    top, left = round((resized[0] - to_height) / 2), round((resized[1] - to_width) / 2)
    return Span(height, resized[0], top, to_height), Span(width, resized[1], left, to_width)


def stretch_spans(height: int, width: int, to_height: int, to_width: int) -> tuple[Span, Span]:
    """Resize both sides, whatever becomes of the shape."""
    return Span(height, to_height, 0, to_height), Span(width, to_width, 0, to_width)


@lru_cache(maxsize=32)  # 32 sides of a photograph are some 100 MB
def filter_weights(span: Span) -> tuple[int, NDArray[np.float32]]:
    """Return the first input pixel that is needed, and the weights (output pixels, needed input pixels).

    They are computed in float64 and kept as an array: a tensor made inside `torch.inference_mode` could not be used
    outside it.
    """
    scale = span.size / span.resized
    support = max(scale, 1.0)
    centers = (np.arange(span.offset, span.offset + span.length) + 0.5) * scale
    first = max(0, int(np.floor(centers[0] - support)))
    last = min(span.size, int(np.ceil(centers[-1] + support)))
    distances = np.abs(np.arange(first, last)[None, :] + 0.5 - centers[:, None]) / support
    weights = np.maximum(0.0, 1.0 - distances)
    return first, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def resized(image: Tensor, rows: Span, columns: Span) -> Tensor:
    """Resize and crop in float32: (*, C, H, W) -> (*, C, h, w); an axis that keeps its size is only cropped."""
    kept_rows, row_weights = needed(rows)
    kept_columns, column_weights = needed(columns)
    pixels = image[..., kept_rows, kept_columns].to(torch.float32)
    if row_weights is not None:
        pixels = torch.from_numpy(row_weights).to(pixels.device) @ pixels
    if column_weights is not None:
        pixels = pixels @ torch.from_numpy(column_weights).to(pixels.device).T
    return pixels


def needed(span: Span) -> tuple[slice, NDArray[np.float32] | None]:
    """Return the part of an axis that its output needs, and the weights, None where nothing is resized."""
    if span.size == span.resized:
        return slice(span.offset, span.offset + span.length), None
    first, weights = filter_weights(span)
    return slice(first, first + weights.shape[1]), weights
