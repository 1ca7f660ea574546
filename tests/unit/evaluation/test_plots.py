"""Figures: they hold the data, real text, no date, and follow a page's colors."""

import re
import xml.etree.ElementTree as ET

import pytest

from plusx.evaluation import plots
from plusx.evaluation.scores import CalibrationBin

HISTORY = [
    {
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "validation_loss": 1.2 / epoch,
        "learning_rate": 0.1,
        "train_accuracy": None,
    }
    for epoch in range(1, 6)
]
BINS = [CalibrationBin(0.0, 0.5, 0, None, None), CalibrationBin(0.5, 1.0, 40, 0.8, 0.75)]


def texts(svg):
    return [element.text for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_curves_have_three_panels_of_real_text():
    found = texts(plots.to_svg(plots.curves(HISTORY, best_epoch=4)))
    assert {"loss", "accuracy", "learning rate", "training", "validation", "best epoch"} <= set(found)


@pytest.mark.parametrize("title", plots.PANELS)
def test_the_same_data_gives_the_same_bytes(title):
    first, second = (plots.to_svg(plots.curve(HISTORY, title, 2)) for _ in range(2))
    assert first == second
    assert not re.search(r"20\d\d-\d\d-\d\d", first)


def test_values_that_are_missing_or_infinite_are_left_out():
    broken = [*HISTORY, {"epoch": 6, "train_loss": float("nan"), "validation_loss": float("inf")}, {"epoch": 7}]
    assert plots.to_svg(plots.curve(broken, "loss")) == plots.to_svg(plots.curve(HISTORY, "loss"))
    assert texts(plots.to_svg(plots.curve([{"epoch": 1}], "loss")))


def test_one_epoch_is_seen_as_a_point():
    figure = plots.curve(HISTORY[:1], "loss")
    assert [line.get_marker() for line in figure.axes[0].lines] == ["o", "o"]


def test_the_reliability_diagram_says_how_many_samples_a_bin_has():
    assert "40" in texts(plots.to_svg(plots.calibration(BINS)))


def test_png_is_a_picture_on_white():
    png = plots.to_png(plots.calibration(BINS))
    assert png.startswith(b"\x89PNG")
    assert png == plots.to_png(plots.calibration(BINS))


def test_inline_follows_the_page():
    element = plots.inline(plots.to_svg(plots.calibration(BINS)), "a label")
    assert element.startswith('<svg role="img" aria-label="a label"')
    assert "viewBox" in element
    assert "var(--hit)" in element
    assert not re.search(r"<style|<metadata|font-family|<!DOCTYPE|width=\"[\d.]+pt", element)
    assert not any(color in element for color in plots.COLORS.values())
    ET.fromstring(element)
