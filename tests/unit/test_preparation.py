from collections import Counter

import numpy as np
import pytest
from PIL import Image

from plusx.data import Dataset, Sample
from plusx.defaults import DataFacts
from plusx.errors import DataError, UsageError
from plusx.events import Advanced, result_of
from plusx.inputs.image import ImageInput
from plusx.plan import Run
from plusx.preparation import Prepared, limited, overfitting, prepare, reader_of, refuse_rejected
from plusx.weights.published import IMAGENET_DEVIATION, IMAGENET_MEAN


def run(root, **options):
    return Run(str(root), **options)


def dataset(per_split, classes=3):
    samples = tuple(
        Sample(f"{split}/{target}/{number}", np.zeros((2, 2), np.uint8), target, split)
        for split, count in per_split.items()
        for target in range(classes)
        for number in range(count)
    )
    return Dataset("things", "things", tuple("abc"[:classes]), samples)


def test_a_folder_becomes_samples_with_splits_facts_and_statistics(image_folder):
    root = image_folder({"cat": 20, "猫": 30})
    work = prepare(run(root))
    events = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            prepared = end.value
            break
    counts = {split: sum(found.values()) for split, found in prepared.dataset.counts().items()}
    assert sum(counts.values()) == 50
    assert counts["test"] == 10
    assert counts["validation"] in (4, 5)
    assert prepared.facts.samples == counts["train"]
    assert (prepared.facts.height, prepared.facts.width, prepared.facts.channels) == (12, 12, 3)
    assert prepared.facts.classes == prepared.dataset.classes == ("cat", "猫")
    assert any(isinstance(event, Advanced) and event.done == 50 for event in events)
    training = np.stack([np.asarray(Image.open(sample.source)) for sample in prepared.dataset.split("train")]) / 255
    np.testing.assert_allclose(prepared.statistics[0], training.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(prepared.statistics[1], training.std((0, 1, 2)), atol=1e-6)


def test_statistics_are_of_the_training_split_only(image_folder):
    root = image_folder({"train/a": 5, "train/b": 5, "val/a": 2, "val/b": 2, "test/a": 2, "test/b": 2})
    for path in [*root.glob("val/*/*.png"), *root.glob("test/*/*.png")]:
        Image.fromarray(np.full((12, 12, 3), 255, np.uint8)).save(path)
    mean, _ = result_of(prepare(run(root))).statistics
    assert all(0.4 < value < 0.6 for value in mean)


def test_only_training_images_decide_size_and_channels(image_folder):
    root = image_folder({"train/a": 5, "train/b": 5, "val/a": 2, "val/b": 2, "test/a": 2, "test/b": 2})
    for path in root.glob("train/*/*.png"):
        Image.fromarray(np.zeros((100, 90), np.uint8)).save(path)
    for path in [*root.glob("val/*/*.png"), *root.glob("test/*/*.png")]:
        Image.fromarray(np.zeros((400, 400, 3), np.uint8)).save(path)
    facts = result_of(prepare(run(root))).facts
    assert (facts.height, facts.width, facts.channels, facts.one_size) == (100, 90, 1, True)


def test_a_limit_below_the_number_of_classes_is_refused():
    with pytest.raises(UsageError, match="limit_samples is 5, but there are 10 classes"):
        result_of(prepare(Run("digits", limit_samples=5)))


def test_photos_are_normalized_as_is_the_custom(image_folder):
    root = image_folder({"a": 8, "b": 8}, side=70)
    assert result_of(prepare(run(root))).statistics == (IMAGENET_MEAN, IMAGENET_DEVIATION)


def test_channels_by_hand_are_measured_as_they_will_be_read(image_folder):
    mean, deviation = result_of(prepare(run(image_folder({"a": 8, "b": 8}, side=70)), channels=1)).statistics
    assert len(mean) == len(deviation) == 1
    assert 0.4 < mean[0] < 0.6


def test_broken_files_are_set_aside_or_with_strict_an_error(image_folder):
    root = image_folder({"a": 8, "b": 8})
    (root / "a" / "empty.png").write_bytes(b"")
    prepared = result_of(prepare(run(root)))
    assert [(one.name, one.reason) for one in prepared.dataset.rejected] == [("a/empty.png", "is empty")]
    assert len(prepared.dataset.samples) == 16
    with pytest.raises(DataError, match=r"1 of the files of .* the first, 'a/empty.png', is empty; .*--strict"):
        result_of(prepare(run(root, strict=True)))


def test_files_with_too_many_pixels_are_set_aside(image_folder):
    root = image_folder({"a": 8, "b": 8})
    Image.new("RGB", (40, 40)).save(root / "a" / "huge.png")
    prepared = result_of(prepare(run(root), max_pixels=1000))
    assert [one.name for one in prepared.dataset.rejected] == ["a/huge.png"]


def test_a_clean_data_set_passes_strictly():
    refuse_rejected(dataset({"train": 1}))


def test_a_limit_keeps_so_many_of_each_split_the_classes_taking_turns():
    few = limited(dataset({"train": 10, "validation": 10, "test": 1}), 7, seed=0)
    counts = {split: sorted(found.values()) for split, found in few.counts().items()}
    assert counts == {"train": [2, 2, 3], "validation": [2, 2, 3], "test": [1, 1, 1]}
    names = [sample.name for sample in few.samples]
    everyone = [sample.name for sample in dataset({"train": 10, "validation": 10, "test": 1}).samples]
    assert names == [name for name in everyone if name in set(names)]


def test_a_limit_is_the_same_for_a_seed_and_another_for_another():
    whole = dataset({"train": 30})
    assert limited(whole, 9, seed=1) == limited(whole, 9, seed=1)
    assert limited(whole, 9, seed=1) != limited(whole, 9, seed=2)
    assert set(limited(whole, 6, seed=1).samples) <= set(limited(whole, 9, seed=1).samples)


def test_a_run_with_a_limit_has_so_many(image_folder):
    root = image_folder({"a": 20, "b": 20})
    counts = result_of(prepare(run(root, limit_samples=4))).dataset.counts()
    assert {split: sum(found.values()) for split, found in counts.items()} == dict.fromkeys(counts, 4)


def test_overfitting_scores_on_the_very_samples_it_trains_on():
    facts = DataFacts(30, 1, 2, 2, one_size=True, classes=("0", "1", "2"))
    whole = Prepared(dataset({"train": 10, "validation": 5, "test": 5}), {}, facts, ((0.5,), (0.5,)))
    overfitted = overfitting(whole, 6)
    few = overfitted.dataset
    assert overfitted.facts.samples == 6
    splits = {split: [sample.name for sample in few.split(split)] for split in ("train", "validation", "test")}
    assert splits["train"] == splits["validation"] == splits["test"]
    assert len(splits["train"]) == 6
    assert all(name.startswith("train/") for name in splits["train"])
    assert Counter(sample.target for sample in few.split("train")) == {0: 2, 1: 2, 2: 2}
    assert few.test_name == "train"


def test_a_reader_takes_any_size():
    reader = reader_of(4, max_pixels=99)
    assert (reader.channels, reader.max_pixels) == (4, 99)
    assert reader.read(np.zeros((3, 5, 4), np.uint8)).shape == (4, 3, 5)


def test_statistics_keep_to_the_limit_that_was_asked_for(image_folder, monkeypatch):
    root = image_folder({"a": 10, "b": 10})
    limits = []
    whole = ImageInput.read

    def read(self, source):
        limits.append(self.max_pixels)
        return whole(self, source)

    monkeypatch.setattr(ImageInput, "read", read)
    result_of(prepare(run(root), max_pixels=1234))
    assert set(limits) == {1234}
