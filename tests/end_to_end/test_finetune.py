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
from plusx.request import request

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


@pytest.mark.parametrize(
    "epochs", [pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow), 3]
)
def test_a_run_goes_on_without_the_weights_to_the_same_bits(
    epochs: int, others: Path, weights: Path, tmp_path: Path
) -> None:
    whole = tuned(others, weights, tmp_path / "whole")
    copy = shutil.copy(weights, tmp_path / "copy.safetensors")
    options = {"epochs": 4, "batch_size": 8, "threads": 1, "weights": str(copy)}
    run = tmp_path / "broken" / "stopped"
    # The head is trained alone for two of the four.
    work = experiment.run(request(str(others), options=options), out=run.parent, name=run.name)
    for event in work:
        if isinstance(event, EpochEnded) and event.epoch == epochs:
            work.close()  # before the epoch's state is saved: it is trained again
            break
    copy.unlink()
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
        (["--norm", "fixup"], 2, "are of resnet20 with norm batch, but norm fixup was asked for; leave --norm out"),
        (["--norm", "none"], 2, "are of resnet20 with norm batch, but norm none was asked for; leave --norm out"),
        (["--shortcut", "C"], 2, "with shortcut zero_pad, but shortcut projection_always was asked for; leave --short"),
        (["--channels", "2"], 2, "are files; use --channels 1 or 3"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    words: list[str], code: int, sentence: str, photos: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(photos), "--weights", str(weights), "--dry-run", *words]) == code
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_weights_that_are_nowhere_are_one_sentence(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(photos), "--weights", "nowhere.pth", "--dry-run"]) == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "'nowhere.pth' do not exist; expected a file" in said
    assert "plusx weights list" in said


def test_a_recipe_for_trained_weights_without_any_is_warned_of(photos: Path) -> None:
    work = experiment.run(request(str(photos), options={"recipe": "finetune", "image_size": 32}), dry=True)
    events = list(work)
    assert any("there are no trained weights" in str(event) for event in events)
    assert "Weights" not in [event.title for event in events if isinstance(event, Section)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos without splits, and a run on them."""
    folder = tmp_path_factory.mktemp("whole")
    photos = make_photos(folder / "photos", {"": 8})
    words = ["--model", "resnet20", "--image-size", "16", "--epochs", "1", "--threads", "1", "--name", "base"]
    assert main(["train", str(photos), "--out", str(folder / "runs"), *words]) == 0
    return folder


@pytest.mark.parametrize(("seed", "told"), [("0", False), ("1", True)])
def test_test_samples_that_a_run_was_trained_on_are_told(
    seed: str, told: bool, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--weights", str(whole / "runs" / "base"), "--epochs", "1", "--threads", "1", "--seed", seed]
    assert main(["train", str(whole / "photos"), *words, "--out", str(tmp_path), "--name", "next"]) == 0
    shown = " ".join("".join(capsys.readouterr()).split())
    log = (tmp_path / "next" / "log.txt").read_text(encoding="utf-8")
    report = (tmp_path / "next" / "report.html").read_text(encoding="utf-8")
    for text in (shown, log, report):
        found = "test samples were in the training or validation split of the run that the weights come from" in text
        assert found is told


def test_a_config_with_other_weights_takes_their_network(whole: Path, weights: Path) -> None:
    file = whole / "runs" / "base" / "config.yaml"
    asked = request(str(whole / "photos"), config=file, options={"weights": str(weights)})
    work = experiment.run(asked, dry=True)
    try:
        while True:
            next(work)
    except StopIteration as end:
        plan = end.value.plan
    assert plan.input.mean == Checkpoint.load(weights).input.mean
    assert plan.input.height == 40
    assert plan.recipe.name == config(whole / "runs" / "base")["recipe"]["name"]


def test_more_head_epochs_than_half_are_told_as_they_are(
    photos: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--weights", str(weights), "--dry-run", "--epochs", "2", "--head-epochs", "9", "--freeze"]
    assert main(["train", str(photos), *words, "stem"]) == 0
    shown = " ".join("".join(capsys.readouterr()).split())
    assert "the stem, for the whole run; all but the head for the first epoch;" in shown
    assert main(["train", str(photos), *words, "3"]) == 0
    shown = " ".join("".join(capsys.readouterr()).split())
    assert "all but the head, for the whole run;" in shown
    assert "for the first" not in shown


@pytest.mark.parametrize("words", [["--recipe", "tutorial"], ["--image-size", "12"]])
def test_images_too_small_for_a_network_are_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "digits", "--model", "mnist_resnet", "--dry-run", *words]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "pixels are too small for mnist_resnet, which halves them until nothing is left" in said
    assert "use --image-size 16" in said
