import dataclasses
import re

import pytest
import tiny
import torch
from finished import dataset, evaluated, finished, network, plan_of

from plusx import kernels, reporting
from plusx.data import Rejected
from plusx.device import Device
from plusx.result import Result
from plusx.start import Start


@pytest.fixture
def data():
    return dataset()


def rows_of(sections):
    return {(section.title, name): text for section in sections for name, text in section.rows}


def screen(data, batches=None, **changes):
    return rows_of(
        reporting.first_screen(
            plan_of(**changes), data, network(), batches or tiny.batches(), Device(), ("expected", "1 s")
        )
    )


def test_the_first_screen_tells_data_network_and_training(data):
    rows = screen(data, epochs=7)
    assert rows["Data", "source"] == "some/bars"
    assert rows["Data", "samples"] == "12 train, 3 validation, 6 test"
    assert rows["Data", "classes"] == "3: 上, middle, low"
    assert rows["Data", "a class"] == "4 training samples"
    assert ("Data", "set aside") not in rows
    parameters = sum(one.numel() for one in network().parameters())
    assert rows["Network", "size"].startswith(f"{parameters:,} parameters")
    assert rows["Network", "input"] == "8x8, 1 channel"
    assert rows["Network", "augmentation"] == "mirrored left to right, padded and cropped"
    assert rows["Training", "length"] == "7 epochs of 3 steps, batch 128"
    one = tiny.batches(4)
    assert screen(data, one, epochs=1)["Training", "length"] == "1 epoch of 1 step, batch 128"
    assert rows["Training", "expected"] == "1 s"
    assert rows["Training", "batches"].startswith("in memory")


def test_mixtures_a_limit_on_the_steps_and_views_are_told(data):
    rows = screen(data, mixup=0.2, cutmix=1.0, epochs=7, steps=1000)
    assert rows["Network", "augmentation"] == "mirrored left to right, padded and cropped, mixup, cutmix"
    assert rows["Training", "length"] == "7 epochs of 3 steps, 1,000 steps at most, batch 128"
    assert ("Network", "views") not in rows
    plan = plan_of()
    plan = dataclasses.replace(plan, input=dataclasses.replace(plan.input, views="flip"))
    given = (data, network(), tiny.batches(), Device(), ("expected", "1 s"))
    rows = rows_of(reporting.first_screen(plan, *given))
    assert rows["Network", "views"] == "each answer is averaged over the image and its mirror image"


def test_a_split_that_the_source_calls_val_is_told_once(data):
    assert screen(dataclasses.replace(data, test_name="val"))["Data", "samples"] == "12 train, 3 validation, 6 val"


@pytest.mark.parametrize(
    ("changes", "frozen", "rates"),
    [
        ({}, None, None),
        ({"freeze": "stem"}, "the stem, for the whole run", None),
        ({"freeze": "1"}, "the stem and stage 1, for the whole run", None),
        ({"freeze": "2"}, "the stem and stages 1 to 2, for the whole run", None),
        ({"freeze": "backbone", "head_epochs": 2}, "all but the head, for the whole run", None),
        ({"freeze": "3", "head_epochs": 2}, "all but the head, for the whole run", None),
        ({"head_epochs": 2}, "all but the head for the first 2 epochs", None),
        ({"head_epochs": 1.5}, "all but the head for the first 1.33 epochs", None),  # 4 steps of 3 an epoch
        ({"head_epochs": 2, "epochs": 2}, "all but the head for the first epoch", None),
        ({"head_epochs": 5, "epochs": 4}, "all but the head for the first 2 epochs", None),
        ({"head_epochs": 0.1}, None, None),
        ({"frozen_norms": True}, "the norms' statistics", None),
        ({"frozen_scales": True}, "the norms' scales", None),
        ({"rate_decay": 0.5}, None, "each part towards the image 0.5 times the one after it"),
    ],
)
def test_what_is_not_trained_or_more_slowly_is_told(data, changes, frozen, rates):
    rows = screen(data, **changes)
    assert rows.get(("Training", "frozen")) == frozen
    assert rows.get(("Training", "rates")) == rates


def test_the_weights_that_a_run_starts_from_are_told(data):
    start = Start("some.pth", "0123", "a state dict", ("one sentence", "another"))
    (section,) = [
        one
        for one in reporting.first_screen(
            plan_of(), data, network(), tiny.batches(), Device(), ("expected", "1 s"), start=start
        )
        if one.title == "Weights"
    ]
    assert section.rows == (
        ("origin", "some.pth"), ("recognized", "a state dict"), ("sha256", "0123"), ("", "one sentence"),
        ("", "another"),
    )  # fmt: skip


def test_unequal_classes_and_files_that_were_set_aside_are_told(data):
    fewer = tuple(sample for sample in data.samples if sample.name not in {"000", "003"})
    rejected = (Rejected("x.png", "is empty"), Rejected("y.png", "is truncated"))
    rows = screen(dataclasses.replace(data, samples=fewer, rejected=rejected))
    assert rows["Data", "a class"] == "2 to 4 training samples"
    assert rows["Data", "set aside"] == "2 files were set aside: 'x.png' is empty; 'y.png' is truncated"


def test_many_classes_are_not_all_listed(data):
    classes = tuple(f"c{number}" for number in range(20))
    assert screen(dataclasses.replace(data, classes=classes))["Data", "classes"].endswith("c7 and 12 more")


def test_scores_are_told_with_their_intervals():
    found = evaluated()
    rows = dict(reporting.score_rows(found))
    score = found.scores["accuracy"]
    assert rows["accuracy"] == (
        f"{100 * score.value:.2f} %, 95 % interval {100 * score.low:.2f} to {100 * score.high:.2f} %"
    )
    assert "top-5 accuracy" not in rows
    assert "calibration error" in rows


def test_the_last_screen_tells_the_score_and_the_next_command(tmp_path):
    result = Result(tmp_path, "val", 6, evaluated(), plan_of())
    rows = dict(reporting.last_screen(result, finished()).rows)
    assert rows["scored on"] == "6 samples of val, once, with the weights of epoch 2"
    assert rows["training"] == "80 s, 5.0 % waiting for data"
    assert rows["report"] == str(tmp_path / "report.html")
    assert rows["next"] == f"plusx predict {tmp_path} IMAGE ..."


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5940, "99 min"), (6000, "1 h 40 min")]
)
def test_durations_are_told_as_people_do(seconds, words, tmp_path):
    progress = finished()
    progress.seconds = seconds
    rows = dict(reporting.last_screen(Result(tmp_path, "test", 6, None, plan_of()), progress).rows)
    assert rows["training"].split(",")[0] == words


def test_the_environment_names_versions_and_device():
    found = reporting.environment(Device())
    assert found["torch"] == torch.__version__.split("+")[0] or found["torch"] == torch.__version__
    assert found["device"] == Device().describe()
    assert found["kernels"] == kernels.identity()
    assert re.match(r"3\.\d+", found["python"])


def test_a_package_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(reporting, "PACKAGES", ("no-such-package-at-all",))
    assert reporting.versions()["no-such-package-at-all"] == "not installed"
