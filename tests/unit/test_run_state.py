import dataclasses
import errno
from pathlib import Path

import pytest
import torch
from finished import finished, plan_of

from plusx import run_state
from plusx.arithmetic import arithmetic, differences
from plusx.data import Dataset, Sample
from plusx.data.split import write_splits
from plusx.device import Device
from plusx.errors import CheckpointError, DataError, StorageError
from plusx.run_folder import RunFolder
from plusx.run_state import Saves, check_same_data, read_state, save_state, space_needed, states
from plusx.start import Start
from plusx.tensor_file import write_tensors
from plusx.training import compilation

DEVICE = Device()


@pytest.fixture
def folder(tmp_path):
    made = RunFolder.create(tmp_path, "bars")
    made.publish()
    return made


@pytest.fixture
def progress():
    return finished()


def save(folder, progress, step, start=None):
    progress.step = step
    save_state(folder, plan_of(), progress, ("a note",), 12.5, DEVICE, start)


def names(folder):
    return sorted(path.name for path in folder.states.iterdir())


def test_a_state_comes_back_as_it_was(folder, progress):
    start = Start("resnet18.pth", "ab12", "a state dict", ("a new head",))
    save(folder, progress, 9, start)
    state = read_state(folder)
    assert (state.plan, state.notes, state.elapsed, state.start) == (plan_of(), ("a note",), 12.5, start)
    assert state.warnings == ()
    assert state.progress["step"] == 9
    values, tensors = progress.state_dict()
    assert state.progress == values
    assert state.tensors.keys() == tensors.keys()
    assert all(torch.equal(state.tensors[name], tensors[name]) for name in tensors)


def sample(name, target, split="train"):
    return Sample(name, lambda: None, target, split, sha256="a" * 64)


def test_data_in_another_order_or_with_another_label_are_other_data(folder):
    one, two = sample("1.png", 0), sample("2.png", 1)
    began = Dataset("d", "d", ("a", "b"), (one, two))
    write_splits(folder.splits, began)
    check_same_data(folder, began)
    with pytest.raises(DataError, match="their order is another one; put the data back"):
        check_same_data(folder, dataclasses.replace(began, samples=(two, one)))
    with pytest.raises(DataError, match="2 entries differ from its splits"):
        check_same_data(folder, dataclasses.replace(began, samples=(one, sample("2.png", 0))))


def test_two_states_are_kept_and_never_one_goes_before_the_next_is_there(folder, progress, monkeypatch):
    unlink, seen = Path.unlink, []
    monkeypatch.setattr(Path, "unlink", lambda path, **named: (seen.append(names(folder)), unlink(path, **named)))
    for step in (1, 2, 3, 4):
        save(folder, progress, step)
    assert names(folder) == ["000003.safetensors", "000004.safetensors"]
    assert [len(one) for one in seen] == [3, 3]
    assert read_state(folder).progress["step"] == 4


def test_an_old_state_that_cannot_be_removed_is_removed_later(folder, progress, monkeypatch):
    def refuse(*given, **named):
        raise OSError(errno.EIO, "")

    save(folder, progress, 1)
    save(folder, progress, 2)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", refuse)
        save(folder, progress, 3)
    assert len(states(folder)) == 3
    save(folder, progress, 4)
    assert names(folder) == ["000003.safetensors", "000004.safetensors"]


def test_damaged_states_are_said_and_put_aside_and_the_newest_whole_one_is_read(folder, progress):
    for step in (1, 2):
        save(folder, progress, step)
    newest = states(folder)[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    state = read_state(folder)
    assert state.progress["step"] == 1
    assert len(state.warnings) == 1
    assert "000002.safetensors' is damaged" in state.warnings[0]
    assert "going on from the state before it" in state.warnings[0]
    assert names(folder) == ["000001.safetensors", "damaged.safetensors"]
    save(folder, progress, 5)
    assert read_state(folder).warnings == ()
    assert names(folder) == ["000001.safetensors", "000002.safetensors", "damaged.safetensors"]


def test_without_a_whole_state_the_fix_is_named(folder, progress):
    with pytest.raises(CheckpointError, match=r"holds no saved state; .* train it anew: plusx train --config"):
        read_state(folder)
    save(folder, progress, 1)
    states(folder)[0].write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"000001.safetensors' is damaged.* train it anew"):
        read_state(folder)
    assert names(folder) == ["000001.safetensors"]


def test_a_folder_of_states_that_cannot_be_read_is_not_taken_for_an_empty_one(folder, progress, monkeypatch):
    def refuse(*given, **named):
        raise OSError(errno.EIO, "Input/output error")

    save(folder, progress, 1)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "iterdir", refuse)
        with pytest.raises(StorageError):
            save(folder, progress, 2)
        with pytest.raises(CheckpointError, match="cannot be read: Input/output error"):
            read_state(folder)
    assert names(folder) == ["000001.safetensors"]


@pytest.mark.parametrize("plan", [{}, {"run": {"wings": 2}}, {"run": {"source": "x", "model": "none"}}])
def test_a_state_of_another_plusx_is_one_sentence(folder, plan):
    header = {"plan": plan, "progress": {}, "arithmetic": [], "notes": [], "elapsed": 0, "start": None}
    write_tensors(folder.states / "000001.safetensors", "state", header, {})
    with pytest.raises(CheckpointError, match="cannot be understood by this plusx"):
        read_state(folder)


def test_what_the_bits_depend_on_is_kept_and_compared(folder, progress):
    save(folder, progress, 1)
    state = read_state(folder)
    assert state.expect_same_arithmetic(folder, DEVICE) == ""
    other = Device(threads=3, precision="bfloat16")
    with pytest.raises(CheckpointError, match=r"precision float32 -> bfloat16, threads 1 -> 3; .*--anyway"):
        state.expect_same_arithmetic(folder, other)
    said = state.expect_same_arithmetic(folder, other, anyway=True)
    assert said.endswith("(precision float32 -> bfloat16, threads 1 -> 3)")


def test_versions_instructions_and_settings_are_part_of_the_arithmetic(monkeypatch):
    before = arithmetic(DEVICE)
    assert {"plusx", "torch", "numpy", "instructions", "hardware", "threads"} <= before.keys()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert differences([before], [arithmetic(DEVICE)]) == ["ONEDNN_MAX_CPU_ISA unset -> AVX2"]
    assert "threads" not in arithmetic(Device("cuda:0"))


def test_what_differs_is_said_with_the_ranks_on_which_it_does():
    then = [{"torch": "1", "kernels": "on"}] * 3
    assert differences(then, then) == []
    assert differences(then, [{"torch": "2", "kernels": "on"}] * 3) == ["torch 1 -> 2"]
    now = [then[0], {"torch": "1", "kernels": "off"}, {"torch": "2", "kernels": "off"}]
    assert differences(then, now) == ["kernels on -> off (rank 1, 2)", "torch 1 -> 2 (rank 2)"]
    assert differences(then, [{"torch": "2", "kernels": "on"}] * 2) == ["torch 1 -> 2"]


def test_compiled_code_depends_on_its_compiler(monkeypatch):
    compilation.identity.cache_clear()
    assert arithmetic(DEVICE)["compiled"] == "no"
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("TORCHINDUCTOR_FREEZING", "1")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "anywhere")
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    device = dataclasses.replace(DEVICE, compiled=True)
    assert arithmetic(device)["compiled"] == "by no no-such-compiler, TORCHINDUCTOR_FREEZING=1"
    compilation.identity.cache_clear()


def fail():
    raise StorageError("could not write 'x': no space is left on the disk", "free some", "leave")


def test_a_save_within_an_epoch_may_fail_a_few_times_in_a_row():
    saves = Saves(60)
    said = [saves.attempt(fail) for _ in range(run_state.BEARABLE)]
    assert said[0].startswith("could not write 'x': no space is left on the disk; free some; training goes on, and")
    assert said[1:] == ["", ""]
    with pytest.raises(StorageError):
        saves.attempt(fail)
    assert saves.attempt(lambda: None) == ""
    assert "training goes on" in saves.attempt(fail)
    with pytest.raises(StorageError):
        saves.save(fail)


def test_a_save_is_due_after_its_time_whether_the_last_one_failed_or_not():
    assert Saves(0.0).due
    saves = Saves(60)
    assert not saves.due
    saves.last -= 61
    assert saves.due
    saves.attempt(fail)
    assert not saves.due


def test_the_room_that_a_run_needs_is_about_what_it_takes(folder, progress):
    for step in (1, 2, 3):
        save(folder, progress, step)
    one = states(folder)[0].stat().st_size
    recipe = {"optimizer": "sgd"}
    needed = space_needed(plan_of(**recipe), progress.network, 1000, 100)
    assert 3 * one < needed < 3 * one + 30e6
    averaged = space_needed(plan_of(**recipe, average_decay=0.9), progress.network, 1000, 100)
    adam = space_needed(plan_of(optimizer="adam"), progress.network, 1000, 100)
    assert averaged == adam > needed


def test_the_room_that_a_run_needs_grows_with_the_rows_of_its_splits(tmp_path, progress):
    samples = tuple(sample(f"train/n01440764/{number:08}.jpg", 0) for number in range(1000))
    write_splits(tmp_path / "splits.csv", Dataset("bars", "here", ("a",), samples))
    size = (tmp_path / "splits.csv").stat().st_size
    more = space_needed(plan_of(), progress.network, 1000, 100) - space_needed(plan_of(), progress.network, 0, 100)
    assert size < more < 2 * size


def test_a_state_with_slow_weights_and_the_epochs_beginning_needs_more_space(progress):
    def needed(**recipe):
        return space_needed(plan_of(**recipe), progress.network, 1000, 100)

    assert needed(lookahead_steps=5) == needed(average_decay=0.9)
    weights = sum(one.numel() * one.element_size() for one in progress.network.state_dict().values())
    assert needed(not_finite="rollback") - needed() == 3 * 2 * weights
