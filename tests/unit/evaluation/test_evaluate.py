"""Stored predictions, their scores and the files that hold both."""

import csv
import json
import warnings

import numpy as np
import pytest
from sklearn import metrics

from plusx.errors import DataError, StorageError
from plusx.evaluation.evaluate import UNKNOWN, Predictions, evaluate, write


def predictions(targets, probabilities, classes=None):
    probabilities = np.asarray(probabilities, np.float32)
    classes = classes or tuple(f"class {index}" for index in range(probabilities.shape[1]))
    names = tuple(f"folder/{index}.png" for index in range(len(probabilities)))
    return Predictions(names, np.asarray(targets, np.int64), probabilities, classes)


def random_predictions(count=500, classes=7, seed=0):
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, classes, count)
    logits = generator.normal(size=(count, classes))
    logits[np.arange(count), targets] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return predictions(targets, probabilities)


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_scores_are_scikit_learns():
    sample = random_predictions()
    found = evaluate(sample, "test")
    true, said, rows = sample.targets, sample.probabilities.argmax(1), sample.probabilities
    value = {name: score.value for name, score in found.scores.items()}
    assert value["accuracy"] == pytest.approx(metrics.accuracy_score(true, said))
    assert value["top5_accuracy"] == pytest.approx(metrics.top_k_accuracy_score(true, rows, k=5))
    assert value["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(true, said))
    assert value["macro_f1"] == pytest.approx(metrics.f1_score(true, said, average="macro"))
    assert value["log_loss"] == pytest.approx(metrics.log_loss(true, rows), abs=1e-5)
    assert (found.confusion == metrics.confusion_matrix(true, said)).all()
    precision, recall, f1, support = metrics.precision_recall_fscore_support(true, said)
    assert [row.precision.value for row in found.per_class] == pytest.approx(precision)
    assert [row.recall.value for row in found.per_class] == pytest.approx(recall)
    assert [row.f1.value for row in found.per_class] == pytest.approx(f1)
    assert [row.samples for row in found.per_class] == support.tolist()
    for score in found.scores.values():
        assert score.low < score.value < score.high


def test_the_confusion_matrix_has_true_classes_as_rows():
    found = evaluate(predictions([0, 0, 1], [[0.2, 0.8], [0.9, 0.1], [0.4, 0.6]]), "test")
    assert found.confusion.tolist() == [[1, 1], [0, 1]]


def test_mistakes_begin_with_the_most_confident():
    rows = [[0.3, 0.7], [0.9, 0.1], [0.05, 0.95], [0.3, 0.7], [0.6, 0.4]]
    assert evaluate(predictions([0, 0, 0, 0, 1], rows), "test").mistakes.tolist() == [2, 0, 3, 4]


def test_two_classes_have_no_top_five():
    found = evaluate(predictions([0, 1], [[0.9, 0.1], [0.2, 0.8]]), "test")
    assert "top5_accuracy" not in found.scores
    assert found.scores["accuracy"].value == 1.0
    assert found.scores["accuracy"].low < 0.5


def test_samples_without_a_class_are_left_out():
    rows = [[0.9, 0.1], [0.1, 0.9], [0.2, 0.8]]
    found = evaluate(predictions([0, UNKNOWN, 0], rows), "test")
    assert found.samples == 2
    assert found.scores["accuracy"].value == 0.5
    assert found.mistakes.tolist() == [2]


def test_a_class_without_samples_is_undefined_and_warns_of_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluate(predictions([0, 0, 1], [[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.7, 0.2, 0.1]]), "test")
    absent, unpredicted = found.per_class[2], found.per_class[1]
    assert (absent.precision, absent.recall, absent.f1) == (None, None, None)
    assert unpredicted.precision is None
    assert unpredicted.recall.value == unpredicted.f1.value == 0.0
    assert found.scores["balanced_accuracy"].value == 0.5
    write(found, tmp_path)
    assert read(tmp_path / "per_class.csv")[3] == ["class 2", "0", "0", *[""] * 9]


def test_equal_probabilities_go_to_the_class_named_first():
    rows = [[0.125] * 8] * 2
    found = evaluate(predictions([0, 5], rows), "test")
    assert found.predictions.predicted.tolist() == [0, 0]
    assert found.scores["accuracy"].value == 0.5
    assert found.scores["top5_accuracy"].value == 0.5  # class 5 stands sixth


@pytest.mark.parametrize(
    ("targets", "rows", "sentence"),
    [
        ([0, 1], [[0.5, 0.5], [np.nan, 0.5]], r"1 of 2 samples is not a number .*'folder/1\.png'"),
        ([0], [[3.0, -2.0]], "not probabilities"),
        ([0], [[0.5, 0.2]], "not probabilities"),
        ([UNKNOWN], [[0.5, 0.5]], "no sample whose class is known"),
        ([7], [[0.5, 0.5]], "class number 7"),
        ([0, 1], [[0.5, 0.5]], "do not fit together"),
    ],
)
def test_what_cannot_be_scored_is_one_sentence(targets, rows, sentence):
    with pytest.raises(DataError, match=sentence):
        evaluate(predictions(targets, rows), "test")


def test_no_sample_is_one_sentence():
    with pytest.raises(DataError, match="nothing can be scored"):
        evaluate(predictions([], np.zeros((0, 2))), "test")


def test_all_files_are_written(tmp_path):
    sample = predictions([0, 1, UNKNOWN], [[0.75, 0.25], [0.6, 0.4], [0.1, 0.9]], ("猫", 'a,"b"'))
    write(evaluate(sample, "val"), tmp_path)
    summary = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert (summary["split"], summary["samples"], summary["calibration_bins"]) == ("val", 2, 15)
    assert summary["scores"]["accuracy"]["value"] == 0.5
    assert read(tmp_path / "confusion.csv") == [
        ["true \\ predicted", "猫", 'a,"b"'],
        ["猫", "1", "0"],
        ['a,"b"', "1", "0"],
    ]
    assert read(tmp_path / "predictions.csv") == [
        ["path", "true_class", "predicted", "probability", "probability:猫", 'probability:a,"b"'],
        ["folder/0.png", "猫", "猫", "0.750000", "0.750000", "0.250000"],
        ["folder/1.png", 'a,"b"', "猫", "0.600000", "0.600000", "0.400000"],
        ["folder/2.png", "", 'a,"b"', "0.900000", "0.100000", "0.900000"],
    ]
    bins = read(tmp_path / "calibration.csv")
    assert len(bins) == 16
    assert bins[1] == ["0.0", "0.066667", "0", "", ""]
    assert read(tmp_path / "per_class.csv")[1][:4] == ["猫", "1", "2", "0.5"]


def test_more_than_a_hundred_classes_have_no_column_each(tmp_path):
    write(evaluate(predictions([3], np.full((1, 101), 1 / 101)), "test"), tmp_path)
    assert read(tmp_path / "predictions.csv")[0] == ["path", "true_class", "predicted", "probability"]


def test_a_path_that_is_no_unicode_is_written_with_escapes(tmp_path):
    sample = predictions([0], [[0.9, 0.1]])
    write(evaluate(Predictions(("a\udcff.png",), sample.targets, sample.probabilities, ("x", "y")), "test"), tmp_path)
    assert read(tmp_path / "predictions.csv")[1][0] == "a\\udcff.png"


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError):
        write(evaluate(predictions([0], [[0.9, 0.1]]), "test"), tmp_path / "absent")
