from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from plusx.data import Dataset, Rejected, Sample, read_dataset
from plusx.data.split import SplitRow, read_splits, split_dataset, without_training, write_splits
from plusx.errors import DataError, StorageError
from plusx.events import result_of

PIXELS = np.zeros((1, 1), np.uint8)


def dataset(*counts, split=None, **more):
    """Make a data set with so many samples of each class, in every split of `split`."""
    samples = [
        Sample(f"{part}/{target}/{index:04d}", PIXELS, target, part, **more)
        for part in (split or [None])
        for target, count in enumerate(counts)
        for index in range(count)
    ]
    return Dataset("made", "made", tuple(f"class {target}" for target in range(len(counts))), tuple(samples))


def sizes(divided):
    return {split: sum(classes.values()) for split, classes in divided.counts().items()}


def places(divided):
    return {sample.name: sample.split for sample in divided.samples}


def test_digits_give_360_test_samples():
    digits = result_of(read_dataset("digits"))
    divided = split_dataset(digits, seed=0)
    assert sizes(divided) == {"train": 1257, "validation": 180, "test": 360}
    assert divided.test_name == "test"
    for split, share in (("test", 0.2), ("validation", 0.1)):
        for target, label in enumerate(digits.classes):
            whole = sum(sample.target == target for sample in digits.samples)
            assert abs(divided.counts()[split][label] - share * whole) <= 1
    assert [one.name for one in divided.samples] == [one.name for one in digits.samples]


def test_the_seed_decides_and_the_order_on_disk_does_not():
    made = dataset(50, 30, 20)
    divided = split_dataset(made, seed=3)
    turned = split_dataset(replace(made, samples=made.samples[::-1]), seed=3)
    assert places(divided) == places(turned)
    assert [one.name for one in turned.samples] == [one.name for one in made.samples[::-1]]
    assert places(split_dataset(made, seed=4)) != places(divided)
    assert sizes(split_dataset(made, seed=-1)) == sizes(divided)


def test_train_only_is_as_if_no_split_were_given():
    assert sizes(split_dataset(dataset(50, 50, split=["train"]), seed=0)) == {"train": 70, "validation": 10, "test": 20}
    shares = split_dataset(dataset(50, 50), seed=0, validation=0.2, test=0.5)
    assert sizes(shares) == {"train": 30, "validation": 20, "test": 50}


def test_with_train_and_test_validation_is_cut_from_train():
    made = dataset(50, 50, split=["train", "test"])
    divided = split_dataset(made, seed=0)
    assert sizes(divided) == {"train": 90, "validation": 10, "test": 100}
    assert {name for name, split in places(divided).items() if split == "test"} == {
        one.name for one in made.split("test")
    }
    assert divided.counts()["validation"] == {"class 0": 5, "class 1": 5}


def test_with_train_and_val_val_is_scored_at_the_end():
    made = dataset(50, 50, split=["train", "validation"])
    divided = split_dataset(made, seed=0)
    assert sizes(divided) == {"train": 90, "validation": 10, "test": 100}
    assert {one.name for one in divided.split("test")} == {one.name for one in made.split("validation")}
    assert divided.test_name == "val"
    assert divided.notes == (
        "the source has only train and val: val is scored once, at the end, and validation is cut from train",
    )


def test_three_given_splits_stay():
    made = dataset(5, 5, split=["train", "validation", "test"])
    assert split_dataset(made, seed=0) == made


def test_small_classes_stay_in_train():
    divided = split_dataset(dataset(40, 2, 1, 3), seed=0)
    counts = divided.counts()
    assert counts["train"]["class 1"] == 2
    assert counts["train"]["class 2"] == 1
    assert counts["train"]["class 3"] >= 1
    assert divided.notes == ("2 classes of one or two samples only in train: 'class 1', 'class 2'",)


def test_a_last_resort_takes_from_small_classes():
    divided = split_dataset(dataset(2, 2), seed=0)
    assert sizes(divided) == {"train": 2, "validation": 1, "test": 1}
    assert set(divided.counts()["train"].values()) == {1}
    assert divided.notes == ()


def test_groups_stay_together():
    samples = [
        Sample(f"{index}", PIXELS, index % 2, None, f"patient {patient}")
        for patient in range(30)
        for index in range(patient * 100, patient * 100 + 4 + patient % 7)
    ]
    made = Dataset("made", "made", ("a", "b"), tuple(samples))
    divided = split_dataset(made, seed=0)
    held = {split: {one.group for one in divided.split(split)} for split in ("train", "validation", "test")}
    assert len(held["train"]) + len(held["validation"]) + len(held["test"]) == 30
    assert abs(sizes(divided)["test"] / len(samples) - 0.2) < 0.05
    assert abs(sizes(divided)["validation"] / len(samples) - 0.1) < 0.05
    lengths = Counter(sample.group for sample in samples)
    assert max(lengths[group] for group in held["test"]) > 7, "large groups are tested too"
    assert places(split_dataset(replace(made, samples=made.samples[::-1]), seed=0)) == places(divided)


def test_few_large_groups_fill_every_split():
    samples = [
        Sample(f"{group}/{index}", PIXELS, index % 2, None, f"{group}") for group in range(3) for index in range(40)
    ]
    divided = split_dataset(Dataset("made", "made", ("a", "b"), tuple(samples)), seed=0)
    assert sizes(divided) == {"train": 40, "validation": 40, "test": 40}
    two = tuple(sample for sample in samples if sample.group != "2")
    with pytest.raises(DataError, match="of its 2 groups none can be spared for validation"):
        split_dataset(Dataset("made", "made", ("a", "b"), two), seed=0)


def test_the_only_group_of_a_class_is_trained_on():
    samples = [Sample(f"a{index}", PIXELS, 0) for index in range(100)]
    samples += [Sample(f"b{index}", PIXELS, 1, None, "only") for index in range(10)]
    divided = split_dataset(Dataset("made", "made", ("a", "b"), tuple(samples)), seed=0)
    assert divided.counts()["train"]["b"] == 10


def test_the_same_content_is_in_one_split():
    samples = tuple(
        replace(sample, sha256=f"{sample.target} {index // 2 if index < 40 else index}")
        for index, sample in enumerate(dataset(60, 60).samples)
    )
    divided = split_dataset(replace(dataset(60, 60), samples=samples), seed=0)
    held = [{one.sha256 for one in divided.split(split)} for split in ("train", "validation", "test")]
    assert sum(map(len, held)) == len(held[0] | held[1] | held[2])
    assert sizes(divided) == {"train": 84, "validation": 12, "test": 24}
    assert divided.notes == ("40 samples with the same content as another; the same content is in one split only",)


def test_what_given_splits_share_is_told():
    samples = [Sample("1", PIXELS, 0, "train", "p", "x"), Sample("2", PIXELS, 1, "train", "q", "y")]
    samples += [Sample("3", PIXELS, 0, "validation", "p", "z"), Sample("4", PIXELS, 1, "test", None, "y")]
    divided = split_dataset(Dataset("made", "made", ("a", "b"), tuple(samples)), seed=0)
    assert divided.notes == (
        "1 group both in validation and in train: 'p'",
        "1 sample of test with the content of a sample of train: '4'",
    )


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (dataset(9), "has one class only, 'class 0', and telling classes apart needs at least two"),
        (Dataset("made", "made", (), ()), "has no class, and"),
        (dataset(9, 9, split=["validation"]), "has a validation split but no train split"),
        (dataset(9, 9, split=["validation", "test"]), "has a test and validation split but no train split"),
        (dataset(1, 1), "of its 2 samples none can be spared for test"),
        (
            replace(dataset(9, 0, 9), rejected=(Rejected("x", "is empty"),)),
            "'class 1' .* no usable .* .1 file set aside",
        ),
        (Dataset("made", "made", ("a", "b"), (Sample("1", PIXELS, None), Sample("2", PIXELS, 1))), "'1' has no class"),
    ],
)
def test_what_cannot_be_split_is_one_sentence(made, sentence):
    with pytest.raises(DataError, match=sentence):
        split_dataset(made, seed=0)


def test_a_class_that_training_never_had():
    made = dataset(5, 5, split=["train", "test"])
    without = tuple(one for one in made.samples if not (one.split == "train" and one.target == 1))
    with pytest.raises(DataError, match="'class 1' in test but not in train"):
        split_dataset(replace(made, samples=without), seed=0)


def test_what_was_trained_on_is_left_out():
    made = dataset(5, 5)
    samples = tuple(replace(one, sha256=f"{index % 4}") for index, one in enumerate(made.samples))
    rest, count = without_training(replace(made, samples=samples), {"0", "3", "other"})
    assert {one.sha256 for one in rest.samples} == {"1", "2"}
    assert count == 10 - len(rest.samples) == 5
    assert without_training(made, {""}) == (made, 0)


def test_splits_are_written_and_read(tmp_path):
    samples = (
        Sample("数据/猫, 1.jpg", PIXELS, 0, "train", None, "ab"),
        Sample('say "x"\n.jpg', PIXELS, 1, "test", None, "cd"),
        Sample("unknown.jpg", PIXELS, None),
    )
    made = Dataset("made", "made", ("猫", "b"), samples)
    path = tmp_path / "splits.csv"
    write_splits(path, made)
    assert path.read_text("utf-8").splitlines()[:2] == ["path,sha256,split,class", '"数据/猫, 1.jpg",ab,train,猫']
    assert read_splits(path) == [
        SplitRow("数据/猫, 1.jpg", "ab", "train", "猫"),
        SplitRow('say "x"\n.jpg', "cd", "test", "b"),
        SplitRow("unknown.jpg", "", "", ""),
    ]
    with pytest.raises(StorageError):
        write_splits(tmp_path / "none" / "splits.csv", made)
    with pytest.raises(DataError, match="tells what a run was trained on"):
        read_splits(tmp_path / "none.csv")
    path.write_text("path,class\n1,2\n")
    with pytest.raises(DataError, match="expected the columns path, sha256, split, class"):
        read_splits(path)
