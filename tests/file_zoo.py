"""A folder of awkward image files, and what reading each of them must give.

Every readable file shows the same picture, 40 high and 60 wide: four quadrants of known colors. So a wrong turn, a
lost palette, an inverted CMYK or a clipped 16-bit scale shows as a wrong quadrant.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 40, 60
Quadrants = tuple[tuple[int, int, int], ...]  # top left, top right, bottom left, bottom right
COLORS: Quadrants = ((200, 40, 40), (40, 160, 40), (40, 40, 200), (220, 220, 220))
GREYS: Quadrants = ((0, 0, 0), (80, 80, 80), (160, 160, 160), (255, 255, 255))
BLACK_AND_WHITE: Quadrants = ((0, 0, 0), (255, 255, 255), (255, 255, 255), (0, 0, 0))
CLEARED: Quadrants = ((255, 255, 255), *COLORS[1:])  # the first quadrant is transparent: white shows
HALF_CLEARED: Quadrants = (COLORS[0], (148, 208, 148), *COLORS[2:])  # the second is half transparent over white
INVERSE = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # EXIF orientation -> the Pillow transpose that stores it so


@dataclass(frozen=True)
class Expectation:
    """What reading one file gives: quadrants (readable) or a word of the reason (not readable)."""

    path: Path
    quadrants: Quadrants | None = None
    channels: int = 3  # of the file itself: 1 grey, 3 color
    reason: str = ""
    tolerance: int = 2

    @property
    def readable(self) -> bool:
        """Whether the file can be read at all."""
        return self.quadrants is not None


def picture(quadrants: Quadrants) -> NDArray[np.uint8]:
    """Paint four quadrants: (HEIGHT, WIDTH, 3)."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for place, color in enumerate(quadrants):
        pixels[quadrant(place)] = color
    return pixels


def quadrant(place: int) -> tuple[slice, slice]:
    """Return the rows and columns of one quadrant."""
    rows = slice(0, HEIGHT // 2) if place < 2 else slice(HEIGHT // 2, HEIGHT)
    columns = slice(0, WIDTH // 2) if place % 2 == 0 else slice(WIDTH // 2, WIDTH)
    return rows, columns


def found_quadrants(pixels: NDArray[np.uint8]) -> Quadrants:
    """Return the mean color of the middle of each quadrant of (HEIGHT, WIDTH, 3) pixels."""
    means: list[tuple[int, int, int]] = []
    for place in range(4):
        part = pixels[quadrant(place)][5:-5, 5:-5].astype(float)
        red, green, blue = (round(value) for value in part.mean(axis=(0, 1)))
        means.append((red, green, blue))
    return tuple(means)


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """Write a PNG by hand, for what Pillow does not write: 16-bit color, sizes that are a lie."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def make_file_zoo(folder: Path) -> dict[str, Expectation]:
    """Write the zoo into `folder` (made if absent) and return what to expect, by path relative to it."""
    (folder / "数据").mkdir(parents=True, exist_ok=True)
    zoo: dict[str, Expectation] = {}
    add_readable(folder, zoo)
    add_deep(folder, zoo)
    add_unreadable(folder, zoo)
    return zoo


def add_readable(folder: Path, zoo: dict[str, Expectation]) -> None:
    """Write the 8-bit files."""

    def save(name: str, image: Image.Image, quadrants: Quadrants, *, channels: int = 3, **options: object) -> None:
        image.save(folder / name, **options)
        tolerance = 12 if "jp" in name or name.endswith(".webp") else 2
        zoo[name] = Expectation(folder / name, quadrants, channels, tolerance=tolerance)

    color = Image.fromarray(picture(COLORS))
    grey = Image.fromarray(picture(GREYS)[..., 0])
    other = Image.fromarray(picture(GREYS))
    for name in ("color.jpg", "color.png", "color.bmp", "color.tiff", "color.webp", "color.gif", "数据/猫.jpg"):
        save(name, color, COLORS)
    save("UPPER CASE.JPG", color, COLORS)
    save("progressive.jpg", color, COLORS, progressive=True)
    save("grey.jpg", grey, GREYS, channels=1)
    save("grey.png", grey, GREYS, channels=1)
    save("one_bit.png", Image.fromarray(picture(BLACK_AND_WHITE)[..., 0]).convert("1"), BLACK_AND_WHITE, channels=1)
    save("cmyk.jpg", color.convert("CMYK"), COLORS)
    save("cmyk.tiff", color.convert("CMYK"), COLORS)
    palette = color.quantize(8)
    save("palette.png", palette, COLORS)
    first = palette.getpixel((3, 3))
    save("palette_transparent.png", palette, CLEARED, transparency=first)
    save("palette_alphas.png", palette, CLEARED, transparency=bytes(0 if k == first else 255 for k in range(8)))
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[quadrant(1)] = 128
    save("alpha.png", Image.fromarray(np.dstack([picture(COLORS), alpha])), HALF_CLEARED)
    save("alpha.webp", Image.fromarray(np.dstack([picture(COLORS), alpha])), HALF_CLEARED, lossless=True)
    alpha[quadrant(1)], alpha[quadrant(0)] = 255, 0
    grey_cleared: Quadrants = ((255, 255, 255), *GREYS[1:])
    layers = np.dstack([picture(GREYS)[..., 0], alpha])
    save("grey_alpha.png", Image.fromarray(layers), grey_cleared, channels=1)
    save("animated.gif", color, COLORS, save_all=True, append_images=[other, other], duration=50)
    save("animated.webp", color, COLORS, save_all=True, append_images=[other, other], duration=50, lossless=True)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = color.transpose(Image.Transpose(INVERSE[orientation])) if orientation > 1 else color
        save(f"exif_{orientation}.jpg", stored, COLORS, exif=exif)
    exif[0x0112] = 6
    save("exif_6.tiff", color.transpose(Image.Transpose.ROTATE_90), COLORS, exif=exif)
    save("a_png_named.jpg", color, COLORS, format="PNG")


def add_deep(folder: Path, zoo: dict[str, Expectation]) -> None:
    """Write the files with more than 8 bits a value."""
    deep = picture(GREYS)[..., 0].astype(np.uint16) * 257
    for name in ("sixteen_bit.png", "sixteen_bit.tiff"):
        Image.fromarray(deep).save(folder / name)
        zoo[name] = Expectation(folder / name, GREYS, 1)
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in picture(COLORS))
    (folder / "sixteen_bit_color.png").write_bytes(png(WIDTH, HEIGHT, 16, 2, rows))
    zoo["sixteen_bit_color.png"] = Expectation(folder / "sixteen_bit_color.png", COLORS, 3)
    Image.fromarray(picture(GREYS)[..., 0].astype(np.float32) / 9 - 4).save(folder / "float.tiff")
    Image.fromarray(picture(GREYS)[..., 0].astype(np.int32) * 1000).save(folder / "thirty_two_bit.tiff")
    for name in ("float.tiff", "thirty_two_bit.tiff"):
        zoo[name] = Expectation(folder / name, GREYS, 1)


def add_unreadable(folder: Path, zoo: dict[str, Expectation]) -> None:
    """Write the files that must be set aside, each with its reason."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    contents: dict[str, tuple[bytes, str]] = {
        "empty.jpg": (b"", "is empty"),
        "text.jpg": ("cats: 3\n猫: 4\n".encode() * 40, "is not an image: a text file named .jpg"),
        "noise.png": (np.random.default_rng(1).bytes(500), "is not a JPEG, PNG, WebP, BMP, TIFF or GIF image"),
        "bomb.png": (png(50_000, 50_000, 8, 0, b"\0" * 100), "has 2,500,000,000 pixels, more than max_pixels"),
    }
    for name in (
        "truncated.jpg",
        "truncated.png",
        "truncated.gif",
        "truncated.bmp",
        "truncated.webp",
        "truncated.tiff",
    ):
        noise.save(folder / name)
        whole = (folder / name).read_bytes()
        contents[name] = (whole[: len(whole) // 2], "is truncated")
    whole = bytearray(png(64, 64, 8, 2, b"".join(b"\0" + row.tobytes() for row in np.asarray(noise))))
    whole[len(whole) // 2] ^= 0xFF
    contents["damaged.png"] = (bytes(whole), "is damaged")
    for name, (content, reason) in contents.items():
        (folder / name).write_bytes(content)
        zoo[name] = Expectation(folder / name, reason=reason)
    (folder / "folder.jpg").mkdir(exist_ok=True)
    zoo["folder.jpg"] = Expectation(folder / "folder.jpg", reason="is a folder")
