from pathlib import Path

import pytest

from plusx.data import Dataset, Rejected, Sample
from plusx.data.dataset import counted, listed, printable, rejected_words, safe_name, with_classes
from plusx.errors import DataError


def made(classes, *targets, split="train"):
    samples = tuple(Sample(f"{index}", Path("x"), target, split) for index, target in enumerate(targets))
    return Dataset("made", "made", classes, samples)


def test_counts_name_every_class_of_every_split():
    dataset = made(("a", "b"), 0, 0, 1)
    rest = (*dataset.samples, Sample("9", Path("x"), 1, "test"), Sample("10", Path("x"), None))
    dataset = Dataset("made", "made", ("a", "b"), rest)
    assert dataset.counts() == {"train": {"a": 2, "b": 1}, "test": {"a": 0, "b": 1}, "": {"a": 0, "b": 0}}
    assert list(dataset.counts()) == ["train", "test", ""]
    assert [one.name for one in dataset.split("test")] == ["9"]


def test_classes_are_matched_by_name_not_by_place():
    dataset = with_classes(made(("cafe\u0301", "dog"), 0, 1, None), ("bird", "dog", "caf\u00e9"))
    assert dataset.classes == ("bird", "dog", "caf\u00e9")
    assert [sample.target for sample in dataset.samples] == [2, 1, None]


def test_a_class_without_samples_need_not_be_known():
    assert with_classes(made(("a", "b"), 1), ("b", "c")).samples[0].target == 0
    with pytest.raises(
        DataError, match="has the class 'a', which the trained network does not know; it knows 'x', 'y'"
    ):
        with_classes(made(("a", "b"), 0), ("x", "y"))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("photos", "photos"),
        ("数据 集/a:b", "数据_集_a_b"),
        ("../..", "data"),
        (".hidden", "hidden"),
        ("a-1.2", "a-1.2"),
    ],
)
def test_safe_names(given, name):
    assert safe_name(given) == name


def test_words():
    assert [counted(1, "class"), counted(2, "class"), counted(1234, "file")] == ["1 class", "2 classes", "1,234 files"]
    assert listed(["a", "b"]) == "'a', 'b'"
    assert listed("abcde") == "'a', 'b', 'c' and 2 more"
    assert printable("a\udcff") == "a\\udcff"


def test_rejected_files_are_one_sentence_of_bounded_length():
    empty = [Rejected(f"{number}.png", "is empty") for number in range(1200)]
    assert rejected_words(empty[:1]) == "1 file was set aside: '0.png' is empty"
    assert rejected_words(empty[:2]) == "2 files were set aside: '0.png' is empty; '1.png' is empty"
    assert rejected_words(empty, most=1) == (
        "1,200 files were set aside: '0.png' is empty; and 1,199 more (rejected.csv)"
    )
    assert rejected_words(empty[:10]).count("is empty") == rejected_words(empty).count("is empty") == 10
    assert rejected_words(empty[:11], file="").endswith("'9.png' is empty; and 1 more")
