"""Every ingredient of a recipe at once, with nothing held back for validation and a teacher, from data to answers."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from photos import make_photos

from plusx import experiment
from plusx.checkpoint import Checkpoint
from plusx.cli import main
from plusx.errors import DataError
from plusx.events import Advanced
from plusx.request import request

SMALL = {"model": "resnet20", "batch_size": 16, "threads": 1, "image_size": 16}
ALL: dict[str, Any] = {
    **SMALL, "validation": 0.0, "epochs": 4, "steps": 10, "optimizer": "lamb", "learning_rate": 0.01, "mixup": 0.4,
    "cutmix": 1.0, "repeats": 2, "first_size": 0.5, "growing": 0.6, "exact_statistics": 2, "bias_rate": 8.0,
    "frozen_scales": True,
    "lookahead_steps": 3, "average_decay": 0.9, "not_finite": "rollback", "loss": "binary_cross_entropy",
    "binary_threshold": 0.2, "flip": True, "alternating_flip": True, "erase": 0.3, "policy": "randaugment",
    "policy_magnitude": 5, "views": "shift", "stochastic_depth": 0.2,
}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos", {"train": 20, "test": 5})


@pytest.fixture(scope="module")
def teacher(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher")
    options = {**SMALL, "epochs": 2}
    return finished(photos, out, options)


def finished(photos: Path, out: Path, options: dict[str, Any]) -> Path:
    """Train to the end and return the run's folder."""
    for _ in experiment.run(request(str(photos), options=options), out=out):
        pass
    return out / "photos-1"


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def run(photos: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(photos, tmp_path_factory.mktemp("out"), {**ALL, "teacher": str(teacher)})


def test_it_ends_with_the_most_steps_and_keeps_the_last_weights(run: Path) -> None:
    found = rows(run / "metrics.csv")
    assert int(found[-1]["step"]) == 10
    assert not any(name.startswith("validation") for name in found[0])
    best, last = (Checkpoint.load(run / "weights" / f"{name}.safetensors").weights for name in ("best", "last"))
    assert all(torch.equal(best[name], last[name]) for name in last)
    assert not [row for row in rows(run / "splits.csv") if row["split"] == "validation"]


def test_the_checkpoint_remembers_the_views_and_evaluation_and_prediction_use_them(
    run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Checkpoint.load(run / "weights" / "last.safetensors").input.views == "shift"
    own = json.loads((run / "scores.json").read_text(encoding="utf-8"))["scores"]
    assert main(["evaluate", str(run), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["scores"]
    assert again["log_loss"]["value"] == pytest.approx(own["log_loss"]["value"], rel=1e-5)
    predictions = {row["path"]: row for row in rows(run / "predictions.csv")}
    files = sorted((photos / "test").rglob("*.png")) or sorted((photos / "test").rglob("*.jpg"))
    assert main(["predict", str(run), *map(str, files), "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert len(answers) == len(files) > 0
    for file, answer in zip(files, answers, strict=True):
        row = predictions[file.relative_to(photos).as_posix()]
        for name, probability in answer["probabilities"].items():
            written = next(float(value) for column, value in row.items() if column.endswith(name))
            assert probability == pytest.approx(written, abs=2e-4)


def test_a_run_with_every_ingredient_stopped_anywhere_ends_with_the_same_bits(
    run: Path, photos: Path, teacher: Path, tmp_path: Path
) -> None:
    """Left in the middle of an epoch after each step was saved; the torture bench does so by signals."""
    options = {**ALL, "teacher": str(teacher), "save_minutes": 1e-9}
    steps = 0
    work = experiment.run(request(str(photos), options=options), out=tmp_path)
    for event in work:
        steps += isinstance(event, Advanced) and event.activity.startswith("epoch ")
        if steps == 6:
            break
    work.close()
    for _ in experiment.resume(tmp_path / "photos-1"):
        pass
    ours, theirs = (
        Checkpoint.load(one / "weights" / "last.safetensors").weights for one in (tmp_path / "photos-1", run)
    )
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert json.loads((run / "scores.json").read_text(encoding="utf-8")) == json.loads(
        (tmp_path / "photos-1" / "scores.json").read_text(encoding="utf-8")
    )


def test_the_teacher_is_a_part_of_the_run(photos: Path, run: Path, teacher: Path, tmp_path: Path) -> None:
    taught = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    untaught = finished(photos, tmp_path, {**ALL, "steps": 1, "epochs": 1})
    alone = json.loads((untaught / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert taught["train_loss"] != pytest.approx(alone["train_loss"], rel=0.05)
    assert not (untaught / "teacher.json").exists()
    copied = tmp_path / "teacher.safetensors"
    shutil.copy(teacher / "weights" / "best.safetensors", copied)
    other = finished(photos, tmp_path / "other", {**SMALL, "epochs": 1, "teacher": str(copied)})
    shutil.copy(untaught / "weights" / "best.safetensors", copied)
    with pytest.raises(DataError, match=r"the teacher of the run .* has changed since it began; put the file back"):
        list(experiment.resume(other))


def test_a_batch_by_hand_is_told_its_rate(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(photos), "--recipe", "rsb-a2", "--model", "resnet20", "--batch-size", "32", "--dry-run"]
    assert main(command) == 0
    said = " ".join(" ".join(capsys.readouterr()).split())
    assert "0.005 for batches of 2,048; with 32 its like is --learning-rate 0.000625" in said
    assert main([*command, "--learning-rate", "0.001"]) == 0
    assert "for batches of 2,048" not in " ".join(capsys.readouterr())
