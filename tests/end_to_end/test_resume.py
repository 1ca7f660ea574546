"""A run that is stopped or killed anywhere, and resumed, ends with the bits of the unbroken run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from plusx.checkpoint import Checkpoint
from plusx.cli import main
from plusx.tensor_file import read_tensors

RUN = ["--epochs", "4", "--limit-samples", "400", "--batch-size", "16", "--threads", "1", "--average-decay", "0.9"]
STEPS = 25


def command(out: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "plusx", "train", "digits", "--out", str(out), *RUN, *words]


def weights(run: Path, name: str) -> dict[str, torch.Tensor]:
    return dict(Checkpoint.load(run / "weights" / f"{name}.safetensors").weights)


def assert_same_bits(run: Path, other: Path) -> None:
    for name in ("last", "best"):
        ours, theirs = weights(run, name), weights(other, name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name


def state_step(run: Path) -> int:
    """Return the step of the newest saved state."""
    header, _ = read_tensors(run / "state" / "latest.safetensors", "state")
    return header["progress"]["step"]


def stop_at(process: "subprocess.Popen[bytes]", run: Path, number: int, seconds: float) -> None:
    """Send a signal some time after the first state was saved."""
    deadline = time.monotonic() + 120
    while not (run / "state" / "latest.safetensors").exists():
        assert process.poll() is None, "the run ended before it saved a state"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(number)
    process.wait(60)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def unbroken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp("unbroken")
    assert main(command(out, "--precision", request.param)[3:]) == 0
    return request.param, out / "digits-1"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
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


def test_a_torn_state_falls_back_to_the_one_before(unbroken: tuple[str, Path], tmp_path: Path) -> None:
    precision, whole = unbroken
    process = subprocess.Popen(
        command(tmp_path, "--precision", precision, "--save-minutes", "0.0001"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    run = tmp_path / "digits-1"
    deadline = time.monotonic() + 120
    while not (run / "state" / "previous.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait(60)
    state = run / "state" / "latest.safetensors"
    if state.exists():
        state.write_bytes(state.read_bytes()[:-100])
    assert main(["resume", str(run)]) == 0
    assert_same_bits(run, whole)
    if state.exists():
        assert "going on from the state before it" in (run / "log.txt").read_text(encoding="utf-8")


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


def test_changed_data_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path)[3:]) == 0
    run = tmp_path / "digits-1"
    splits = (run / "splits.csv").read_text(encoding="utf-8").splitlines()
    (run / "splits.csv").write_text("\n".join(splits[:-1]) + "\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["resume", str(run)]) == 3
    assert "the data have changed" in capsys.readouterr().err
