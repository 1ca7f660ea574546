import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scripted import Scripted, samples_of

from plusx.data import workers
from plusx.data.batches import Batches
from plusx.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore::coverage.exceptions.CoverageWarning")


def made(folder, count=41, *, training=True, workers=2, **options):
    return Batches(
        samples_of(folder, count), Scripted(), batch_size=6, collate=torch.tensor, training=training, workers=workers,
        **options,
    )  # fmt: skip


def bits(batches, start=0):
    return [(batch.indices.tolist(), batch.images.flatten().tolist()) for batch in batches.epoch(1, start)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("start", [0, 4])
def test_a_worker_that_is_killed_is_replaced_and_no_bit_changes(tmp_path, training, start):
    expected = bits(made(tmp_path, training=training, workers=0), start)
    batches = made(tmp_path, training=training)
    (tmp_path / "kill").write_text("17 1")  # whoever reads sample 17 is killed, once
    assert bits(batches, start) == expected
    seen = {index for indices, _ in expected for index in indices}
    assert batches.replaced == (17 in seen)
    assert 17 in seen or start == 4


def test_all_workers_may_die_at_any_moment(tmp_path):
    expected = bits(made(tmp_path, workers=0))
    batches = made(tmp_path, workers=3)
    found = []
    for number, batch in enumerate(batches.epoch(1)):
        found.append((batch.indices.tolist(), batch.images.flatten().tolist()))
        if number % 2 == 0:
            for child in workers.multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)
    assert found == expected
    assert batches.replaced >= 3


def test_a_step_that_kills_every_worker_is_an_error_that_names_its_samples(tmp_path):
    batches = made(tmp_path)
    (tmp_path / "kill").write_text("17 99")
    with pytest.raises(DataError, match=r"a worker died 3 times, by SIGKILL, while it read .*'17'"):
        bits(batches)
    assert batches.replaced == 2
    assert workers.multiprocessing.active_children() == []


def test_pixels_go_through_the_pipe_where_memory_cannot_be_shared(tmp_path, monkeypatch):
    expected, real = bits(made(tmp_path)), workers.mmap.mmap

    def refused(*size, **private):
        if private:
            return real(*size, **private)
        raise OSError("no memory to share")

    monkeypatch.setattr(workers.mmap, "mmap", refused)
    (tmp_path / "kill").write_text("17 1")
    batches = made(tmp_path)
    assert bits(batches) == expected
    assert batches.replaced == 1


def test_more_workers_than_samples_do_no_harm(tmp_path):
    assert bits(made(tmp_path, count=3, workers=5)) == bits(made(tmp_path, count=3, workers=0))
    assert bits(made(tmp_path, count=0, workers=2)) == []


def test_batches_that_are_kept_are_not_overwritten(tmp_path):
    for training in (True, False):
        kept = [batch.images for batch in made(tmp_path, training=training).epoch()]
        fresh = [batch.images.clone() for batch in made(tmp_path, training=training).epoch()]
        assert all(map(torch.equal, kept, fresh))


ORPHANED = """
import os, sys, torch
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from scripted import Scripted, samples_of
from plusx.data.batches import Batches
from plusx.data import workers
options = {"batch_size": 6, "collate": torch.tensor, "training": True, "workers": 2}
batches = Batches(samples_of(Path(sys.argv[1]), 41), Scripted(), **options)
epoch = batches.epoch()
next(epoch)
print(*(child.pid for child in workers.multiprocessing.active_children()), flush=True)
os.kill(os.getpid(), 9)
"""


def test_workers_end_when_the_run_is_killed(tmp_path):
    samples_of(tmp_path, 41)
    tests = str(Path(__file__).parents[2])
    made_ = subprocess.run([sys.executable, "-c", ORPHANED, str(tmp_path), tests], capture_output=True, check=False)
    assert made_.returncode == -signal.SIGKILL, made_.stderr
    pids = [int(word) for word in made_.stdout.split()]
    assert len(pids) == 2
    until = time.monotonic() + 10
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < until, "they outlive the run"
        time.sleep(0.02)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Stubborn(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def test_an_error_that_cannot_travel_keeps_its_words():
    assert str(workers.portable(Stubborn("a", "b"))) == "Stubborn: a b"
    assert type(workers.portable(ValueError("x"))) is ValueError
    assert type(workers.portable(ValueError(lambda: None))) is RuntimeError


def test_endings_are_named():
    assert workers.ending(-signal.SIGSEGV) == "by SIGSEGV"
    assert workers.ending(-200) == "by signal 200"
    assert workers.ending(3) == workers.ending(3) == "with exit code 3"
    assert workers.ending(None) == "with exit code None"


def test_memory_is_held_for_a_few_steps(tmp_path):
    batches = made(tmp_path)
    reading = workers.Reading(batches.samples, batches.input, 0, 0, training=True)
    assert workers.shared_memory(reading, 6).shape == (workers.AHEAD, 6, 1, 1, 1)
    assert workers.shared_memory(reading, 0) is None
    assert workers.shared_memory(reading, 6).dtype == np.uint8
