"""A run that is stopped or killed anywhere, and resumed, ends with the bits of the unbroken run."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image

from plusx import experiment, run_state, sitting
from plusx.checkpoint import Checkpoint
from plusx.cli import main
from plusx.errors import StorageError
from plusx.run_folder import RunFolder
from plusx.run_state import states
from plusx.tensor_file import read_tensors

RUN = ["--epochs", "4", "--limit-samples", "400", "--batch-size", "16", "--threads", "1", "--average-decay", "0.9"]
STEPS = 25


def command(out: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "plusx", "train", "digits", "--out", str(out), *RUN, *words]


def epoch_of(file: Path) -> int:
    return Checkpoint.load(file).provenance["epoch"]


def weights(run: Path, name: str) -> dict[str, torch.Tensor]:
    return dict(Checkpoint.load(run / "weights" / f"{name}.safetensors").weights)


def assert_same_bits(run: Path, other: Path) -> None:
    for name in ("last", "best"):
        ours, theirs = weights(run, name), weights(other, name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name


def state_step(run: Path) -> int:
    """Return the step of the newest saved state."""
    header, _ = read_tensors(states(RunFolder(run))[0], "state")
    return header["progress"]["step"]


def stop_at(process: "subprocess.Popen[bytes]", run: Path, number: int, seconds: float) -> None:
    """Send a signal some time after the first state was saved."""
    deadline = time.monotonic() + 120
    while not run.exists():
        assert process.poll() is None, "the run ended before it saved a state"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(number)
    process.wait(60)


@pytest.fixture(scope="module", params=[pytest.param("float32", marks=pytest.mark.slow), "bfloat16"])
def unbroken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp("unbroken")
    assert main(command(out, "--precision", request.param)[3:]) == 0
    return request.param, out / "digits-1"


# A signal that asks to stop is sent by default too, to a script below and to one of several ranks.
@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow), (signal.SIGKILL, -9)]
)
def test_a_stopped_run_resumes_to_the_same_bits(
    unbroken: tuple[str, Path], number: int, code: int, tmp_path: Path
) -> None:
    precision, whole = unbroken
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command(tmp_path, "--precision", precision, "--save-minutes", "0.0001"),
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    run = tmp_path / "digits-1"
    stop_at(process, run, number, random.random() * 0.3)
    assert process.returncode == code
    assert 0 < state_step(run) < 4 * STEPS
    assert main(["resume", str(run)]) == 0
    assert_same_bits(run, whole)


SCRIPT = """
import sys, plusx
try:
    options = {"image_size": 16, "batch_size": 2, "epochs": 1000, "workers": 2, "threads": 1, "compile": "off"}
    plusx.train(sys.argv[1], model="resnet20", out=sys.argv[2], **options)
except plusx.errors.Stopped as error:
    kept = error  # as a notebook does: its traceback holds what was at work
    print(error)
"""


def test_a_script_that_is_stopped_ends_though_it_keeps_the_error(
    image_folder: Callable[[Mapping[str, int]], Path], tmp_path: Path
) -> None:
    photos = image_folder({"a": 60, "b": 60})
    Image.new("RGB", (20, 16)).save(photos / "a" / "000.png")  # of two sizes, so workers read them
    said = tmp_path / "said"
    with said.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(photos), str(tmp_path / "runs")], stdout=out, stderr=subprocess.DEVNULL
        )
    try:
        stop_at(process, tmp_path / "runs" / "pictures-1", signal.SIGTERM, 1.0)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "stopped by SIGTERM" in said.read_text()


def test_a_torn_state_falls_back_to_the_one_before(unbroken: tuple[str, Path], tmp_path: Path) -> None:
    precision, whole = unbroken
    process = subprocess.Popen(
        command(tmp_path, "--precision", precision, "--save-minutes", "0.0001"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    run = tmp_path / "digits-1"
    deadline = time.monotonic() + 120
    while not (run / "state" / "000003.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.wait(60)
    newest = states(RunFolder(run))[0]
    newest.write_bytes(newest.read_bytes()[:-100])
    (run / "metrics.csv").write_text("half a ta")
    with (run / "log.txt").open("a") as log:
        log.write("half a li")
    assert main(["resume", str(run)]) == 0
    assert_same_bits(run, whole)
    log_text = (run / "log.txt").read_text(encoding="utf-8")
    assert f"{newest.name!s}" in log_text
    assert "going on from the state before it" in log_text
    assert "half a li" not in log_text
    assert "going on from the state before it" in (run / "report.html").read_text(encoding="utf-8")
    assert metrics(run) == metrics(whole)
    for name in ("predictions.csv", "scores.json", "per_class.csv", "splits.csv"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def metrics(run: Path) -> list[dict[str, float]]:
    """Return the rows of an unbroken and of a resumed run that are to be the same: all but times."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in row.items() if name not in {"seconds", "waiting"}} for row in rows]


def test_a_run_resumes_under_the_same_arithmetic_or_with_anyway(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(command(tmp_path)[3:]) == 0
    run, real = tmp_path / "digits-1", run_state.arithmetic
    monkeypatch.setattr(run_state, "arithmetic", lambda device: {**real(device), "torch": "1.0", "threads": "7"})
    capsys.readouterr()
    assert main(["resume", str(run)]) == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "-> 1.0, threads 1 -> 7; resume it as it was, or accept other bits: plusx resume" in said
    assert main(["resume", str(run), "--anyway"]) == 0
    for file in ("log.txt", "report.html"):
        assert "resumed with --anyway" in (run / file).read_text(encoding="utf-8")


def test_a_disk_without_room_is_said_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=5_000_000))
    monkeypatch.setattr(experiment.Batches, "load", lambda _: pytest.fail("images were read before"))
    assert main(command(tmp_path)[3:]) == 5
    assert "has 5.0 MB free, but the run needs" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_save_that_fails_within_an_epoch_is_said_once_and_borne(
    unbroken: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precision, whole = unbroken
    real, calls = run_state.write_tensors, []

    def failing(path: Path, *rest: object) -> None:
        calls.append(path)
        if 3 <= len(calls) <= 5:
            raise StorageError(f"could not write {str(path)!r}: no space is left on the disk")
        real(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(run_state, "write_tensors", failing)
    words = ["--precision", precision, "--save-minutes", "0.00001"]
    assert main(command(tmp_path, *words)[3:]) == 0
    run = tmp_path / "digits-1"
    assert_same_bits(run, whole)
    text = (run / "log.txt").read_text(encoding="utf-8")
    assert text.count("training goes on, and the next save tries again") == 1


def test_a_resumed_run_keeps_its_notes_and_its_clock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "resnet18", "--epochs", "1", "--limit-samples", "60", "--threads", "1", "--out", str(tmp_path)]
    assert main(["train", "digits", *words, "--json"]) == 0
    before = json.loads(capsys.readouterr().out)
    assert main(["resume", str(tmp_path / "digits-1"), "--json"]) == 0
    after = json.loads(capsys.readouterr().out)
    assert any("resnet20 is the better model" in note for note in before["notes"])
    assert after["notes"] == before["notes"]
    assert after["scores"] == before["scores"]
    assert after["seconds"]["training"] == before["seconds"]["training"]
    assert after["seconds"]["total"] > before["seconds"]["training"]


def test_resuming_a_finished_run_scores_it_again(unbroken: tuple[str, Path]) -> None:
    _, whole = unbroken
    before = (whole / "predictions.csv").read_bytes()
    assert main(["resume", str(whole)]) == 0
    assert (whole / "predictions.csv").read_bytes() == before


def test_a_lack_of_memory_is_no_reason_to_resume_with_other_ranks(
    unbroken: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(experiment, "_resumed", lacking)
    assert main(["resume", str(unbroken[1])]) == 1
    said = capsys.readouterr().err
    assert "end other programs, or resume it where there is more" in said
    assert "fewer" not in said


def test_changed_data_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path)[3:]) == 0
    run = tmp_path / "digits-1"
    splits = (run / "splits.csv").read_text(encoding="utf-8").splitlines()
    (run / "splits.csv").write_text("\n".join(splits[:-1]) + "\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["resume", str(run)]) == 3
    assert "the data have changed" in capsys.readouterr().err


def test_a_process_that_dies_between_state_and_weights_finds_them_in_the_state(
    unbroken: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precision, whole = unbroken

    def dying(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sitting, "keep", dying)
        assert main(command(tmp_path, "--precision", precision)[3:]) == 130
    run = tmp_path / "digits-1"
    assert not (run / "weights" / "best.safetensors").exists()
    seen: list[tuple[bool, int]] = []

    def watched(one: sitting.Sitting, progress: sitting.Progress, folder: RunFolder) -> None:
        again(one, progress, folder)
        seen.append((progress.improved, epoch_of(folder.best)))

    again = sitting.keep_again
    monkeypatch.setattr(sitting, "keep_again", watched)
    assert main(["resume", str(run)]) == 0
    assert seen == [(True, 1)]
    assert_same_bits(run, whole)


def test_best_weights_that_are_damaged_give_way_to_the_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    falling = iter((0.9, 0.8, 0.7, 0.6))
    monkeypatch.setattr(sitting, "quick_scores", lambda _: {"accuracy": next(falling), "loss": 1.0})
    assert main(command(tmp_path)[3:]) == 0
    run = tmp_path / "digits-1"
    best = run / "weights" / "best.safetensors"
    assert epoch_of(best) == 1
    content = bytearray(best.read_bytes())
    content[-1] ^= 1
    best.write_bytes(content)
    capsys.readouterr()
    assert main(["resume", str(run)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the weights of epoch 1, the best, are lost or damaged in" in said
    assert "those of the last epoch, 4, are kept and scored instead" in said
    assert epoch_of(best) == 4
    assert all(torch.equal(one, weights(run, "last")[name]) for name, one in weights(run, "best").items())
    assert "are lost or damaged" in (run / "report.html").read_text(encoding="utf-8")
