"""Opening and decoding one image file: named formats only, its size checked first, every failure one kind of error.

The decoder is chosen by the file's first bytes, never by its name, and Pillow's decoder classes are called by name:
`PIL.Image.open` would add its own opinion on large images, as a warning or an error that depends on a global variable.
"""

import re
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Image import DecompressionBombError, DecompressionBombWarning, Image, Transpose
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from torch import Tensor

from plusx.errors import DataError

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpe", ".jpeg", ".jpg", ".jfif", ".mpo", ".png", ".tif", ".tiff", ".webp"})

# First bytes -> decoder. A phone's multi-picture file (MPO) begins as the JPEG of its main picture and is read as that.
DECODERS: dict[bytes, type[ImageFile]] = {
    rb"\xff\xd8\xff": JpegImageFile,
    rb"\x89PNG\r\n\x1a\n": PngImageFile,
    rb"RIFF....WEBP": WebPImageFile,
    rb"BM": BmpImageFile,
    rb"II[*+]\x00|MM\x00[*+]": TiffImageFile,
    rb"GIF8[79]a": GifImageFile,
}

ORIENTATION = 0x0112  # the EXIF and TIFF tag
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}

# Pillow's UserWarnings speak of metadata that it skips (a torn EXIF block, a TIFF tag with too many values), and what
# touches pixels it raises; its bomb warning is answered by max_pixels. They are ignored by filters and not by
# `warnings.catch_warnings`, which is not safe when several threads read images at once.
IGNORED_WARNINGS: list[type[Warning]] = [DecompressionBombWarning, UserWarning]
FILTERS = [("ignore", None, category, re.compile(r"PIL\."), 0) for category in IGNORED_WARNINGS]


class UnreadableImage(DataError):
    """An image cannot be read; `reason` completes the sentence that begins with its name."""

    def __init__(self, reason: str, name: str = "the image") -> None:
        """Keep the reason apart from the sentence, for tables of rejected files."""
        super().__init__(f"{name} {reason}")
        self.reason = reason
        self.name = name

    def __reduce__(self) -> tuple[type["UnreadableImage"], tuple[str, str]]:
        """Cross the border of a worker process unharmed."""
        return type(self), (self.reason, self.name)


def quoted(source: object) -> str:
    """Name a source in a sentence: a path in quotes, anything else as what it is."""
    return repr(str(source)) if isinstance(source, str | Path) else "the image"


def read_bytes(path: Path) -> bytes:
    """Read a whole file.

    Raises:
        UnreadableImage: It is absent, empty, a folder, no regular file, or the system refuses to read it.
    """
    try:
        if path.is_dir():
            raise UnreadableImage("is a folder, not an image", quoted(path))
        if path.exists() and not path.is_file():
            raise UnreadableImage("is not a regular file", quoted(path))
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UnreadableImage("does not exist", quoted(path)) from error
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UnreadableImage(f"cannot be opened: {why}", quoted(path)) from error
    if not content:
        raise UnreadableImage("is empty", quoted(path))
    return content


def is_text(content: bytes) -> bool:
    """Say whether bytes are plain text: UTF-8 without control characters but white space."""
    start = content[:4096]
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3 or len(content) <= len(start):
            return False
        text = start[: error.start].decode("utf-8")
    return bool(text) and all(letter.isprintable() or letter in "\t\n\r\f\ufeff" for letter in text)


def reason_of(error: Exception, content: bytes, suffix: str) -> str:
    """Say in a few words why the decoder gave up."""
    message = " ".join(str(error).split())[:200]
    if is_text(content):
        return f"is not an image: a text file{f' named {suffix}' if suffix else ''}"
    if isinstance(error, DecompressionBombError):
        return "has more pixels than Pillow accepts (PIL.Image.MAX_IMAGE_PIXELS)"
    if isinstance(error, MemoryError):
        return "is too large for this machine's memory"
    short_webp = content[:4] == b"RIFF" and int.from_bytes(content[4:8], "little") + 8 > len(content)
    if isinstance(error, EOFError) or "truncated" in message.lower() or short_webp:
        return "is truncated"
    return f"is damaged: {message}" if message else "is damaged"


def open_image(content: bytes, *, max_pixels: int, name: str, suffix: str) -> ImageFile:
    """Read an image's header, and nothing else.

    Args:
        content: The whole file.
        max_pixels: An image with more pixels is refused here, before any of them is decoded.
        name: What the file is called in a sentence.
        suffix: The end of its name, for the sentence on text files.

    Raises:
        UnreadableImage: It is no image, of no known format, damaged, or too large.
    """
    if not content:
        raise UnreadableImage("is empty", name)
    decoder = next((known for start, known in DECODERS.items() if re.match(start, content, re.DOTALL)), None)
    if decoder is None:
        if is_text(content):
            raise UnreadableImage(reason_of(ValueError(), content, suffix), name)
        raise UnreadableImage("is not a JPEG, PNG, WebP, BMP, TIFF or GIF image", name)
    ignore_warnings()
    try:
        image = decoder(BytesIO(content))
        width, height = image.size
    except Exception as error:
        raise UnreadableImage(reason_of(error, content, suffix), name) from error
    if width * height > max_pixels:
        raise UnreadableImage(f"has {width * height:,} pixels, more than max_pixels {max_pixels:,}", name)
    if width * height <= 0:
        raise UnreadableImage("has no pixels", name)
    return image


def opened(source: object, max_pixels: int) -> tuple[Any, bytes, str, str]:
    """Return an image with only its header read, its file's bytes, its name in a sentence, and its suffix.

    Args:
        source: A path, a file's bytes, or a PIL image.
        max_pixels: What has more is refused.

    Raises:
        UnreadableImage: It is missing, empty, too large, no image, or nothing that can be read as one.
    """
    name = quoted(source)
    if isinstance(source, Image):
        pixels = source.width * source.height
        if not 0 < pixels <= max_pixels:
            raise UnreadableImage(f"has {pixels:,} pixels; expected 1 to max_pixels {max_pixels:,}", name)
        return copied(source, name), b"", name, ""
    if isinstance(source, str | Path):
        content, suffix = read_bytes(Path(source)), Path(source).suffix
    elif isinstance(source, bytes | bytearray | memoryview):
        content, suffix = bytes(source), ""
    else:
        hint = "; give tensor.permute(1, 2, 0).numpy() for a tensor (C, H, W)" if isinstance(source, Tensor) else ""
        raise UnreadableImage(
            f"is a {type(source).__name__}; expected a path, a file's bytes, a PIL image, or a NumPy array of "
            f"shape (height, width) or (height, width, channels){hint}",
            name,
        )
    return open_image(content, max_pixels=max_pixels, name=name, suffix=suffix), content, name, suffix


def decode(image: Image, *, content: bytes, name: str, suffix: str) -> Image:
    """Decode all pixels of the first frame and turn them upright by the EXIF orientation.

    Raises:
        UnreadableImage: The pixels are truncated or damaged.
    """
    ignore_warnings()
    try:
        image.load()
    except Exception as error:
        raise UnreadableImage(reason_of(error, content, suffix), name) from error
    turn = TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def copied(image: Image, name: str) -> Image:
    """Copy an image of the caller's, so that nothing done here changes it.

    Raises:
        UnreadableImage: It was opened lazily, and its file cannot be decoded.
    """
    ignore_warnings()
    try:
        return image.copy()
    except Exception as error:
        raise UnreadableImage(reason_of(error, b"", ""), name) from error


def orientation(image: Image) -> int:
    """Return the EXIF orientation, 1 to 8, of an image whose pixels are loaded.

    A torn EXIF block counts as none, for the pixels are whole. (Pillow would load a PNG's pixels to look for the block,
    and would not complain a second time.)
    """
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001  (the parser of a damaged block may raise nearly anything)
        return 1


def ignore_warnings() -> None:
    """Put the filters described at `IGNORED_WARNINGS` first, if they are not there."""
    if warnings.filters[: len(FILTERS)] != FILTERS:
        for category in reversed(IGNORED_WARNINGS):
            warnings.filterwarnings("ignore", category=category, module=r"PIL\.")
