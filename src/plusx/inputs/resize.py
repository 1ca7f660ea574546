"""Resizing by two matrix products: rows, then columns, with antialiased bilinear or bicubic filter weights.

Library resizers differ (rounding after the passes, filter support, fixed-point weights), so an exported network that
resized with another one would answer differently. A matrix product is the same everywhere.

The weights are those of Pillow's BILINEAR and BICUBIC and of torch's `interpolate(antialias=True)`: output pixel i
looks at the input around (i + 1/2) s, s = input / output, through a triangle of half-width max(s, 1), or through the
cubic of Keys 1981 (a = -1/2) of half-width 2 max(s, 1), normalized to sum 1.
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

LEVELS = 255
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


def triangle(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the bilinear filter's weights at distances from its center."""
    return np.maximum(0.0, 1.0 - distances)


def cubic(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the bicubic filter's weights at distances from its center (Keys 1981, equation 15)."""
    near = (1.5 * distances - 2.5) * distances * distances + 1
    far = (((distances - 5) * distances + 8) * distances - 4) * -0.5
    return np.where(distances < 1, near, np.where(distances < 2, far, 0.0))


FILTERS = {"bilinear": (1.0, triangle), "bicubic": (2.0, cubic)}
"""Half-widths and weights, by the name of the interpolation."""


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
def bands(span: Span, interpolation: str = "bilinear", *, pillow: bool = False) -> tuple[Band, ...]:
    """Return a span's output pixels in order, `BAND` at a time: far from each other they share no input pixels.

    The weights are computed in float64 and kept as arrays: a tensor made inside `torch.inference_mode` could not be
    used outside it.

    Args:
        span: The axis.
        interpolation: A key of FILTERS.
        pillow: Whether the weights are Pillow's, with 22 bits after the point, in float64; else they are float32.
    """
    scale = span.size / span.resized
    half_width, weights_at = FILTERS[interpolation]
    stretch = max(scale, 1.0)
    support = half_width * stretch
    made: list[Band] = []
    for start in range(0, span.length, BAND):
        outputs = np.arange(start, min(start + BAND, span.length))
        centers = (span.offset + outputs + 0.5) * scale
        first = max(0, int(np.floor(centers[0] - support)))
        last = min(span.size, int(np.ceil(centers[-1] + support)))
        weights = weights_at(np.abs(np.arange(first, last)[None, :] + 0.5 - centers[:, None]) / stretch)
        weights = weights / weights.sum(axis=1, keepdims=True)
        if pillow:
            weights = np.trunc(weights * PILLOW_ONE + np.copysign(0.5, weights)) / PILLOW_ONE
        made.append(Band(slice(first, last), weights if pillow else weights.astype(np.float32)))
    return tuple(made)


def resized(image: Tensor, rows: Span, columns: Span, interpolation: str = "bilinear") -> Tensor:
    """Resize and crop in float32: (*, C, H, W) -> (*, C, h, w); an axis that keeps its size is only cropped.

    Bicubic weights reach beyond what they mix, so what comes out is kept within 0..255.
    """
    needed = needed_by(columns, interpolation)  # what no column of the output looks at need not be resized either
    pixels = rows_resized(image[..., needed], rows, 0, bands(rows, interpolation))
    pixels = columns_resized(pixels, columns, needed.start, bands(columns, interpolation))
    return pixels if interpolation == "bilinear" else pixels.clamp(0, LEVELS)


def resized_as_pillow(image: Tensor, rows: Span, columns: Span, interpolation: str = "bilinear") -> Tensor:
    """Resize and crop whole levels as Pillow does, bit for bit: (*, C, H, W) -> (*, C, h, w) float32, whole.

    Columns first, then rows, each rounded to the nearest level, halves upwards, and kept within 0..255. Products and
    sums of levels with weights of 22 bits are exact in float64, so these are the same everywhere, too.
    """
    needed = needed_by(rows, interpolation)
    pixels = columns_resized(image[..., needed, :], columns, 0, bands(columns, interpolation, pillow=True))
    pixels = pixels.add(0.5).floor().clamp(0, LEVELS)
    pixels = rows_resized(pixels, rows, needed.start, bands(rows, interpolation, pillow=True))
    return pixels.add(0.5).floor().clamp(0, LEVELS).to(torch.float32)


def needed_by(span: Span, interpolation: str) -> slice:
    """Return the input pixels that a span's output looks at."""
    if span.size == span.resized:
        return slice(span.offset, span.offset + span.length)
    made = bands(span, interpolation)
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
