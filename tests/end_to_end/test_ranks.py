"""Several processes train and evaluate as one, by the command line; slow tests have torchrun itself start them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import ranked_work
import torch
from ranked import free_port, on_ranks

from plusx.checkpoint import Checkpoint
from plusx.tensor_file import read_tensors

RUN = [
    "--epochs", "2", "--limit-samples", "61", "--batch-size", "16", "--threads", "1", "--precision", "float32",
    "--average-decay", "0.9", "--stochastic-depth", "0.2", "--quiet",
]  # fmt: skip


HERE = ("--standalone", "--nproc-per-node=2")


def train(out: Path, *words: str) -> list[str]:
    return ["train", "digits", "--out", str(out), *RUN, *words]


def assert_same_bits(run: Path, other: Path) -> None:
    ours, theirs = (Checkpoint.load(one / "weights" / "last.safetensors").weights for one in (run, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (run / "predictions.csv").read_bytes() == (other / "predictions.csv").read_bytes()


@pytest.mark.parametrize("count", [2, 3])
def test_a_prime_number_of_samples_is_answered_as_by_one_process(count):
    ((names, alone),) = on_ranks(0, ranked_work.answers, 101)
    assert len(set(names)) == 101
    for others, found in on_ranks(count, ranked_work.answers, 101):
        assert others == names
        assert np.array_equal(found, alone)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    assert on_ranks(2, ranked_work.command, train(out), log=out) == [0, 0]
    return out / "digits-1"


def test_one_rank_names_the_run_writes_and_speaks(whole):
    out = whole.parent
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["digits-1"]
    assert (out / "0.out").read_text(encoding="utf-8").count("accuracy") > 1
    assert (out / "1.out").read_text(encoding="utf-8") == ""
    assert len((whole / "predictions.csv").read_text(encoding="utf-8").splitlines()) == 1 + 61
    assert len((whole / "metrics.csv").read_text(encoding="utf-8").splitlines()) == 1 + 2
    _, tensors = read_tensors(max((whole / "state").glob("0*.safetensors")), "state")
    assert not torch.equal(tensors["random_state"], tensors["rank1.random_state"])


def test_a_signal_to_one_rank_stops_all_and_they_resume_to_the_same_bits(whole, tmp_path):
    words = train(tmp_path, "--name", "stopped", "--save-minutes", "0.0001")
    run = tmp_path / "stopped"
    codes = on_ranks(2, ranked_work.command, words, signal.SIGTERM, str(run), log=tmp_path)
    assert codes == [143, 143]
    said = (tmp_path / "0.err").read_text(encoding="utf-8")
    assert said.count("stopped by SIGTERM") == 1
    assert f"go on with: torchrun --nproc-per-node 2 -m plusx resume {run}" in said
    assert "stopped" not in (tmp_path / "1.err").read_text(encoding="utf-8")
    log = (run / "log.txt").read_text(encoding="utf-8")
    assert "stopped by SIGTERM" in log
    assert on_ranks(0, ranked_work.command, ["resume", str(run)], log=tmp_path) == [4]
    assert "ranks 2 -> 1" in (tmp_path / "0.err").read_text(encoding="utf-8")
    assert on_ranks(2, ranked_work.command, ["resume", str(run), "--quiet"], log=tmp_path) == [0, 0]
    assert_same_bits(run, whole)


def test_after_a_killed_rank_the_other_says_so_and_both_resume_to_the_same_bits(whole, tmp_path):
    run = tmp_path / "killed"
    words = train(tmp_path, "--name", "killed", "--save-minutes", "0.0001")
    code, killed = on_ranks(2, ranked_work.killed, words, str(run), log=tmp_path)
    assert (code, killed) == (1, -signal.SIGKILL)
    said = (tmp_path / "0.err").read_text(encoding="utf-8")
    assert said.count("error:") == 1
    assert "another process of this run is gone without a word" in said
    assert "-m plusx resume goes on from the state last saved" in said
    assert "Traceback" not in said
    assert "error:" not in (tmp_path / "1.err").read_text(encoding="utf-8")
    assert not (run / "predictions.csv").exists()
    assert on_ranks(2, ranked_work.command, ["resume", str(run), "--quiet"], log=tmp_path) == [0, 0]
    assert_same_bits(run, whole)


def test_an_error_is_said_once_and_ends_all(tmp_path):
    words = [word if word != "16" else "3" for word in train(tmp_path)]
    codes = on_ranks(2, ranked_work.command, words, log=tmp_path)
    assert sorted(codes) in ([1, 2], [2, 2])
    said = [(tmp_path / f"{rank}.err").read_text(encoding="utf-8") for rank in range(2)]
    spoken = [text[text.index("error:") :] for text in said if "error:" in text]
    # Here, other than under torchrun, rank 0 holds the place where they meet: if it is gone first, the other cannot
    # know that it has spoken, and says the same.
    assert len(set(spoken)) == 1
    assert all(text.count("error:") == 1 for text in said if "error:" in text)
    assert "leaves some of 2 ranks fewer than 2" in spoken[0]


@pytest.mark.slow
def test_one_rank_is_as_no_torchrun_at_all(tmp_path):
    assert on_ranks(0, ranked_work.command, train(tmp_path, "--name", "plain"), log=tmp_path) == [0]
    assert on_ranks(1, ranked_work.command, train(tmp_path, "--name", "started"), log=tmp_path) == [0]
    assert_same_bits(tmp_path / "started", tmp_path / "plain")


def torchrun(*words: str, where: tuple[str, ...] = HERE) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "torch.distributed.run", *where, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_a_state(process: "subprocess.Popen[str]", run: Path, number: int = 4) -> None:
    deadline = time.monotonic() + 120
    while not any(int(state.stem) >= number for state in (run / "state").glob("[0-9]*.safetensors")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_rank_is_started_again_and_the_run_ends_with_the_same_bits(whole, tmp_path):
    words = train(tmp_path, "--name", "killed", "--save-minutes", "0.0001")
    process = torchrun("--max-restarts=3", "-m", "plusx", *words)
    wait_for_a_state(process, tmp_path / "killed")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert "gone without a word" in said
    assert [path.name for path in tmp_path.iterdir()] == ["killed"]
    assert "resuming" in (tmp_path / "killed" / "log.txt").read_text(encoding="utf-8")
    assert_same_bits(tmp_path / "killed", whole)


@pytest.mark.slow
def test_so_it_is_where_torchrun_started_one_on_each_of_two_machines(whole, tmp_path):
    where = ("--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{free_port()}")
    words = train(tmp_path, "--name", "killed", "--save-minutes", "0.0001")
    machines = [torchrun("--max-restarts=3", "-m", "plusx", *words, where=where) for _ in range(2)]
    for killed, number in ((machines[0], 4), (machines[1], 8)):
        wait_for_a_state(killed, tmp_path / "killed", number)
        children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text(encoding="utf-8").split()
        os.kill(int(children[-1]), signal.SIGKILL)
    for machine in machines:
        _, said = machine.communicate(timeout=200)
        assert machine.returncode == 0, said
    assert (tmp_path / "killed" / "log.txt").read_text(encoding="utf-8").count("resuming") >= 2
    assert_same_bits(tmp_path / "killed", whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_torchrun_saves_and_resumes_to_the_same_bits(whole, tmp_path, number):
    run = tmp_path / "stopped"
    process = torchrun("-m", "plusx", *train(tmp_path, "--name", "stopped", "--save-minutes", "0.0001"))
    wait_for_a_state(process, run)
    process.send_signal(number)
    _, said = process.communicate(timeout=100)
    assert "everything is saved" in said
    process = torchrun("-m", "plusx", "resume", str(run), "--quiet")
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert_same_bits(run, whole)


@pytest.mark.gpu
def test_each_rank_has_a_gpu_of_its_own(tmp_path):
    count = torch.cuda.device_count()
    words = train(tmp_path, "--device", "cuda", "--sync-batch-norm", "--name", "gpu")
    assert on_ranks(count, ranked_work.command, words, log=tmp_path) == [0] * count
    assert len((tmp_path / "gpu" / "predictions.csv").read_text(encoding="utf-8").splitlines()) == 1 + 61
