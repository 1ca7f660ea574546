"""From a folder of pictures to predictions, as a user does it: train, evaluate, predict, show, the same again."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from file_zoo import make_file_zoo
from photos import CLASSES, make_photos, stripes

import plusx
from plusx.checkpoint import Checkpoint
from plusx.cli import main

SMALL = ["--batch-size", "16", "--threads", "1"]
QUICK = ["--epochs", "6", *SMALL]


def json_of(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    """Run a command with --json and return its one JSON value."""
    assert main([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def same_weights(first: Path, second: Path) -> bool:
    ours, theirs = Checkpoint.load(first).weights, Checkpoint.load(second).weights
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos", {"train": 40, "val": 8, "test": 12})


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "runs"
    assert main(["train", str(photos), "--out", str(out), *QUICK]) == 0
    return out / "photos-1"


def test_a_run_learns_and_its_folder_holds_everything(run: Path) -> None:
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    assert scores["scores"]["accuracy"]["value"] >= 0.9
    expected = {
        "config.yaml", "environment.json", "classes.json", "splits.csv", "rejected.csv", "log.txt", "metrics.csv",
        "metrics.jsonl", "predictions.csv", "scores.json", "per_class.csv", "confusion.csv", "report.html", "plots",
        "samples", "weights", "state",
    }  # fmt: skip
    assert expected <= {path.name for path in run.iterdir()}
    assert json.loads((run / "classes.json").read_text(encoding="utf-8")) == list(CLASSES)
    assert len(read_csv(run / "metrics.csv")) == 6
    assert {row["split"] for row in read_csv(run / "splits.csv")} == {"train", "validation", "test"}
    assert len(read_csv(run / "predictions.csv")) == 36
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "斜纹" in report
    assert "http://" not in report.replace("http://www.w3.org", "")


def test_the_config_of_a_run_trains_the_same_bits_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = json_of(capsys, "train", "--config", str(run / "config.yaml"), "--out", str(run.parent))
    assert again["run"] == str(run.parent / "photos-2")
    assert same_weights(run / "weights" / "last.safetensors", run.parent / "photos-2" / "weights" / "last.safetensors")


def test_evaluation_repeats_the_runs_own_score(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = json_of(capsys, "evaluate", str(run))
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    assert again["samples"] == 36
    assert again["scores"]["accuracy"] == scores["scores"]["accuracy"]
    assert again["scores"]["log_loss"]["value"] == pytest.approx(scores["scores"]["log_loss"]["value"], abs=1e-5)


def test_what_was_trained_on_is_left_out_and_counted(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = make_photos(tmp_path / "mixed", {"": 3}, first=5000)
    shutil.copy(photos / "train" / "flat" / "flat-000.png", mixed / "flat" / "copied.png")
    assert json_of(capsys, "evaluate", str(run), str(mixed))["samples"] == 9
    all_of_it = json_of(capsys, "evaluate", str(run), str(mixed), "--include-training")
    assert (all_of_it["samples"], all_of_it["left_out"]) == (10, 0)
    assert json_of(capsys, "evaluate", str(run), str(mixed))["left_out"] == 1


def test_prediction_agrees_with_evaluation_and_with_python(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {row["path"]: row for row in read_csv(run / "predictions.csv")}
    answers = json_of(capsys, "predict", str(run), str(photos / "test"), "--output", str(tmp_path / "answers.csv"))
    assert len(answers) == 36
    for answer in answers:
        row = rows[Path(answer["path"]).relative_to(photos).as_posix()]
        assert answer["class"] == row["predicted"]
        assert answer["probability"] == pytest.approx(float(row["probability"]), abs=1e-5)
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert len(read_csv(tmp_path / "answers.csv")) == 36
    picture = stripes(1, 9999)
    answer = plusx.load(run)(picture)[0]
    assert answer.class_name == "upright"


def test_a_class_missing_from_validation_changes_no_prediction(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = tmp_path / "photos"
    shutil.copytree(photos, fewer)
    shutil.rmtree(fewer / "test" / "flat")
    before = {row["path"]: row for row in read_csv(run / "predictions.csv")}
    result = json_of(capsys, "evaluate", str(run), str(fewer), "--output", str(tmp_path / "numbers"))
    assert result["samples"] == 24
    for row in read_csv(tmp_path / "numbers" / "predictions.csv"):
        assert row["predicted"] == before[row["path"]]["predicted"]
        assert float(row["probability"]) == pytest.approx(float(before[row["path"]]["probability"]), abs=1e-5)


def test_training_without_a_class_in_validation_keeps_the_classes(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = tmp_path / "photos"
    shutil.copytree(photos, fewer)
    shutil.rmtree(fewer / "val" / "flat")
    shutil.rmtree(fewer / "test" / "flat")
    result = json_of(capsys, "train", str(fewer), "--out", str(tmp_path / "runs"), "--epochs", "1", "--threads", "1")
    assert json.loads((Path(result["run"]) / "classes.json").read_text(encoding="utf-8")) == list(CLASSES)


def test_a_manifest_trains_like_a_folder(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(path, path.parent.name, path.parent.parent.name) for path in sorted(photos.glob("*/*/*.png"))]
    lines = [json.dumps({"path": str(path), "class": name, "split": split}) for path, name, split in rows]
    (tmp_path / "labels.jsonl").write_text("\n".join(lines), encoding="utf-8")
    result = json_of(
        capsys, "train", str(tmp_path / "labels.jsonl"), "--out", str(tmp_path / "runs"), *SMALL, "--epochs", "1"
    )
    assert (result["samples"], result["split"]) == (36, "test")


def test_the_best_epoch_is_chosen_on_validation(run: Path) -> None:
    rows = read_csv(run / "metrics.csv")
    scores = [(float(row["validation_accuracy"]), -float(row["validation_loss"])) for row in rows]
    assert Checkpoint.load(run).provenance["epoch"] == 1 + scores.index(max(scores))


def test_dry_run_writes_nothing(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = json_of(capsys, "train", str(photos), "--out", str(tmp_path / "runs"), "--dry-run")
    assert result["run"] is None
    assert not (tmp_path / "runs").exists()


def test_an_option_by_hand_changes_that_field_only(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json_of(capsys, "train", str(photos), "--recipe", "small", "--dry-run")["plan"]
    after = json_of(capsys, "train", str(photos), "--recipe", "small", "--epochs", "3", "--dry-run")["plan"]
    assert after["recipe"].pop("epochs") == 3
    before["recipe"].pop("epochs")
    assert after == before


def test_a_dry_run_shows_the_plan_and_what_was_changed_by_hand(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(photos), "--recipe", "small", "--epochs", "3", "--dry-run"]) == 0
    lines = {" ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    assert any(line.startswith("by hand epochs 3 (") for line in lines)
    assert "recipe.epochs 3" in lines
    assert "recipe.weight_decay 0.0005" in lines


def test_overfitting_a_batch_scores_on_it(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = json_of(
        capsys,
        "train",
        str(photos),
        "--out",
        str(tmp_path / "runs"),
        *SMALL,
        "--epochs",
        "30",
        "--overfit-batches",
        "2",
    )
    assert (result["split"], result["samples"]) == ("train", 32)
    assert result["scores"]["accuracy"]["value"] == 1


def test_the_file_zoo_trains_evaluates_and_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_photos(tmp_path / "zoo", {"": 12})
    zoo = make_file_zoo(source / "flat" / "zoo")
    broken = {
        f"flat/zoo/{name}" for name, one in zoo.items() if not one.readable and one.path.suffix and one.path.is_file()
    }
    assert len(broken) >= 4
    out = str(tmp_path / "runs")
    result = json_of(capsys, "train", str(source), "--out", out, "--epochs", "1", "--threads", "1")
    run = Path(result["run"])
    rejected = {row["path"]: row["reason"] for row in read_csv(run / "rejected.csv")}
    assert set(rejected) == broken
    assert all(rejected.values())
    log = (run / "log.txt").read_text(encoding="utf-8")
    assert all(name in log for name in broken)
    used = {row["path"] for row in read_csv(run / "splits.csv")}
    readable = {f"flat/zoo/{name}" for name, one in zoo.items() if one.readable}
    assert readable <= used
    assert not used & broken

    answers = json_of(capsys, "predict", str(run), str(source / "flat" / "zoo"))
    by_path = {Path(answer["path"]).relative_to(source).as_posix(): answer for answer in answers}
    assert {name for name, answer in by_path.items() if "error" in answer} == broken
    alone = plusx.load(run)
    for name in sorted(readable):
        assert alone(source / name)[0].probability == pytest.approx(by_path[name]["probability"], abs=1e-5)

    scored = json_of(capsys, "evaluate", str(run), str(source), "--include-training", "--output", str(tmp_path / "n"))
    assert scored["samples"] == len(used)
    for row in read_csv(tmp_path / "n" / "predictions.csv"):
        if row["path"] in by_path:
            assert row["predicted"] == by_path[row["path"]]["class"]
            assert float(row["probability"]) == pytest.approx(by_path[row["path"]]["probability"], abs=1e-5)


def test_broken_files_are_named_and_the_good_ones_predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Acceptance 6: 20 good images and 8 broken ones of different kinds."""
    source = tmp_path / "photos"
    for index in range(2):
        (source / CLASSES[index]).mkdir(parents=True)
        for number in range(10):
            stripes(index, number).save(source / CLASSES[index] / f"{number}.png")
    good = (source / "flat" / "0.png").read_bytes()
    stripes(0, 50).save(tmp_path / "whole.jpg")
    jpeg = (tmp_path / "whole.jpg").read_bytes()
    broken = {
        "empty.png": b"",
        "truncated.png": good[:-40],
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "header-only.png": good[:24],
        "text.jpg": b"this is no picture\n",
        "garbage.webp": b"RIFF\x10\x00\x00\x00WEBPVP8 " + b"\xff" * 30,
        "zeros.bmp": b"\0" * 500,
        "page.gif": b"<!DOCTYPE html><html></html>",
    }
    for name, content in broken.items():
        (source / "flat" / name).write_bytes(content)
    result = json_of(capsys, "train", str(source), "--out", str(tmp_path / "runs"), "--epochs", "1", "--threads", "1")
    rejected = {row["path"] for row in read_csv(Path(result["run"]) / "rejected.csv")}
    assert rejected == {f"flat/{name}" for name in broken}
    assert len(read_csv(Path(result["run"]) / "splits.csv")) == 20
    answers = json_of(capsys, "predict", result["run"], str(source))
    assert sum("class" in answer for answer in answers) == 20
    assert {Path(answer["path"]).name for answer in answers if "error" in answer} == set(broken)
    assert main(["train", str(source), "--out", str(tmp_path / "runs"), "--strict"]) == 3
    assert "empty.png" in capsys.readouterr().err
