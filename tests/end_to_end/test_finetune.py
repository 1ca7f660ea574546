"""From trained weights to a network for other classes: the preprocessing goes along, what is frozen stays."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from photos import make_photos

from plusx import experiment
from plusx.checkpoint import Checkpoint
from plusx.cli import main
from plusx.events import EpochEnded, Section
from plusx.plan import request

QUICK = ["--epochs", "4", "--batch-size", "8", "--threads", "1"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos", {"train": 16, "val": 6, "test": 6})


@pytest.fixture(scope="module")
def weights(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose preprocessing is not what these photos would be given."""
    out = tmp_path_factory.mktemp("first")
    look = ["--image-size", "40", "--mean", "0.3,0.4,0.5", "--deviation", "0.2,0.25,0.3", "--crop-fraction", "0.8"]
    assert main(["train", str(photos), "--model", "resnet20", "--out", str(out), *look, *QUICK]) == 0
    return out / "photos-1" / "weights" / "best.safetensors"


@pytest.fixture
def others(photos: Path, tmp_path: Path) -> Path:
    """The same photos, of classes with other names."""
    folder = tmp_path / "others"
    shutil.copytree(photos, folder)
    for split in ("train", "val", "test"):
        for place, name in enumerate(sorted(path.name for path in (folder / split).iterdir())):
            (folder / split / name).rename(folder / split / f"kind-{place}")
    return folder


def tuned(source: Path, weights: Path, out: Path, *words: str) -> Path:
    assert main(["train", str(source), "--weights", str(weights), "--out", str(out), *QUICK, *words]) == 0
    (run,) = out.iterdir()
    return run


def config(run: Path) -> dict[str, dict[str, Any]]:
    return yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))


def test_the_weights_bring_architecture_preprocessing_and_recipe(others: Path, weights: Path, tmp_path: Path) -> None:
    run = tuned(others, weights, tmp_path / "runs", "--crop-fraction", "0.9")
    first, plan = Checkpoint.load(weights), config(run)
    assert (plan["run"]["model"], plan["run"]["recipe"], plan["run"]["weights"]) == (
        "resnet20",
        "finetune",
        str(weights),
    )
    for name in ("height", "width", "mean", "deviation", "fit"):
        assert plan["input"][name] == first.input.to_dict()[name], name
    assert plan["input"]["crop_fraction"] == 0.9
    found = Checkpoint.load(run)
    assert found.provenance["weights"]["origin"] == str(weights)
    assert len(found.provenance["weights"]["sha256"]) == 64
    assert found.provenance["weights"]["recognized"] == "a plusx checkpoint"
    log = (run / "log.txt").read_text(encoding="utf-8")
    report = (run / "report.html").read_text(encoding="utf-8")
    for text in (log, report):
        assert str(weights) in text
        assert found.provenance["weights"]["sha256"] in text
        assert "a new one" in text
    assert "crop_fraction 0.9 (0.8)" in log


def test_a_frozen_backbone_keeps_the_weights_bits(others: Path, weights: Path, tmp_path: Path) -> None:
    run = tuned(others, weights, tmp_path / "runs", "--freeze", "backbone")
    before = Checkpoint.load(weights).weights
    after = Checkpoint.load(run / "weights" / "last.safetensors").weights
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {name for name in before if name.startswith("backbone.")}


def test_a_run_goes_on_without_the_weights_to_the_same_bits(others: Path, weights: Path, tmp_path: Path) -> None:
    whole = tuned(others, weights, tmp_path / "whole")
    copy = shutil.copy(weights, tmp_path / "copy.safetensors")
    options = {"epochs": 4, "batch_size": 8, "threads": 1, "weights": str(copy)}
    for epochs in (1, 2, 3):  # the head is trained alone for two of the four
        work = experiment.run(request(str(others), options=options), out=tmp_path / "broken", name=f"after-{epochs}")
        for event in work:
            if isinstance(event, EpochEnded) and event.epoch == epochs:
                work.close()  # before the epoch's state is saved: it is trained again
                break
    copy.unlink()
    for run in (tmp_path / "broken").iterdir():
        assert main(["resume", str(run)]) == 0
        for name in ("last", "best"):
            ours, theirs = (Checkpoint.load(one / "weights" / f"{name}.safetensors") for one in (run, whole))
            assert all(torch.equal(ours.weights[key], theirs.weights[key]) for key in theirs.weights)
            assert ours.provenance["weights"]["sha256"] == theirs.provenance["weights"]["sha256"]
        assert str(copy) in (run / "report.html").read_text(encoding="utf-8")


def test_classes_with_the_same_names_keep_their_head(photos: Path, weights: Path, tmp_path: Path) -> None:
    run = tuned(photos, weights, tmp_path / "runs", "--learning-rate", "1e-9", "--average-decay", "0")
    before, after = Checkpoint.load(weights), Checkpoint.load(run)
    torch.testing.assert_close(after.weights["head.linear.weight"], before.weights["head.linear.weight"])


def test_a_dry_run_shows_all_and_writes_nothing(
    others: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--weights", str(weights), "--dry-run", "--out", str(tmp_path / "runs")]
    assert main(["train", str(others), *words, "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["plan"]["recipe"]["name"] == "finetune"
    for text in ("Weights", "a plusx checkpoint", "all but the head for the first", "the norms' statistics"):
        assert text in shown.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--freeze", "7"], 2, "freeze is '7', but the network has a stem and 3 stages"),
        (["--freeze", "all"], 2, "freeze is 'all', but must be none, stem, backbone, or a number"),
        (["--model", "resnet18"], 2, "are those of resnet20, but --model is resnet18"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    words: list[str], code: int, sentence: str, photos: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(photos), "--weights", str(weights), "--dry-run", *words]) == code
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_weights_that_are_nowhere_are_one_sentence(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(photos), "--weights", "nowhere.pth", "--dry-run"]) in (2, 4)
    assert "nowhere.pth" in capsys.readouterr().err


def test_a_recipe_for_trained_weights_without_any_is_warned_of(photos: Path) -> None:
    work = experiment.run(request(str(photos), options={"recipe": "finetune", "image_size": 32}), dry=True)
    events = list(work)
    assert any("there are no trained weights" in str(event) for event in events)
    assert "Weights" not in [event.title for event in events if isinstance(event, Section)]
