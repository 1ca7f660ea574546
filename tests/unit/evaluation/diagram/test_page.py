"""Diagrams of whole networks: what stands on them, and that nothing covers anything else."""

import dataclasses
from itertools import combinations

import pytest

from plusx.evaluation.complexity import survey
from plusx.evaluation.diagram.drawing import Box, Line, Words
from plusx.evaluation.diagram.page import diagram
from plusx.evaluation.diagram.sheet import PANEL, STAGES
from plusx.evaluation.layer_table import rows_of
from plusx.network.architectures import ARCHITECTURES, paper_classes

KINDS = {
    (each.stem, each.block, each.shortcut, each.attention, each.transition, each.groups > 1): each.name
    for each in sorted(ARCHITECTURES.values(), key=lambda each: -sum(each.depths))
}
"""The smallest network of each kind."""


def drawn(name, **changes):
    architecture = dataclasses.replace(ARCHITECTURES[name], **changes)
    return diagram(survey(architecture, paper_classes(architecture), architecture.image_size))


def texts(drawing):
    return [item.text for item in drawing.items if isinstance(item, Words)]


def boxes(drawing):
    """The boxes of layers."""
    return [item for item in drawing.items if isinstance(item, Box) and item.fill != PANEL[0] and item.width > 10]


def arcs(drawing):
    """The shortcuts of the column."""
    return [item for item in drawing.items if isinstance(item, Line) and item.curved]


def luminance(color):
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_resnet34_is_figure_3():
    drawing = drawn("resnet34")
    column = [box.words for box in boxes(drawing) if box.height == 24]
    assert column == [
        "7x7 conv, 64, /2",
        "3x3 max pool, /2",
        *["3x3 conv, 64"] * 6,
        "3x3 conv, 128, /2",
        *["3x3 conv, 128"] * 7,
        "3x3 conv, 256, /2",
        *["3x3 conv, 256"] * 11,
        "3x3 conv, 512, /2",
        *["3x3 conv, 512"] * 5,
        "average pool",
        "fc 1000",
    ]
    assert "".join("d" if arc.dashed else "s" for arc in arcs(drawing)) == "sss" + "dsss" + "dsssss" + "dss"
    said = texts(drawing)
    assert [text for text in said if text.startswith("size: ")] == [
        f"size: {size}" for size in (224, 112, 56, 28, 14, 7, 1)
    ]
    assert {"conv2_x", "conv3_x", "conv4_x", "conv5_x", "image", "resnet34"} <= set(said)
    assert "shortcut: the identity, added" in said
    assert "shortcut: a projection, where the shape changes" in said
    assert drawing.title == "resnet34"
    assert "21,797,672 parameters" in drawing.description


def test_a_plain_network_has_no_shortcuts():
    drawing = drawn("plain34")
    assert arcs(drawing) == []
    assert not [text for text in texts(drawing) if text.startswith("shortcut")]


@pytest.mark.parametrize(
    ("shortcut", "dashes", "said"),
    [
        ("zero_pad", [False] * 2 + [True, False] * 3, "shortcut: the identity padded with zeros"),
        ("projection_always", [True] * 8, "shortcut: a projection"),
    ],
)
def test_dashed_is_what_is_no_identity(shortcut, dashes, said):
    drawing = drawn("resnet18", shortcut=shortcut)
    assert [arc.dashed for arc in arcs(drawing)] == dashes
    assert any(text.startswith(said) for text in texts(drawing))


@pytest.mark.parametrize(
    ("name", "changes", "dashes"),
    [
        ("resnet18", {}, [False, True]),
        ("resnet18", {"shortcut": "projection_always"}, [True]),
        ("densenet121", {}, [False]),
        ("plain34", {}, []),
    ],
)
def test_the_legend_shows_the_lines_that_are_there(name, changes, dashes):
    drawing = drawn(name, **changes)
    lines = [item for item in drawing.items if isinstance(item, Line) and len(item.points) == 2]
    samples = [line for line in lines if line.points[0][1] == line.points[1][1]]
    assert [line.dashed for line in samples] == dashes
    told = [item for item in drawing.items if isinstance(item, Words) and item.text.startswith("shortcut: ")]
    assert [item.y for item in told] == [line.points[0][1] for line in samples]


def test_stages_are_numbered_as_in_the_layer_table():
    surveyed = survey(ARCHITECTURES["resnet9"], 10, 32)
    said = texts(diagram(surveyed))
    assert [text for text in said if text.startswith("conv")] == ["conv2_x", "conv3_x", "conv4_x"]
    assert [row.stage for row in rows_of(surveyed)] == ["conv1", "conv2_x", "conv3_x", "conv4_x", "head"]
    assert [text for text in said if text.endswith("blocks")] == ["no blocks"]


def test_folds_say_how_many():
    assert [text for text in texts(drawn("resnet152")) if "more" in text] == ["× 6 more blocks", "× 34 more blocks"]


def test_dense_blocks_concatenate():
    drawing = drawn("densenet121")
    assert "shortcut: the identity, concatenated" in texts(drawing)
    assert "concatenate" in texts(drawing)
    assert [box.words for box in boxes(drawing) if box.radius == 9] == ["c"]
    assert [box.words for box in boxes(drawn("resnet18")) if box.radius == 9] == ["+", "+"]
    assert not any(arc.dashed for arc in arcs(drawing))


@pytest.mark.parametrize(("dims", "said"), [(1, "signal"), (2, "image"), (3, "volume")])
def test_what_goes_in_has_a_name(dims, said):
    drawing = drawn("resnet20", dims=dims)
    assert said in texts(drawing)


def test_sides_that_differ_are_both_said():
    said = texts(diagram(survey(ARCHITECTURES["resnet18"], 7, (200, 300))))
    assert {"size: 200x300", "size: 50x75", "size: 1"} <= set(said)


@pytest.mark.parametrize("name", KINDS.values())
def test_every_kind_of_network_can_be_drawn_and_nothing_overlaps(name):
    drawing = drawn(name)
    found = boxes(drawing)
    for box in found:
        assert box.x > 0
        assert box.x + box.width < drawing.width
        assert box.y + box.height < drawing.height
        assert len(box.words) * 5.6 < box.width or box.radius == 9
    for one, other in combinations(found, 2):
        apart_x = one.x + one.width <= other.x or other.x + other.width <= one.x
        apart_y = one.y + one.height <= other.y or other.y + other.height <= one.y
        assert apart_x or apart_y, (one, other)
    for item in drawing.items:
        if isinstance(item, Line):
            assert all(0 < x < drawing.width and 0 < y < drawing.height for x, y in item.points)
        if isinstance(item, Words):
            width = 0.5 * item.size * len(item.text)
            start = item.x - {"left": 0, "center": width / 2, "right": width}[item.side]
            assert start > 0
            assert start + width < drawing.width
    panels = [item for item in drawing.items if isinstance(item, Box) and item.fill == PANEL[0]]
    assert panels
    assert len({(panel.x, panel.width) for panel in panels}) == 1
    assert all(not (box.x < panels[0].x < box.x + box.width) for box in found)


def test_colors_differ_in_gray_too_and_bear_black_text():
    fills = [luminance(fill) for fill, _ in STAGES]
    strokes = [luminance(stroke) for _, stroke in STAGES]
    assert fills == sorted(fills, reverse=True)
    assert min(fills) > 150 > 110 > max(strokes)
