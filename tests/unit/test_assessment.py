import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from plusx.assessment import evaluate, reading_workers
from plusx.data.dataset import Dataset, Sample
from plusx.data.split import write_splits
from plusx.errors import CheckpointError, DataError, UsageError
from plusx.events import Noted, Section, result_of
from plusx.inputs.image import ImageInput
from plusx.network.architectures import ARCHITECTURES
from plusx.plan import Plan, Run
from plusx.predict import Predictor
from plusx.run_folder import RunFolder
from plusx.training.recipe import Recipe

SPLITS = {"train": 4, "validation": 2, "test": 3}  # of each class


@pytest.fixture
def data(tmp_path):
    """A folder of one picture after another, all different, without splits."""
    root = tmp_path / "bars"
    for target, name in enumerate(tiny.CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(sum(SPLITS.values())):
            Image.fromarray(tiny.pixels(target, 100 * target + number)).save(root / name / f"{number}.png")
    return root


@pytest.fixture
def run(tmp_path, data):
    """A run's folder as training on these data leaves it, with an untrained network."""
    folder = RunFolder.create(tmp_path / "runs", "bars")
    folder.publish()
    plan = Plan(Run(str(data), model="resnet20"), tiny.ARCHITECTURE, tiny.INPUT, tiny.TASK, Recipe())
    folder.write("config.yaml", plan.to_yaml())
    used = [split for split, count in SPLITS.items() for _ in range(count)]
    samples = tuple(
        Sample(f"{name}/{number}.png", data / name / f"{number}.png", target, used[number])
        for target, name in enumerate(tiny.CLASSES)
        for number in range(len(used))
    )
    samples = tuple(dataclasses.replace(sample, sha256=tiny.INPUT.inspect(sample.source).sha256) for sample in samples)
    write_splits(folder.splits, Dataset("bars", str(data), tiny.CLASSES, samples))
    tiny.checkpoint().save(folder.best)
    return folder.path


def with_events(work):
    events = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            return end.value, events


def names(assessment):
    return sorted(assessment.evaluation.predictions.names)


def test_a_runs_own_test_split_is_scored(run, data):
    found = result_of(evaluate(run))
    assert names(found) == sorted(f"{name}/{number}.png" for name in tiny.CLASSES for number in (6, 7, 8))
    assert (found.split, found.left_out, found.source) == ("test", 0, str(data))
    answers = Predictor(tiny.checkpoint())([data / name for name in found.evaluation.predictions.names])
    right = sum(answer.path.split("/")[-2] == answer.class_name for answer in answers)
    assert found.evaluation.scores["accuracy"].value == pytest.approx(right / 9)
    rows = [list(answer.probabilities.values()) for answer in answers]
    np.testing.assert_allclose(rows, found.evaluation.predictions.probabilities, atol=1e-6)


@pytest.mark.parametrize(("word", "places"), [("train", range(4)), ("val", (4, 5)), ("validation", (4, 5))])
def test_another_split_of_the_run_is_scored_when_asked_for(run, word, places):
    found = result_of(evaluate(run, split=word))
    assert names(found) == sorted(f"{name}/{number}.png" for name in tiny.CLASSES for number in places)


def test_numbers_are_written_into_the_run(run):
    found = result_of(evaluate(run))
    assert found.folder == run / "evaluations" / "bars-test"
    assert {"scores.json", "predictions.csv", "per_class.csv", "confusion.csv", "rejected.csv"} <= {
        path.name for path in found.folder.iterdir()
    }
    with (found.folder / "predictions.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 9
    assert json.loads(json.dumps(found.to_dict()))["samples"] == 9


def test_a_folder_for_the_numbers_can_be_named(run, tmp_path):
    assert result_of(evaluate(run, output=tmp_path / "deep" / "numbers")).folder == tmp_path / "deep" / "numbers"
    assert (tmp_path / "deep" / "numbers" / "scores.json").is_file()
    assert not (run / "evaluations").exists()


def bars(root, *numbers):
    (root / "low").mkdir(parents=True)
    for number in numbers:
        Image.fromarray(tiny.pixels(2, number)).save(root / "low" / f"{number}.png")
    return root


def test_another_source_of_the_same_name_overwrites_nothing_and_the_same_one_its_own(run, tmp_path):
    first, second = bars(tmp_path / "a" / "new", 901), bars(tmp_path / "b" / "new", 902, 903)
    places = [result_of(evaluate(run, source)).folder.name for source in (first, second, first, second)]
    assert places == ["new-all", "new-all-2"] * 2
    counts = [
        json.loads((run / "evaluations" / name / "scores.json").read_text())["samples"]
        for name in ("new-all", "new-all-2")
    ]
    assert counts == [1, 2]
    assert result_of(evaluate(run, first, include_training=True)).folder.name == "new-all-3"
    (run / "evaluations" / "new-all" / "asked.json").unlink()
    assert result_of(evaluate(run, first)).folder.name == "new-all-4"


def warnings(events):
    return [event.text for event in events if isinstance(event, Noted) and event.level == "warning"]


@pytest.mark.parametrize(
    ("split", "words"), [("test", []), ("train", ["was trained on these"]), ("validation", ["was chosen by these"])]
)
def test_what_a_runs_own_split_was_used_for_is_said(run, split, words):
    _, events = with_events(evaluate(run, split=split))
    assert len(warnings(events)) == len(words)
    assert all(word in text for word, text in zip(words, warnings(events), strict=True))


def relabeled(run, change):
    """Write the run's splits again, each row changed."""
    with (run / "splits.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    with (run / "splits.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([rows[0], *change(rows[1:])])


def test_a_run_that_scores_its_training_samples_is_not_said_to_score_new_ones(run):
    def overfit(rows):
        few = [row for row in rows if row[2] == "train"][:4]
        return [[path, sha256, split, label] for split in SPLITS for path, sha256, _, label in few]

    relabeled(run, overfit)
    for split in ("test", "validation"):
        found, events = with_events(evaluate(run, split=split))
        assert (found.split, found.evaluation.samples, found.folder.name) == ("train", 4, "bars-train")
        assert warnings(events) == [f"the {split} split of this run is what it was trained on, and is called train"]


def test_samples_of_the_test_split_that_were_trained_on_too_are_counted(run):
    relabeled(run, lambda rows: [*rows, *([*row[:2], "train", row[3]] for row in rows if row[0].endswith("/6.png"))])
    found, events = with_events(evaluate(run))
    assert (found.split, found.evaluation.samples) == ("test", 9)
    assert warnings(events) == ["3 of the 9 samples were trained on too"]


def test_only_what_may_be_scored_is_looked_at(run, tmp_path, monkeypatch):
    looked, inspect = [], ImageInput.inspect
    monkeypatch.setattr(ImageInput, "inspect", lambda self, source: looked.append(source) or inspect(self, source))
    result_of(evaluate(run))
    assert sorted(path.name for path in looked) == sorted(["6.png", "7.png", "8.png"] * 3)
    looked.clear()
    bars(tmp_path / "new" / "train", *range(700, 720))
    bars(tmp_path / "new" / "test", 801)
    result_of(evaluate(run, tmp_path / "new"))
    assert [path.name for path in looked] == ["801.png"]


def test_files_are_read_by_processes_and_pixels_by_none(monkeypatch):
    monkeypatch.setattr("plusx.launch.cores", lambda: 64)
    files = Dataset("x", "x", ("a",), tuple(Sample(f"{n}", Path("x"), 0) for n in range(1000)))
    assert [reading_workers(files, size) for size in (2000, 400, 64, 1)] == [0, 2, 8, 8]
    assert reading_workers(dataclasses.replace(files, samples=tuple(tiny.samples(100))), 1) == 0
    monkeypatch.setattr("plusx.launch.cores", lambda: 2)
    assert reading_workers(files, 64) == 2


def test_pictures_of_many_sizes_are_scored_alike_by_workers(run, data, monkeypatch):
    monkeypatch.setattr("plusx.launch.cores", lambda: 2)
    for number in range(6, 9):
        Image.fromarray(tiny.pixels(0, number, side=8 + number)).save(data / "low" / f"{number}.png")
    many, one = (result_of(evaluate(run, data, batch_size=size)).evaluation.predictions for size in (2, 64))
    assert many.names == one.names
    np.testing.assert_allclose(many.probabilities, one.probabilities, atol=1e-6)


def test_a_runs_source_that_is_not_here_is_named_with_its_run(run, data):
    data.rename(data.with_name("moved"))
    with pytest.raises(UsageError, match=r"the source '.*bars' of the run '.*bars-1' cannot be read from here; name"):
        result_of(evaluate(run))
    assert result_of(evaluate(run, data.with_name("moved"))).left_out == 18


def test_what_was_trained_on_is_left_out_of_another_source_and_counted(run, data, tmp_path):
    renamed = tmp_path / "elsewhere"
    (renamed / "low").mkdir(parents=True)
    for number in range(9):  # the same content under other names
        (renamed / "low" / f"copy{number}.png").write_bytes((data / "low" / f"{number}.png").read_bytes())
    Image.fromarray(tiny.pixels(2, 999)).save(renamed / "low" / "new.png")
    found, events = with_events(evaluate(run, renamed))
    assert names(found) == [f"low/copy{number}.png" for number in (6, 7, 8)] + ["low/new.png"]
    assert found.left_out == 6
    assert found.split == "all"
    assert any(isinstance(event, Noted) and "6 samples" in event.text for event in events)
    assert isinstance(events[-1], Section)
    whole = result_of(evaluate(run, renamed, include_training=True))
    assert (len(names(whole)), whole.left_out) == (10, 0)


def test_nothing_left_is_one_sentence(run, data, tmp_path):
    (tmp_path / "old" / "low").mkdir(parents=True)
    (tmp_path / "old" / "low" / "0.png").write_bytes((data / "low" / "0.png").read_bytes())
    with pytest.raises(DataError, match="all its samples were trained on; --include-training scores them"):
        result_of(evaluate(run, tmp_path / "old"))
    with pytest.raises(DataError, match="it has no such samples"):
        result_of(evaluate(run, tmp_path / "old", split="validation"))


def test_classes_are_matched_by_name_when_some_are_missing(run, tmp_path):
    """Only the last class is there: its index must still be the last."""
    (tmp_path / "new" / "low").mkdir(parents=True)
    Image.fromarray(tiny.pixels(2, 999)).save(tmp_path / "new" / "low" / "one.png")
    found = result_of(evaluate(run, tmp_path / "new"))
    assert found.evaluation.predictions.targets.tolist() == [2]
    assert found.evaluation.predictions.classes == tiny.CLASSES


def test_an_unknown_class_is_an_error_that_names_it(run, tmp_path):
    (tmp_path / "new" / "midle").mkdir(parents=True)
    Image.fromarray(tiny.pixels(1, 999)).save(tmp_path / "new" / "midle" / "one.png")
    with pytest.raises(DataError, match=r"'midle', which the trained network does not know; did you mean 'middle'"):
        result_of(evaluate(run, tmp_path / "new"))


@pytest.mark.parametrize(("splits", "scored"), [(("train", "val", "test"), "test"), (("train", "val"), "validation")])
def test_another_sources_test_split_is_meant_else_its_validation_split(run, tmp_path, splits, scored):
    for place, split in enumerate(splits):
        (tmp_path / "new" / split / "low").mkdir(parents=True)
        for number in range(place + 1):
            path = tmp_path / "new" / split / "low" / f"{number}.png"
            Image.fromarray(tiny.pixels(2, 1000 * (place + 1) + number)).save(path)
    found = result_of(evaluate(run, tmp_path / "new"))
    assert found.split == scored
    assert len(names(found)) == len(splits)


def test_broken_files_are_named_and_with_strict_an_error(run, tmp_path):
    (tmp_path / "new" / "low").mkdir(parents=True)
    Image.fromarray(tiny.pixels(2, 999)).save(tmp_path / "new" / "low" / "one.png")
    (tmp_path / "new" / "low" / "broken.png").write_bytes(b"")
    found, events = with_events(evaluate(run, tmp_path / "new"))
    assert names(found) == ["low/one.png"]
    assert Noted("1 file was set aside: 'low/broken.png' is empty", "warning") in events
    assert "low/broken.png,is empty" in (found.folder / "rejected.csv").read_text()
    for number in range(12):
        (tmp_path / "new" / "low" / f"empty{number}.png").write_bytes(b"")
    (sentence,) = [text for text in warnings(with_events(evaluate(run, tmp_path / "new"))[1]) if "set aside" in text]
    assert sentence.startswith("13 files were set aside: ")
    assert sentence.endswith("; and 3 more (rejected.csv)")
    with pytest.raises(DataError, match=r"broken\.png"):
        result_of(evaluate(run, tmp_path / "new", strict=True))


def test_changed_and_missing_samples_of_the_run_are_told(run, data):
    Image.fromarray(tiny.pixels(0, 12345)).save(data / "low" / "6.png")
    (data / "low" / "7.png").unlink()
    found, events = with_events(evaluate(run))
    assert "low/6.png" not in names(found)
    assert len(names(found)) == 7
    assert any(isinstance(event, Noted) and "gone or have changed" in event.text for event in events)


def test_a_lone_checkpoint_needs_a_source_and_says_what_it_cannot_know(run, data, tmp_path):
    lone = tmp_path / "lone.safetensors"
    lone.write_bytes((run / "weights" / "best.safetensors").read_bytes())
    with pytest.raises(DataError, match="is not in a run's folder, so its test split is not known; name a source"):
        result_of(evaluate(lone))
    found, events = with_events(evaluate(lone, data))
    assert len(names(found)) == 27
    assert found.folder is None
    assert any(isinstance(event, Noted) and "stands alone" in event.text for event in events)


def test_a_checkpoint_inside_a_run_knows_its_run(run):
    assert len(names(result_of(evaluate(run / "weights" / "best.safetensors")))) == 9


def test_a_split_that_does_not_exist_and_a_batch_of_none_are_one_sentence(run):
    with pytest.raises(UsageError, match="no split is called 'tests'; did you mean 'test'"):
        result_of(evaluate(run, split="tests"))
    with pytest.raises(UsageError, match="batch_size is 0"):
        result_of(evaluate(run, batch_size=0))


def test_no_run_is_a_checkpoint_error(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        result_of(evaluate(tmp_path / "none"))


def test_the_input_of_the_checkpoint_is_used_and_no_other(run, tmp_path):
    """Another normalization gives other answers: what scores must be what the checkpoint holds."""
    other = dataclasses.replace(tiny.checkpoint(), input=ImageInput(8, 8, 1, (0.9,), (0.05,)))
    before = result_of(evaluate(run)).evaluation.predictions.probabilities
    other.save(run / "weights" / "best.safetensors")
    after = result_of(evaluate(run)).evaluation.predictions.probabilities
    assert np.abs(before - after).max() > 0.01


@pytest.fixture
def numbered(tmp_path):
    """Foreign weights of a small network on gray images, whose three classes have no names."""
    state = {key: value.clone() for key, value in tiny.checkpoint().weights.items()}
    torch.save(state, tmp_path / "w.pth")
    return tmp_path / "w.pth"


@pytest.fixture
def tiny_is_known(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "tiny", dataclasses.replace(tiny.ARCHITECTURE, channels_in=3))


@pytest.mark.usefixtures("tiny_is_known")
def test_weights_of_an_architecture_are_scored(data, numbered):
    found, events = with_events(evaluate("tiny", data, weights=numbered))
    assert found.checkpoint == f"tiny with {numbered}"
    assert found.folder is None
    assert found.evaluation.samples == 27
    assert found.evaluation.predictions.classes == tuple(sorted(tiny.CLASSES))
    assert [text for text in warnings(events) if "have no names" in text] == [
        f"the 3 classes of the weights have no names: those of {data} are assumed, in order"
    ]
    assert any("stand alone: whether it was trained on these samples is not known" in text for text in warnings(events))
    assert found.to_dict()["checkpoint"] == f"tiny with {numbered}"


@pytest.mark.usefixtures("tiny_is_known")
def test_weights_without_names_need_data_with_as_many_classes(data, numbered, tmp_path):
    for number in range(3):
        (data / "fourth").mkdir(exist_ok=True)
        Image.fromarray(tiny.pixels(0, 999 + number)).save(data / "fourth" / f"{number}.png")
    with pytest.raises(
        DataError, match=r"the weights have 3 classes without names, and .* has 4; weights without names"
    ):
        result_of(evaluate("tiny", data, weights=numbered))


@pytest.mark.usefixtures("tiny_is_known")
def test_weights_alone_have_no_split_of_their_own(numbered):
    with pytest.raises(DataError, match=r"'tiny with .*w\.pth' is not in a run's folder.*; name a source to score"):
        result_of(evaluate("tiny", weights=numbered))


def test_classes_of_imagenet_are_matched_by_id_or_name(tmp_path):
    classes = ("tench", "goldfish", "hen")
    tiny_checkpoint = tiny.checkpoint()
    dataclasses.replace(tiny_checkpoint, task=dataclasses.replace(tiny.TASK, classes=classes)).save(
        tmp_path / "x.safetensors"
    )
    for name, target in (("n01443537", 1), ("Tench", 0), ("hen", 2)):
        (tmp_path / "fish" / name).mkdir(parents=True)
        Image.fromarray(tiny.pixels(0, target)).save(tmp_path / "fish" / name / "0.png")
    found = result_of(evaluate(tmp_path / "x.safetensors", tmp_path / "fish"))
    predictions = found.evaluation.predictions
    assert predictions.classes == classes
    targets = dict(zip(predictions.names, predictions.targets.tolist(), strict=True))
    assert targets == {"n01443537/0.png": 1, "Tench/0.png": 0, "hen/0.png": 2}
