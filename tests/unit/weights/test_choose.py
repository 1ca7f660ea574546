"""A trained network is named by an architecture and weights, a run, a checkpoint, other weights, or by publishers."""

import dataclasses

import pytest
import tiny
import torch

from plusx.errors import CheckpointError, UsageError
from plusx.events import Noted
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone, Network
from plusx.network.key_maps import KEY_MAPS
from plusx.weights.choose import choose


@pytest.fixture
def file(tmp_path):
    backbone = Backbone(ARCHITECTURES["resnet20"])
    network = Network(backbone, tiny.TASK.head(backbone))
    torch.save(KEY_MAPS["cifar"].to_theirs(network.state_dict()), tmp_path / "w.th")
    return tmp_path / "w.th"


@pytest.fixture
def run(tmp_path):
    (tmp_path / "runs" / "bars-1" / "weights").mkdir(parents=True)
    tiny.checkpoint().save(tmp_path / "runs" / "bars-1" / "weights" / "best.safetensors")
    return tmp_path / "runs" / "bars-1"


def chosen(first, weights=""):
    work, said = choose(first, weights), []
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            return end.value, said
        assert isinstance(event, Noted)
        said.append(event.text)


def test_a_run_or_its_checkpoint(run):
    for path in (run, str(run), run / "weights" / "best.safetensors"):
        found, said = chosen(path)
        assert found.file == run / "weights" / "best.safetensors"
        assert found.name == str(found.file)
        assert found.checkpoint.task.classes == tiny.CLASSES
        assert not found.numbered
        assert said == []


def test_an_architecture_with_weights(file):
    found, said = chosen("resnet20", file)
    assert (found.name, found.file, found.numbered) == (f"resnet20 with {file}", None, True)
    assert found.checkpoint.architecture == ARCHITECTURES["resnet20"]
    assert found.checkpoint.task.classes == ("0", "1", "2")
    assert said[0] == f"the weights {file} are a state dict of Y. Idelbayev's ResNet for CIFAR-10"
    assert "does not say how its images were prepared" in said[1]


def test_an_architecture_with_a_run_for_weights(run, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "tiny", dataclasses.replace(tiny.ARCHITECTURE, channels_in=3))
    found, _ = chosen("tiny", run)
    assert found.checkpoint.architecture == tiny.ARCHITECTURE
    assert found.checkpoint.task.classes == tiny.CLASSES


def test_foreign_weights_alone(file):
    found, said = chosen(file)
    assert (found.name, found.file) == (str(file), None)
    assert found.checkpoint.architecture == ARCHITECTURES["resnet20"]
    assert len(said) == 2


@pytest.mark.parametrize(
    ("first", "weights", "error", "why"),
    [
        ("resnet20", "", UsageError, "resnet20 is an architecture and has no weights of its own; add --weights FILE"),
        ("resnet2", "FILE", UsageError, "no model is called 'resnet2'; did you mean"),
        ("RUN", "FILE", UsageError, "brings its own weights; leave --weights out, or name an architecture instead"),
        ("resnet20:cifar10", "FILE", UsageError, "'resnet20:cifar10' brings its own weights"),
        ("resnet32", "FILE", CheckpointError, r"are of resnet20, not resnet32; name resnet20 \(--model resnet20\)$"),
        ("resnet20", "none.pth", CheckpointError, r"'none\.pth' do not exist; expected"),
        ("resnet20:mine", "", UsageError, "no published weights are called 'resnet20:mine'"),
        (
            "runs/none",
            "",
            CheckpointError,
            "'runs/none' does not exist; expected a run's folder, a checkpoint, a file of",
        ),
        ("nohere.pth", "", CheckpointError, r"'nohere\.pth' does not exist; expected a run's folder"),
        ("resnet18x", "", UsageError, "no model is called 'resnet18x'; did you mean 'resnet18'"),
        ("resnet18-a1-in1k", "", UsageError, "did you mean 'resnet18:a1-in1k'"),
    ],
)
def test_what_cannot_be_meant_is_said(first, weights, error, why, file, run):
    with pytest.raises(error, match=why):
        chosen(str(run) if first == "RUN" else first, file if weights == "FILE" else weights)


def test_a_path_that_is_called_as_an_architecture(run, file, monkeypatch):
    monkeypatch.chdir(run.parent)
    (run.parent / "bars-1").rename("resnet20")
    assert chosen("resnet20")[0].checkpoint.architecture == tiny.ARCHITECTURE
    assert chosen("resnet20", file)[0].checkpoint.architecture == ARCHITECTURES["resnet20"]


def test_a_checkpoint_that_diverged_gives_no_answers(tmp_path):
    checkpoint = tiny.checkpoint()
    key = "head.linear.bias"
    weights = {**checkpoint.weights, key: checkpoint.weights[key] * float("inf")}
    dataclasses.replace(checkpoint, weights=weights).save(tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"holds numbers that are not finite, in 'head\.linear\.bias'"):
        chosen(tmp_path / "x.safetensors")


def test_what_is_known_is_said_before_weights_without_a_head_are_refused(file):
    state = torch.load(file, weights_only=True)
    state["module.linear.1.weight"] = state.pop("module.linear.weight")
    del state["module.linear.bias"]
    torch.save(state, file)
    work = choose(file)
    said = []
    with pytest.raises(CheckpointError, match="have no head that plusx knows"):
        said.extend(event.text for event in work)
    said = []
    try:
        for event in choose(file):
            said.append(event.text)
    except CheckpointError:
        pass
    assert said[1].endswith("'linear.1.weight', is not of the form that plusx knows and is left out")
