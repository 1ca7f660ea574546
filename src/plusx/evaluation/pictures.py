"""Images as PNG files that a person looks at: single ones for the report, contact sheets for samples/.

Shape letters: C channels, H height, W width.
"""

import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from plusx.errors import DataError

BACKGROUND = (128, 128, 128)


def pillow_image(image: ArrayLike) -> Image.Image:
    """Return (C, H, W) uint8 pixels, an array or a tensor in main memory, as a Pillow image.

    One channel is gray, three are red, green and blue; of two the first is shown, of more than three the first three.

    Raises:
        DataError: The pixels have another type or shape.
    """
    pixels: NDArray[np.uint8] = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or 0 in pixels.shape:
        raise DataError(f"a picture needs uint8 pixels (C, H, W), but these are {pixels.dtype} {pixels.shape}")
    if len(pixels) < 3:
        return Image.fromarray(np.ascontiguousarray(pixels[0]))
    return Image.fromarray(np.ascontiguousarray(pixels[:3].transpose(1, 2, 0)))


def fitted(picture: Image.Image, side: int) -> Image.Image:
    """Resize a picture so that its longer side is `side`: smoothly when it shrinks, in whole squares when it grows."""
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST)


def encoded(picture: Image.Image) -> bytes:
    """Return the bytes of a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def to_png(image: ArrayLike, largest: int = 192) -> bytes:
    """Encode (C, H, W) uint8 pixels as PNG; a longer side than `largest` is shrunk to it, a shorter one stays.

    Raises:
        DataError: The pixels have another type or shape.
    """
    picture = pillow_image(image)
    return encoded(fitted(picture, largest) if max(picture.size) > largest else picture)


def size_of(png: bytes) -> tuple[int, int]:
    """Return the width and height that a PNG file's header states."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def contact_sheet(images: Sequence[ArrayLike], *, columns: int = 8, cell: int = 96, gap: int = 6) -> bytes:
    """Lay images out in rows, each fitted into a square, as one PNG.

    Args:
        images: (C, H, W) uint8 pixels; the sizes and channels may differ.
        columns: Images a row.
        cell: Side of the square, in pixels.
        gap: Space around each square, in pixels.

    Raises:
        DataError: There is no image, or one has another type or shape.
    """
    if not images:
        raise DataError("a contact sheet needs at least one image")
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (columns * (cell + gap) + gap, rows * (cell + gap) + gap), BACKGROUND)
    for index, image in enumerate(images):
        picture = fitted(pillow_image(image), cell)
        row, column = divmod(index, columns)
        left, top = (gap + place * (cell + gap) for place in (column, row))
        sheet.paste(picture, (left + (cell - picture.width) // 2, top + (cell - picture.height) // 2))
    return encoded(sheet)
