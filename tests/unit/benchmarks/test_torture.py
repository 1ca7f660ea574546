"""A small deterministic part of the torture bench, and that the bench notices a saver that is broken."""

import dataclasses
import itertools
import random
import shutil
import signal
from pathlib import Path

import pytest

from plusx import plan
from plusx.inputs.batch_augment import POLICIES
from plusx.inputs.views import VIEWS
from plusx.tasks.classification import LOSSES
from plusx.training.recipe import CHOICES, Recipe

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


# Fields of a run's parts that no cell needs to set, each with the reason.
NEEDS_NO_INGREDIENT = {
    "the recipe's own bookkeeping: its name, and maps of fields that stand here themselves": {
        "name", "from_data", "input", "task", "architecture",
    },
    "used up before the first step, when the plan is made": {"warmup_blocks"},
    "which samples there are, and where: the data's sums are in every state": {
        "source", "data_root", "download", "strict", "limit_samples", "classes",
    },
    "how a file becomes pixels, the same for every epoch": {
        "channels", "fit", "crop_fraction", "interpolation", "rounded", "max_pixels",
    },
    "what the model's name stands for: weights, all of which are in every state": {
        "paper", "stem", "block", "depths", "widths", "shortcut", "zero_init_residual", "channels_in", "stem_width",
        "transition", "attention", "attention_reduction", "groups", "width_per_group", "compression", "pooling",
        "output_scale", "initial_weights", "dims", "published",
    },
    "takes a GPU": {"device"},
    "takes several processes: tests/end_to_end/test_ranks.py and benchmarks/ranks.py": {"sync_batch_norm"},
}  # fmt: skip
PARTS = (*plan.PARTS.values(), plan.Run)


@pytest.fixture
def told(torture):
    """What the cells say: each option, as the field that it sets, and the word that follows it."""
    cells = torture["cells"]
    found = set()
    for cell in (*cells.cells(compiled=False), *cells.cells(compiled=True)):
        words = cell.command(Path("photos"), Path("weights"), Path("out"), "name")
        found |= {
            (word.removeprefix("--").removeprefix("no-").replace("-", "_"), following)
            for word, following in itertools.pairwise(words)
            if word.startswith("--")
        }
    return found


def unset(kinds, told):
    """Fields that no cell sets and that are not excused."""
    fields = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    own = {field for field, _ in told} | {"height", "width"}  # by --image-size
    return fields - own - set().union(*NEEDS_NO_INGREDIENT.values())


def test_every_field_that_changes_training_is_set_by_an_ingredient(told):
    assert unset(PARTS, told) == set()


def test_a_field_of_the_recipe_that_has_no_ingredient_is_noticed(told):
    later = dataclasses.make_dataclass("Later", [("shrinking", float, 0.0)], bases=(Recipe,), frozen=True)
    assert unset([later], told) == {"shrinking"}
    without = {(field, value) for field, value in told if field != "last_size"}
    assert unset(PARTS, without) == {"last_size"}


def test_no_excuse_is_out_of_date(told):
    fields = {field.name for kind in PARTS for field in dataclasses.fields(kind)}
    excused = [name for names in NEEDS_NO_INGREDIENT.values() for name in names]
    assert len(excused) == len(set(excused))
    assert set(excused) <= fields
    assert {field for field, _ in told} & set(excused) <= {"name"}  # also an option: the run's


def test_every_choice_is_made_by_an_ingredient(told):
    choices = {**CHOICES, "loss": LOSSES, "policy": POLICIES, "views": VIEWS}
    kinds = {field.name: field for kind in plan.PARTS.values() for field in dataclasses.fields(kind)}
    for name, words in choices.items():
        others = {word for word in words if word != kinds[name].default}
        assert {word for word in others if (name, word) not in told} == set(), name


def test_every_ingredient_meets_two_threads_eager_and_compiled(torture):
    cells = torture["cells"]
    for compiled in (False, True):
        found = cells.cells(compiled=compiled)
        assert {cell.ingredient for cell in found if cell.threads == 2} == set(cells.INGREDIENTS)
        assert {(cell.precision, cell.threads) for cell in found} == {
            (precision, threads) for precision in cells.PRECISIONS for threads in (1, 2)
        }
        assert len({(cell.reference, cell.threads) for cell in found}) == len({cell.reference for cell in found})
        first, second = (cells.Cell("everything", precision, compiled) for precision in cells.PRECISIONS)
        words = first.command(Path("photos"), Path("weights"), Path("out"), "name")
        assert words[words.index("--threads") + 1] == str(first.threads)
        assert {first.threads, second.threads} == {1, 2}


def test_an_unbroken_run_in_which_nothing_was_mended_is_a_failure(benchmark, tmp_path, monkeypatch):
    torture = benchmark("torture")

    class Ended:
        def __init__(self, *_):
            pass

        def wait(self):
            return 0

    monkeypatch.setattr(torture, "Child", Ended)
    for name in ("skip", "plain"):
        cell = torture.Cell(name, "float32")
        (tmp_path / cell.reference).mkdir()
        log = tmp_path / cell.reference / "log.txt"
        log.write_text("all is well", encoding="utf-8")
        assert ("nothing was mended" in torture.unbroken(cell, tmp_path, tmp_path)) == (name == "skip")
        log.write_text("step 2: the step is left out", encoding="utf-8")
        assert torture.unbroken(cell, tmp_path, tmp_path) == ""


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
