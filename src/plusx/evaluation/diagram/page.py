"""The diagram of a network, as figure 3 of He et al. 2015 draws it, and beside it its blocks layer by layer.

A column of layers from the image to the classes, stages in their own colors, output sizes to the left, shortcuts to
the right: solid for the identity, dashed where the shape changes.

Paper: He et al. 2015, arXiv:1512.03385, figures 2, 3 and 5.
"""

import textwrap
from collections.abc import Sequence

from plusx.evaluation.complexity import Survey
from plusx.evaluation.diagram.column import Column, Group, Size, column_of
from plusx.evaluation.diagram.drawing import Box, Drawing, Line
from plusx.evaluation.diagram.panels import draw_panels
from plusx.evaluation.diagram.sheet import BOX, LETTER, PLAIN, SOFT, Sheet, colors

SAMPLES = {1: "signal", 2: "image", 3: "volume"}  # by spatial axes
MARGIN = 28
WITHIN, BETWEEN, STAGE_GAP, FOLD = 13, 32, 40, 46  # pixels between layers, blocks and stages; height of a fold
LEAVES, ARRIVES = 19, 10  # where a shortcut leaves and arrives, below the block before
BULGE = 42
NARROWEST = 150  # of a layer's box


def diagram(surveyed: Survey) -> Drawing:
    """Draw a network."""
    architecture, classes, size = surveyed.network.architecture, surveyed.classes, surveyed.image_size
    cost, column = surveyed.complexity, column_of(surveyed)
    facts = (
        f"{'x'.join(map(str, size))}, {architecture.channels_in} channel{'s' * (architecture.channels_in != 1)}, "
        f"{classes:,} classes",
        f"{cost.parameters:,} parameters, {cost.multiply_adds / 1e6:,.1f} M multiply-adds",
    )
    sheet = Sheet()
    sheet.words(MARGIN, MARGIN + 12, architecture.name, size=22, bold=True)
    top = MARGIN + 40.0
    for line in (*textwrap.wrap(architecture.paper, 88), "; ".join(facts)):
        sheet.words(MARGIN, top, line, size=13, color=SOFT)
        top += 20
    right, bottom = draw_column(sheet, column, top + 22)
    width, low = draw_panels(sheet, column, right + 26, top + 10)
    description = f"Its layers from the image to the classes. {architecture.paper}. {'; '.join(facts)}."
    return Drawing(width + MARGIN, max(bottom, low) + MARGIN, architecture.name, description, tuple(sheet.items))


def draw_column(sheet: Sheet, column: Column, top: float) -> tuple[float, float]:
    """Draw the column; return where it ends to the right and at the bottom."""
    widest = max(len(step.words) for group in column.groups for step in group.steps)
    width = max(NARROWEST, 20 + LETTER * widest)
    left = MARGIN + 196
    center = left + width / 2
    size, y = column.image_size, top + 12
    sheet.words(center, top, SAMPLES[len(size)], bold=True, side="center", size=13)
    size_words(sheet, left, top + 4, size)
    spans: dict[int, tuple[float, float]] = {}
    for number, group in enumerate(column.groups):
        gap = gap_before(column.groups, number)
        start = y
        y = draw_group(sheet, group, center, width, y + gap if number else y + WITHIN + 6, start)
        for step, place in zip(group.steps, places(group, start + (gap if number else WITHIN + 6)), strict=True):
            out = column.sizes.get(step.layer, size) if step.layer is not None else size
            if step.kind == "linear":
                out = (1,) * len(column.image_size)
            if out and out != size and step.kind != "attention":
                size_words(sheet, left, place + BOX / 2, out)
                size = out
        if group.stage >= 0:
            first = spans.get(group.stage, (start + gap, 0))[0]
            spans[group.stage] = (first, y)
    for stage, (first, last) in spans.items():
        bracket(sheet, stage, column.depths[stage], first, last)
    has_shortcuts = any(anatomy.shortcut is not None for _, anatomy in column.blocks)
    return left + width + (BULGE if has_shortcuts else 0), y


def gap_before(groups: Sequence[Group], number: int) -> float:
    """Return the pixels between a group and the one before it."""
    if number == 0:
        return WITHIN
    return STAGE_GAP if groups[number].stage != groups[number - 1].stage else BETWEEN


def places(group: Group, top: float) -> list[float]:
    """Return the top of each layer of a group."""
    return [top + number * (BOX + WITHIN) for number in range(len(group.steps))]


def draw_group(sheet: Sheet, group: Group, center: float, width: float, top: float, above: float) -> float:
    """Draw a block, a part, or the mark of what is folded; return where it ends."""
    if group.hidden:
        bottom = top + FOLD - BETWEEN
        sheet.items.append(Line(((center, above), (center, top - 12))))
        for dot in range(3):
            sheet.items.append(Box(center - 1.5, top - 8 + dot * 8, 3, 3, fill="#1b1f24", radius=1.5))
        noun = "block" if group.hidden == 1 else "blocks"
        sheet.words(center + 14, top + 1.5, f"× {group.hidden} more {noun}", size=12, bold=True)
        return bottom
    fill, stroke = colors(group.stage)
    for number, (step, place) in enumerate(zip(group.steps, places(group, top), strict=True)):
        sheet.arrow(center, place - WITHIN if number else above, place)
        round_ends = step.kind in ("attention", "pool")
        own = (fill, stroke) if step.kind in ("conv", "attention") else PLAIN
        sheet.items.append(
            Box(center - width / 2, place, width, BOX, step.words, *own, radius=BOX / 2 if round_ends else 4)
        )
    bottom = places(group, top)[-1] + BOX
    if group.anatomy is not None and group.anatomy.shortcut is not None:
        start, end = above + LEAVES, bottom + ARRIVES
        side, middle = center + width / 2, (start + end) / 2
        points = (
            (center, start), (side, start), (side + BULGE, start), (side + BULGE, middle),
            (side + BULGE, end), (side, end), (center, end),
        )  # fmt: skip
        sheet.items.append(
            Line(points, stroke=stroke, thickness=1.6, dashed=bool(group.anatomy.shortcut), curved=True, arrow=True)
        )
    return bottom


def size_words(sheet: Sheet, left: float, y: float, size: Size) -> None:
    """Write an output size beside the column, as figure 3 does."""
    words = f"{size[0]}" if len(set(size)) == 1 else "x".join(map(str, size))
    sheet.words(left - 16, y - 7, "output", size=11.5, side="right", color=SOFT)
    sheet.words(left - 16, y + 7, f"size: {words}", size=11.5, side="right")


def bracket(sheet: Sheet, stage: int, depth: int, first: float, last: float) -> None:
    """Say to the left which stage it is and how many blocks it has."""
    x, stroke = MARGIN + 84.0, colors(stage)[1]
    points = ((x + 7, first), (x, first), (x, last), (x + 7, last))
    sheet.items.append(Line(points, stroke=stroke, thickness=1.4))
    middle = (first + last) / 2
    sheet.words(x - 10, middle - 8, f"conv{stage + 2}_x", size=13, side="right", bold=True, color=stroke)
    blocks = f"{depth or 'no'} block{'' if depth == 1 else 's'}"
    sheet.words(x - 10, middle + 9, blocks, size=11.5, side="right", color=SOFT)
