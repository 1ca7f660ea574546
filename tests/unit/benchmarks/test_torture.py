"""A small deterministic part of the torture bench, and that the bench notices a saver that is broken."""

import random
import shutil
import signal
from pathlib import Path

import pytest

STRACE = shutil.which("strace")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("torture")


@pytest.fixture
def torture(benchmark):
    """The modules of the bench, by name; all, because they load one another."""
    names = ("processes", "cells", "damage", "kills", "faults")
    return {name: benchmark(f"torture_{name}") for name in names}


@pytest.fixture
def begun(torture, work):
    """Pictures, and the two unbroken runs that others are held against."""
    cells = torture["cells"]
    photos = work / "photos"
    if not photos.exists():
        cells.make_photos(photos)
        for cell in (cells.Cell("plain", "float32"), cells.Cell("average", "float32")):
            assert start(torture, cell, photos, work, cell.reference).wait() == 0
    return photos


def start(torture, cell, photos, work, name, **more):
    weights = work / "plain-float32" / "weights" / "best.safetensors"
    words = cell.command(photos, weights, work, name)
    return torture["processes"].Child(words, work / f"{name}.log", cold=True, **more)


def test_every_damage_to_a_state_is_noticed(torture, tmp_path):
    import torch

    from plusx.tensor_file import write_tensors

    state = tmp_path / "000001.safetensors"
    write_tensors(state, "state", {"step": 1}, {name: torch.randn(40, 50) for name in "abc"})
    noticed, wrong = torture["damage"].corruptions(state, 210, tmp_path)
    assert wrong == []
    assert noticed.total() == 210
    assert set(noticed) == {damage.__name__ for damage in torture["damage"].DAMAGES}


def test_damage_that_is_not_noticed_is_a_failure(torture, tmp_path, monkeypatch):
    (tmp_path / "state").write_bytes((512).to_bytes(8, "little") + random.Random(0).randbytes(4096))
    monkeypatch.setattr(torture["damage"], "read_tensors", lambda path, kind: ({}, {}))
    noticed, wrong = torture["damage"].corruptions(tmp_path / "state", 14, tmp_path)
    assert (noticed.total(), len(wrong)) == (0, 14)


def test_the_matrix_has_every_ingredient_with_every_circumstance(torture):
    fields = torture["cells"].cells(compiled=False)
    assert len(fields) == len(set(fields)) == 8 * len(torture["cells"].INGREDIENTS)
    known = {name for cell in fields for name in (cell.ingredient,)}
    for part in ("average", "lookahead", "plateau", "one-cycle", "early-stopping", "mixup", "cutmix", "growing"):
        assert part in known
    assert len({cell.reference for cell in fields}) == 2 * len(torture["cells"].INGREDIENTS)


def test_what_strace_recorded_is_read_up_to_the_end_of_the_save(torture, tmp_path):
    record = tmp_path / "record"
    record.write_text('openat(AT_FDCWD, "/run/state") = 3\nwrite(3</run/a>, "x", 1) = 1\ngetppid() = 1\nclose(3) = 0\n')
    calls = torture["processes"].calls_of(record)
    assert [name for name, _ in calls] == ["openat", "write"]
    assert "/run/a" in calls[1][1]
    assert torture["processes"].reached_end(record)
    record.write_text("write(3</run/a>) = ?\n+++ killed by SIGKILL +++\n")
    assert not torture["processes"].reached_end(record)


@pytest.mark.slow
@pytest.mark.skipif(STRACE is None, reason="needs strace")
def test_kills_and_failing_system_calls_in_earnest(torture, begun, work):
    counts, wrong = torture["kills"].chain(5, begun, work, ["plain-float32", "average-float32"])
    assert wrong == []
    assert counts["kills"] >= 1
    faults = torture["faults"]
    run = faults.killed_run(begun, work)
    found = faults.faults(run, work)
    assert {"openat", "write", "fsync", "rename", "close"} <= {fault.call for fault in found}
    for number, fault in enumerate(random.Random(0).sample(found, 6)):
        took, problem = faults.bears(number, fault, run, work)
        assert problem == ""
        assert took


@pytest.mark.slow
def test_a_killed_cell_passes_and_one_that_differs_does_not(torture, begun, work):
    cell = torture["cells"].Cell("average", "float32")
    assert torture["cells"].passes(cell, 2, begun, work) == ""
    metrics = work / cell.reference / "metrics.jsonl"
    text = metrics.read_text()
    metrics.write_text(text.replace('"step": 5', '"step": 6'))
    assert torture["cells"].passes(cell, 2, begun, work) == "differs from the unbroken run: metrics"
    metrics.write_text(text)


def test_a_process_that_takes_too_long_is_killed(torture, tmp_path):
    child = torture["processes"].Child(["--help"], tmp_path / "log", cold=True)
    assert child.kill_after(0) == -signal.SIGKILL
    assert not (Path(tmp_path) / "runs").exists()
