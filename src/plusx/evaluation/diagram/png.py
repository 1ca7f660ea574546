"""A drawing as a PNG file, by matplotlib."""

import io
from typing import Any

from matplotlib import rc_context, rcParamsDefault
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch, PathPatch, Polygon
from matplotlib.path import Path as Outline

from plusx.evaluation.diagram.drawing import DASHES, MARK, Box, Drawing, Line, Words, head_of, shaft, words_of

PNG_SCALE = 2
POINTS = 0.75  # points a pixel


def png_of(drawing: Drawing) -> bytes:
    """Return a PNG file of twice as many pixels a side, in the one font that matplotlib brings along."""
    # What a user's own matplotlibrc says does not change the picture.
    defaults: dict[Any, Any] = {
        name: value for name, value in rcParamsDefault.items() if not name.startswith("backend")
    }
    with rc_context({**defaults, "font.family": ["DejaVu Sans"]}):
        figure = Figure(figsize=(drawing.width / 96, drawing.height / 96), facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, drawing.width), ylim=(drawing.height, 0))
        axes.set_axis_off()
        for order, item in enumerate(drawing.items):
            for patch in patches_of(item):
                patch.set_zorder(order)
                axes.add_patch(patch)
            words = words_of(item)
            if words:
                axes.text(
                    words.x,
                    words.y + 0.35 * words.size,
                    words.text.replace("$", r"\$"),
                    fontsize=words.size * POINTS * 0.92,  # DejaVu is wider than the fonts that SVG asks for
                    horizontalalignment=words.side,
                    verticalalignment="baseline",
                    fontweight="bold" if words.bold else "normal",
                    color=words.color,
                    zorder=order + 0.5,
                )
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=96 * PNG_SCALE, metadata={"Software": MARK}, facecolor="white")
    return file.getvalue()


def patches_of(item: Box | Line | Words) -> list[Patch]:
    """Return matplotlib's shapes for one item."""
    match item:
        case Box():
            style = f"round,pad=0,rounding_size={min(item.radius, item.height / 2, item.width / 2)}"
            return [
                FancyBboxPatch(
                    (item.x, item.y),
                    item.width,
                    item.height,
                    boxstyle=style,
                    facecolor=item.fill,
                    edgecolor=item.stroke,
                    linewidth=1.2 * POINTS,
                )
            ]
        case Line():
            points = shaft(item)
            codes = [Outline.MOVETO, *[Outline.CURVE4 if item.curved else Outline.LINETO] * (len(points) - 1)]
            path = PathPatch(
                Outline(points, codes),
                fill=False,
                edgecolor=item.stroke,
                linewidth=item.thickness * POINTS,
                linestyle=(0, tuple(length / item.thickness for length in DASHES)) if item.dashed else "-",
                capstyle="butt",
            )
            return [path, *([Polygon(head_of(item), facecolor=item.stroke, linewidth=0)] if item.arrow else [])]
        case Words():
            return []
