"""Files of weights: read whatever their suffix, refused where they ask to run something, and each error a sentence."""

import argparse
import collections
import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from plusx.errors import CheckpointError
from plusx.weights.files import CONFIG, NESTED, is_foreign, read_content

STATE = {"conv1.weight": torch.arange(8.0).reshape(2, 4), "count": torch.tensor(3)}


class Hostile:
    """What makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class Collected(collections.OrderedDict):
    """A container that the reader does not know."""


def saved(content, path, **options):
    torch.save(content, path, **options)
    return path


def pickled(content, path, protocol):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


HOSTILE_FILES = {
    "zip": saved,
    "zip, among tensors": lambda evil, path: saved({"state_dict": {**STATE, "more": [{"deep": evil}]}}, path),
    "legacy": lambda evil, path: saved(evil, path, _use_new_zipfile_serialization=False),
    "legacy, among tensors": lambda evil, path: saved(
        {"state_dict": {**STATE, "more": [{"deep": evil}]}}, path, _use_new_zipfile_serialization=False
    ),
    "pickle 0": lambda evil, path: pickled({"a": evil}, path, 0),
    "pickle 2": lambda evil, path: pickled({"a": evil}, path, 2),
    "pickle 4": lambda evil, path: pickled([evil], path, 4),
    "pickle 5": lambda evil, path: pickled({"a": evil}, path, 5),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
@pytest.mark.parametrize("form", HOSTILE_FILES)
def test_a_hostile_pickle_runs_nothing(form, suffix, tmp_path):
    made = tmp_path / "made"
    file = HOSTILE_FILES[form](Hostile(made), tmp_path / f"weights{suffix}")
    with pytest.raises(CheckpointError) as caught:
        read_content(file)
    assert not made.exists()
    assert len(str(caught.value).splitlines()) == 1
    if form != "pickle 0":
        assert "it was not opened and nothing was run" in str(caught.value)
    if form.startswith(("zip", "legacy")):
        assert "asks for 'posix.system'" in str(caught.value)


def test_the_hostile_pickle_of_these_tests_would_run(tmp_path):
    made = tmp_path / "made"
    file = saved({"a": Hostile(made)}, tmp_path / "weights.pth")
    torch.load(file, weights_only=False)
    assert made.exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("held", [argparse.Namespace(a=1), Collected(), torch.nn.Linear(1, 1)])
def test_more_than_tensors_is_refused(held, legacy, tmp_path):
    file = saved({"args": held, "state_dict": STATE}, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(
        CheckpointError,
        match=rf"asks for '[\w.]*{type(held).__name__}'.*nothing was run; where .*torch\.save\(model\.state_dict",
    ):
        read_content(file)


def same(content):
    return content.state.keys() == STATE.keys() and all(torch.equal(content.state[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".th", ".bin", ".tar", ".weights", ""])
def test_a_pickle_of_tensors_is_read(suffix, legacy, tmp_path):
    file = saved(STATE, tmp_path / f"w{suffix}", _use_new_zipfile_serialization=not legacy)
    assert same(read_content(file))
    ordered = saved(collections.OrderedDict(STATE), file, _use_new_zipfile_serialization=not legacy)
    assert same(read_content(ordered))


@pytest.mark.parametrize("name", NESTED)
def test_a_state_dict_inside_is_found(name, tmp_path):
    content = read_content(saved({"epoch": 3, "best": 0.5, name: STATE}, tmp_path / "w.pth"))
    assert same(content)
    assert bool(content.notes) is name.endswith("_ema")


def test_averaged_weights_come_first_and_that_is_said(tmp_path):
    other = {"conv1.weight": torch.zeros(2, 4)}
    content = read_content(saved({"state_dict": other, "state_dict_ema": STATE}, tmp_path / "w.pth"))
    assert same(content)
    assert content.notes == ("of 'w.pth' the averaged weights, 'state_dict_ema', are used",)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_safetensors_are_read_whatever_the_suffix(suffix, tmp_path):
    save_file(STATE, tmp_path / f"w{suffix}", metadata={"format": "pt"})
    content = read_content(tmp_path / f"w{suffix}")
    assert same(content)
    assert content.about == {"format": "pt"}


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_is_read_with_its_config(file, tmp_path):
    if file.endswith("bin"):
        saved(STATE, tmp_path / file)
    else:
        save_file(STATE, tmp_path / file)
    assert read_content(tmp_path).config == {}
    (tmp_path / CONFIG).write_text(json.dumps({"architecture": "resnet18"}))
    content = read_content(tmp_path)
    assert same(content)
    assert content.file == tmp_path / file
    assert content.config == {"architecture": "resnet18"}


@pytest.mark.parametrize(("text", "why"), [("{", "cannot be read as JSON"), ("[1]", "is no JSON object")])
def test_a_config_that_is_none_is_said(text, why, tmp_path):
    save_file(STATE, tmp_path / "model.safetensors")
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(CheckpointError, match=rf"config\.json' {why}.*mend it or remove it"):
        read_content(tmp_path)


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def zipped(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "text")
    return path


BIG = {"conv1.weight": torch.randn(40, 40)}


def written(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (
            lambda path: path / "none.pth",
            r"none\.pth' do not exist; expected a file \(\.safetensors, .*plusx weights list",
        ),
        (lambda path: written(path / "w.pth", b""), "are an empty file"),
        (lambda path: written(path / "w.pth", b"x"), "is damaged or holds no weights"),
        (lambda path: written(path / "w.pth", b"<html>not found</html>"), "is damaged or holds no weights"),
        (lambda path: written(path / "w.pth", b"\x80\x02rubbish"), "are damaged or incomplete"),
        (lambda path: written(path / "w.pth", b"PK\x03\x04rubbish"), "are damaged or incomplete"),
        (lambda path: zipped(path / "w.pth"), "are damaged or incomplete"),
        (lambda path: half(saved(BIG, path / "w.pth")), "are damaged or incomplete"),
        (
            lambda path: half(saved(BIG, path / "w.pth", _use_new_zipfile_serialization=False)),
            "are damaged or incomplete",
        ),
        (lambda path: (save_file(BIG, path / "w"), half(path / "w"))[1], "are damaged or incomplete"),
        (lambda path: saved([1, 2], path / "w.pth"), "holds a list; expected a state dict"),
        (lambda path: saved(torch.ones(2), path / "w.pth"), "holds a Tensor; expected a state dict"),
        (lambda path: saved({}, path / "w.pth"), "holds no tensors"),
        (lambda path: saved({"state_dict": {}}, path / "w.pth"), "holds no tensors"),
        (lambda path: saved({"epoch": 3}, path / "w.pth"), "holds an int under 'epoch'"),
        (
            lambda path: saved({"weights": collections.OrderedDict(STATE)}, path / "w.pth"),
            "holds an OrderedDict under 'weights'",
        ),
        (lambda path: saved({3: torch.ones(1)}, path / "w.pth"), "holds a Tensor under 3"),
        (lambda path: path, "holds no weights; expected a run's folder"),
    ],
)
def test_what_is_no_file_of_weights_is_one_sentence(make, why, tmp_path):
    with pytest.raises(CheckpointError, match=why) as caught:
        read_content(make(tmp_path))
    assert len(str(caught.value).splitlines()) == 1


def test_files_of_others_are_told_from_ours(tmp_path):
    save_file(STATE, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    save_file(STATE, tmp_path / "ours.safetensors", metadata={"plusx": "{}"})
    assert is_foreign(tmp_path / "theirs.safetensors")
    assert is_foreign(saved(STATE, tmp_path / "w.pth"))
    assert is_foreign(saved(STATE, tmp_path / "theirs"))
    assert not is_foreign(written(tmp_path / "empty.safetensors", b""))
    for ours in (tmp_path / "ours.safetensors", tmp_path, tmp_path / "none.pth", tmp_path / "none.safetensors"):
        assert not is_foreign(ours)
    (tmp_path / CONFIG).write_text("{}")
    assert is_foreign(tmp_path)
