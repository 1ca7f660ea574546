"""A picture as plain data, boxes, lines and words, and the two files it becomes: SVG with real text, and PNG.

Both are made from the same data and are the same bytes each time. Lengths are in pixels of a 96th of an inch; y grows
downwards.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from plusx.errors import UsageError
from plusx.storage import write_bytes, writing

FONTS = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
MARK = "drawn by plusx show"
MARKED_BYTES = 2_000  # the mark stands among the first bytes of both files
DASHES = (5.0, 3.5)
HEAD = (8.0, 3.2)  # length and half the width of an arrow's head
ANCHORS = {"left": "start", "center": "middle", "right": "end"}
INK = "#1b1f24"

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle with round corners and words in its middle; with a radius of half its height it is a circle."""

    x: float
    y: float
    width: float
    height: float
    words: str = ""
    fill: str = "#ffffff"
    stroke: str = INK
    size: float = 12
    radius: float = 4


@dataclass(frozen=True)
class Line:
    """A line through points, or where it is curved, cubic: a point, then three a curve; perhaps dashed or an arrow."""

    points: tuple[Point, ...]
    stroke: str = INK
    thickness: float = 1.3
    dashed: bool = False
    curved: bool = False
    arrow: bool = False


@dataclass(frozen=True)
class Words:
    """One line of text, whose middle is at y."""

    x: float
    y: float
    text: str
    size: float = 12
    side: str = "left"
    bold: bool = False
    color: str = INK


@dataclass(frozen=True)
class Drawing:
    """A picture.

    Args:
        width: In pixels.
        height: In pixels.
        title: What a reader hears first.
        description: What a reader hears who cannot see it.
        items: What is drawn, the lowest first.
    """

    width: float
    height: float
    title: str
    description: str
    items: tuple[Box | Line | Words, ...]


def to_svg(drawing: Drawing) -> bytes:
    """Return an SVG file: text stays text, on white so that dark viewers show it too."""
    width, height = number(drawing.width), number(drawing.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" font-family="{FONTS}">',
        f"<!-- {MARK} -->",
        f"<title>{escape(drawing.title)}</title>",
        f"<desc>{escape(drawing.description)}</desc>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *(text for item in drawing.items for text in svg_of(item)),
        "</svg>",
    ]
    return ("\n".join(lines) + "\n").encode()


def svg_of(item: Box | Line | Words) -> list[str]:
    """Return the elements of one item."""
    match item:
        case Box():
            place = f'x="{number(item.x)}" y="{number(item.y)}" width="{number(item.width)}" '
            shape = f'height="{number(item.height)}" rx="{number(item.radius)}" '
            box = f'<rect {place}{shape}fill="{item.fill}" stroke="{item.stroke}" stroke-width="1.2"/>'
            words = words_of(item)
            return [box, *(svg_of(words) if words else ())]
        case Line():
            dashes = f' stroke-dasharray="{DASHES[0]} {DASHES[1]}"' if item.dashed else ""
            steps = [f"{number(x)} {number(y)}" for x, y in shaft(item)]
            path = f"M{steps[0]} {'C' if item.curved else 'L'}{' '.join(steps[1:])}"
            style = f'fill="none" stroke="{item.stroke}" stroke-width="{number(item.thickness)}"{dashes}'
            corners = " ".join(f"{number(x)},{number(y)}" for x, y in head_of(item)) if item.arrow else ""
            head = [f'<polygon points="{corners}" fill="{item.stroke}"/>'] if corners else []
            return [f'<path d="{path}" {style}/>', *head]
        case Words():
            weight = ' font-weight="bold"' if item.bold else ""
            anchor = f'text-anchor="{ANCHORS[item.side]}" font-size="{number(item.size)}"{weight}'
            # Not every program knows where a font's middle is; a third of its size below is near enough everywhere.
            place = f'x="{number(item.x)}" y="{number(item.y + 0.35 * item.size)}"'
            return [f'<text {place} {anchor} fill="{item.color}">{escape(item.text)}</text>']


def to_png(drawing: Drawing) -> bytes:
    """Return a PNG file of twice as many pixels a side, in the one font that matplotlib brings along."""
    from plusx.evaluation.diagram.png import png_of  # matplotlib takes a third of a second, and SVG needs none of it

    return png_of(drawing)


def words_of(item: Box | Line | Words) -> Words | None:
    """Return the text of an item, if it has any: a box's stands in its middle."""
    match item:
        case Box() if item.words:
            middle = (item.x + item.width / 2, item.y + item.height / 2)
            return Words(*middle, item.words, item.size, "center")
        case Words():
            return item
        case _:
            return None


def head_of(line: Line) -> list[Point]:
    """Return the three corners of an arrow's head at a line's end."""
    (x, y), (ux, uy) = line.points[-1], direction(line)
    length, half = HEAD
    back_x, back_y = x - length * ux, y - length * uy
    return [(x, y), (back_x - half * uy, back_y + half * ux), (back_x + half * uy, back_y - half * ux)]


def shaft(line: Line) -> list[Point]:
    """Return a line's points; an arrow's last one lies within its head, whose tip would be blunt otherwise."""
    if not line.arrow:
        return list(line.points)
    (x, y), (ux, uy) = line.points[-1], direction(line)
    return [*line.points[:-1], (x - HEAD[0] * 0.8 * ux, y - HEAD[0] * 0.8 * uy)]


def direction(line: Line) -> Point:
    """Return the unit vector in which a line ends."""
    (x, y), (before_x, before_y) = line.points[-1], line.points[-2]
    length = math.hypot(x - before_x, y - before_y) or 1.0
    return (x - before_x) / length, (y - before_y) / length


def number(value: float) -> str:
    """Write a length in few characters."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


FORMATS = {".svg": to_svg, ".png": to_png}
"""What makes a drawing's file, by the file's suffix."""


def write_drawing(drawing: Drawing, files: Sequence[Path]) -> None:
    """Write a drawing to files whose suffixes are keys of FORMATS; older drawings are replaced, nothing else is.

    Folders that are not there are made.

    Raises:
        UsageError: Something stands there that is no such drawing; nothing was written.
        StorageError: A file could not be written.
    """
    for file in files:
        if not replaceable(file):
            raise UsageError(
                f"{str(file)!r} exists and is no diagram that plusx drew, so it is not overwritten; "
                "move it, or choose another folder with --out or another name with --diagram"
            )
    for file in files:
        with writing(file.parent):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, FORMATS[file.suffix.lower()](drawing))


def replaceable(file: Path) -> bool:
    """Whether nothing stands at a path, or a drawing that `write_drawing` made."""
    if not file.exists() and not file.is_symlink():
        return True
    if not file.is_file():
        return False
    try:
        with file.open("rb") as content:
            return MARK.encode() in content.read(MARKED_BYTES)
    except OSError:
        return False
