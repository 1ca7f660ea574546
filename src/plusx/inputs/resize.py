"""Resizing by two matrix products: rows, then columns, with antialiased triangle (bilinear) filter weights.

Library resizers differ (rounding after the passes, filter support, fixed-point weights), so an exported network that
resized with another one would answer differently. A matrix product is the same everywhere.

The weights are those of Pillow's BILINEAR and of torch's `interpolate(antialias=True)`: output pixel i looks at the
input around (i + 1/2) s, s = input / output, through a triangle of half-width max(s, 1), normalized to sum 1.
Most weights of a large image are zero, so the products are taken over bands of a few output pixels and what they see.

Shape letters: C channels, H height, W width, h and w the same after resizing, * any leading axes.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PILLOW_ONE = 1 << 22  # Pillow's weights are whole multiples of its inverse (PRECISION_BITS in its Resample.c)
BAND = 16  # output pixels; with fewer the products are too small to be fast, with more they are mostly of zeros


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


@dataclass(frozen=True)
class Band:
    """Some neighboring output pixels of an axis: the input pixels that they look at, and the weights of those.

    Attributes:
        needed: The input pixels.
        weights: (output pixels, needed input pixels).
    """

    needed: slice
    weights: NDArray[np.floating[Any]]


@lru_cache(maxsize=128)  # at most 2 MB each for a photograph's side
def bands(span: Span, *, pillow: bool = False) -> tuple[Band, ...]:
    """Return a span's output pixels in order, `BAND` at a time: far from each other they share no input pixels.

    The weights are computed in float64 and kept as arrays: a tensor made inside `torch.inference_mode` could not be
    used outside it.

    Args:
        span: The axis.
        pillow: Whether the weights are Pillow's, with 22 bits after the point, in float64; else they are float32.
    """
    scale = span.size / span.resized
    support = max(scale, 1.0)
    made: list[Band] = []
    for start in range(0, span.length, BAND):
        outputs = np.arange(start, min(start + BAND, span.length))
        centers = (span.offset + outputs + 0.5) * scale
        first = max(0, int(np.floor(centers[0] - support)))
        last = min(span.size, int(np.ceil(centers[-1] + support)))
        distances = np.abs(np.arange(first, last)[None, :] + 0.5 - centers[:, None]) / support
        weights = np.maximum(0.0, 1.0 - distances)
        weights = weights / weights.sum(axis=1, keepdims=True)
        weights = np.floor(weights * PILLOW_ONE + 0.5) / PILLOW_ONE if pillow else weights.astype(np.float32)
        made.append(Band(slice(first, last), weights))
    return tuple(made)


def resized(image: Tensor, rows: Span, columns: Span) -> Tensor:
    """Resize and crop in float32: (*, C, H, W) -> (*, C, h, w); an axis that keeps its size is only cropped."""
    needed = needed_by(columns)  # what no column of the output looks at need not be resized either
    pixels = rows_resized(image[..., needed], rows, 0, bands(rows))
    return columns_resized(pixels, columns, needed.start, bands(columns))


def resized_as_pillow(image: Tensor, rows: Span, columns: Span) -> Tensor:
    """Resize and crop whole levels as Pillow does, bit for bit: (*, C, H, W) -> (*, C, h, w) float32, whole.

    Columns first, then rows, each rounded to the nearest level, halves upwards. Products and sums of levels with
    weights of 22 bits are exact in float64, so these are the same everywhere, too.
    """
    needed = needed_by(rows)
    pixels = columns_resized(image[..., needed, :], columns, 0, bands(columns, pillow=True)).add(0.5).floor()
    pixels = rows_resized(pixels, rows, needed.start, bands(rows, pillow=True)).add(0.5).floor()
    return pixels.to(torch.float32)


def needed_by(span: Span) -> slice:
    """Return the input pixels that a span's output looks at."""
    if span.size == span.resized:
        return slice(span.offset, span.offset + span.length)
    made = bands(span)
    return slice(made[0].needed.start, made[-1].needed.stop)


def columns_resized(image: Tensor, columns: Span, first: int, made: tuple[Band, ...]) -> Tensor:
    """Resize and crop the columns, of which those before `first` are left out already, with these weights."""
    if columns.size == columns.resized:
        start = columns.offset - first
        return image[..., start : start + columns.length].to(torch.float32)
    products: list[Tensor] = []
    for band in made:
        weights = torch.from_numpy(band.weights).to(image.device)
        seen = image[..., band.needed.start - first : band.needed.stop - first]
        products.append(seen.to(weights.dtype) @ weights.T)
    return torch.cat(products, dim=-1)


def rows_resized(image: Tensor, rows: Span, first: int, made: tuple[Band, ...]) -> Tensor:
    """Resize and crop the rows, of which those before `first` are left out already, with these weights."""
    if rows.size == rows.resized:
        start = rows.offset - first
        return image[..., start : start + rows.length, :].to(torch.float32)
    products: list[Tensor] = []
    for band in made:
        weights = torch.from_numpy(band.weights).to(image.device)
        seen = image[..., band.needed.start - first : band.needed.stop - first, :]
        products.append(weights @ seen.to(weights.dtype))
    return torch.cat(products, dim=-2)
