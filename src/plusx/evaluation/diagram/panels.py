"""The panels beside a diagram's column: one block of each kind with all its layers, and what the lines mean.

Papers: He et al. 2015, arXiv:1512.03385, figures 2 and 5.
"""

from plusx.evaluation.diagram.anatomy import Anatomy, Step
from plusx.evaluation.diagram.column import Column
from plusx.evaluation.diagram.drawing import Box, Line
from plusx.evaluation.diagram.sheet import BOX, LETTER, PANEL, SOFT, Sheet, colors


def draw_panels(sheet: Sheet, column: Column, left: float, top: float) -> tuple[float, float]:
    """Draw one block of each kind layer by layer, and what the lines mean; return the right and the lower end."""
    panels: list[tuple[int, float, float]] = []
    right = left
    for stage, anatomy, title in typical(column):
        place, start = len(sheet.items), top
        end, top = draw_panel(sheet, anatomy, stage, title, left, start)
        panels.append((place, start, top))
        right = max(right, end)
        top += 20
    for place, start, bottom in reversed(panels):
        sheet.items.insert(place, Box(left, start, right - left, bottom - start, "", *PANEL, radius=8))
    lines = legend(column)
    for dashed, words in lines:
        if dashed is not None:
            sheet.items.append(Line(((left, top + 8), (left + 38, top + 8)), thickness=1.6, dashed=dashed))
        else:
            sheet.words(left + 19, top + 8, "/2", bold=True, side="center")
        sheet.words(left + 50, top + 8, words, size=12)
        top += 22
        right = max(right, left + 50 + 0.9 * LETTER * len(words))
    return right, top


def typical(column: Column) -> list[tuple[int, Anatomy, str]]:
    """Choose the blocks to draw in detail: one that keeps its shape, and one whose shortcut changes it."""
    chosen: list[tuple[int, Anatomy, str]] = []
    for changes in (False, True):
        for stage, anatomy in column.blocks:
            if bool(anatomy.shortcut) == changes:
                halves = any(", /2" in step.words for step in anatomy.steps)
                # Of the blocks that change the shape, one that halves the size shows more.
                if changes and not halves and any(", /2" in s.words for _, a in column.blocks for s in a.steps):
                    continue
                title = f"{'First block' if changes else 'Block'} of conv{stage + 2}_x, layer by layer"
                chosen.append((stage, anatomy, title))
                break
    return chosen


def draw_panel(sheet: Sheet, anatomy: Anatomy, stage: int, title: str, left: float, top: float) -> tuple[float, float]:
    """Draw a block with all its layers; return the right and the lower end."""
    fill, stroke = colors(stage)
    around = anatomy.shortcut
    width = max(110.0, 18 + LETTER * max((len(step.words) for step in anatomy.steps), default=0))
    aside = max([0.0, *(18 + LETTER * len(step.words) for step in around or ())])
    center = left + 24 + width / 2
    sheet.words(left + 16, top + 20, title, bold=True, size=12.5)
    y = top + 40.0
    sheet.words(center, y, "x", size=13, side="center")
    y = stack(sheet, anatomy.before, center, width, y + 8, (fill, stroke))
    fork = y + 9
    y = stack(sheet, anatomy.branch, center, width, y + (8 if around is not None else 0), (fill, stroke))
    right = center + width / 2
    if around is not None:
        lane = right + (28 + aside / 2 if around else 34)
        join = y + 26
        sheet.arrow(center, y, join - 9)
        symbol = "+" if anatomy.join == "sum" else "c"
        sheet.items.append(Box(center - 9, join - 9, 18, 18, symbol, size=15 if symbol == "+" else 12, radius=9))
        if anatomy.join == "concatenation":
            sheet.words(center + 16, join + 15, "concatenate", size=11.5, color=SOFT)
        way_around(sheet, around, (center, fork, lane, join), aside, (fill, stroke))
        right = lane + (aside / 2 if around else 8 + LETTER * len("identity"))
        y = join + 9
    y = stack(sheet, anatomy.after, center, width, y, (fill, stroke))
    sheet.arrow(center, y, y + 18)
    bottom = y + 30
    return max(right + 20, left + 32 + LETTER * 1.1 * len(title)), bottom


def way_around(
    sheet: Sheet,
    around: tuple[Step, ...],
    course: tuple[float, float, float, float],
    width: float,
    own: tuple[str, str],
) -> None:
    """Draw a shortcut in detail: a line to the right, its layers half way down, and back to the sum."""
    center, fork, lane, join = course
    stroke, dashed = own[1], bool(around)
    height = len(around) * (BOX - 2) + max(len(around) - 1, 0) * 10
    y = (fork + join) / 2 - height / 2
    if not around:
        points = ((center, fork), (lane, fork), (lane, join), (center + 9, join))
        sheet.items.append(Line(points, stroke=stroke, thickness=1.6, arrow=True))
        sheet.words(lane + 8, y, "identity", size=11.5, color=SOFT)
        return
    sheet.items.append(
        Line(((center, fork), (lane, fork), (lane, y)), stroke=stroke, thickness=1.6, dashed=dashed, arrow=True)
    )
    for number, step in enumerate(around):
        if number:
            sheet.items.append(Line(((lane, y - 10), (lane, y)), stroke=stroke, arrow=True))
        sheet.items.append(layer_box(step, lane - width / 2, y, width, own))
        y += BOX - 2 + 10
    points = ((lane, y - 10), (lane, join), (center + 9, join))
    sheet.items.append(Line(points, stroke=stroke, thickness=1.6, dashed=dashed, arrow=True))


def stack(sheet: Sheet, steps: tuple[Step, ...], center: float, width: float, y: float, own: tuple[str, str]) -> float:
    """Draw layers one below the other; return where the last one ends."""
    for step in steps:
        sheet.arrow(center, y, y + 12)
        sheet.items.append(layer_box(step, center - width / 2, y + 12, width, own))
        y += 12 + BOX - 2
    return y


def layer_box(step: Step, x: float, y: float, width: float, own: tuple[str, str]) -> Box:
    """Return the box of one layer: those with weights that mix channels in the stage's color, others white."""
    fill, stroke = own if step.kind in ("conv", "attention", "linear") else ("#ffffff", SOFT)
    round_ends = step.kind in ("attention", "pool", "activation")
    return Box(x, y, width, BOX - 2, step.words, fill, stroke, size=11.5, radius=(BOX - 2) / 2 if round_ends else 4)


def legend(column: Column) -> list[tuple[bool | None, str]]:
    """Say what solid and dashed lines are in this network."""
    shortcuts = [anatomy for _, anatomy in column.blocks if anatomy.shortcut is not None]
    lines: list[tuple[bool | None, str]] = []
    solid = [anatomy for anatomy in shortcuts if not anatomy.shortcut]
    if solid:
        how = "concatenated" if solid[0].join == "concatenation" else "added"
        lines.append((False, f"shortcut: the identity, {how}"))
    dashed = [anatomy for anatomy in shortcuts if anatomy.shortcut]
    if dashed:
        steps = dashed[-1].shortcut or ()
        kind = "a projection" if any(step.kind == "conv" for step in steps) else "the identity padded with zeros"
        lines.append((True, f"shortcut: {kind}" + (", where the shape changes" if solid else "")))
    if any(", /2" in step.words for group in column.groups for step in group.steps):
        lines.append((None, "halves the size"))
    return lines
