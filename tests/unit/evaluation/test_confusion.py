"""The confusion matrix as cells, as a picture, and as a list of pairs."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from plusx.evaluation.confusion import cells_of, confused_pairs, heat_map, is_upright, width_of
from plusx.evaluation.evaluate import Predictions, evaluate
from plusx.evaluation.report import environment

SVG = "{http://www.w3.org/2000/svg}"


def evaluation_of(confusion, classes=None):
    confusion = np.asarray(confusion)
    count = len(confusion)
    true, predicted = (np.repeat(axis.ravel(), confusion.ravel()) for axis in np.indices((count, count)))
    probabilities = np.eye(count, dtype=np.float32)[predicted]
    names = tuple(str(index) for index in range(len(true)))
    return evaluate(Predictions(names, true, probabilities, classes or tuple("abcdefgh"[:count])), "test", resamples=2)


def test_cells_have_a_kind_and_a_depth():
    (hit, miss, zero), *_ = cells_of(evaluation_of([[99, 1, 0], [0, 1, 0], [0, 0, 1]]))
    assert [cell["kind"] for cell in (hit, miss, zero)] == ["hit", "miss", "zero"]
    assert hit["strong"]
    assert not miss["strong"]
    assert miss["share"] == pytest.approx(0.12 + 0.083)  # 1 % is lifted to a tenth


def test_pairs_begin_with_the_most_confused():
    pairs = confused_pairs(evaluation_of([[5, 0, 2], [3, 5, 0], [0, 0, 1]]), most=5)
    assert [(pair["true"], pair["predicted"], pair["count"], pair["total"]) for pair in pairs] == [
        ("b", "a", 3, 8),
        ("a", "c", 2, 7),
    ]
    assert len(confused_pairs(evaluation_of([[5, 0, 2], [3, 5, 0], [0, 0, 1]]), most=1)) == 1


def test_the_file_holds_names_and_counts_as_text():
    evaluation = evaluation_of([[5, 1], [0, 4]], ('<b>&"猫', "tab\tbell\a"))
    root = ET.fromstring(heat_map(environment(), evaluation, alone=True))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts.count('<b>&"猫') == 2
    assert texts.count("tab\ufffdbell\ufffd") == 2
    assert {"5", "1", "4"} <= set(texts)
    assert root.find(f"{SVG}style") is not None


def test_many_classes_are_a_picture_with_tooltips():
    count = 40
    evaluation = evaluation_of(np.eye(count, dtype=int) * 2, tuple(f"class {index}" for index in range(count)))
    root = ET.fromstring(heat_map(environment(), evaluation, alone=False))
    assert not list(root.iter(f"{SVG}text"))
    titles = [element.text for element in root.iter(f"{SVG}title")]
    assert titles[1] == "class 1 → class 1: 2"
    assert len(titles) == count


def test_wide_letters_count_twice_and_stay_upright():
    assert is_upright("a猫")
    assert not is_upright("cat")
    assert width_of("a猫") == 3
