"""Weights are written for others, in files of tensors only, and never over another file."""

import dataclasses

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from plusx.checkpoint import Checkpoint
from plusx.errors import CheckpointError, StorageError, UsageError
from plusx.events import result_of
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone, Network
from plusx.tasks.classification import ClassificationHead
from plusx.weights.convert import FORMATS, WRITERS, convert, notes_on
from plusx.weights.read import read_weights
from plusx.weights.trained import Weights


@pytest.fixture(scope="module")
def weights():
    backbone = Backbone(ARCHITECTURES["resnet18"])
    network = Network(backbone, ClassificationHead(backbone.channels[-1], 3))
    return Weights("w.pth", "a test", network.state_dict(), backbone.architecture)


def test_there_are_these_formats():
    assert FORMATS == ("plusx", "torchvision", "timm", "cifar")


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_suffix_chooses_the_form(suffix, weights, tmp_path):
    path = tmp_path / f"theirs{suffix}"
    convert(weights, path, "torchvision")
    state = load_file(path) if suffix == ".safetensors" else torch.load(path, weights_only=True)
    assert {"conv1.weight", "bn1.num_batches_tracked", "fc.bias"} <= state.keys()
    assert torch.equal(state["fc.weight"], weights.state["head.linear.weight"])
    again = result_of(read_weights(path))
    torch.testing.assert_close(dict(again.state), dict(weights.state), rtol=0, atol=0)


def test_safetensors_say_that_they_are_pytorchs(weights, tmp_path):
    convert(weights, tmp_path / "w.safetensors", "timm")
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_ours_is_a_checkpoint(weights, tmp_path):
    convert(weights, tmp_path / "ours.safetensors", "plusx")
    checkpoint = Checkpoint.load(tmp_path / "ours.safetensors")
    assert checkpoint.architecture.name == "resnet18"
    torch.testing.assert_close(dict(checkpoint.weights), dict(weights.state), rtol=0, atol=0)


def test_strided_weights_are_written_whole(weights, tmp_path):
    state = {
        key: one.to(memory_format=torch.channels_last) if one.ndim == 4 else one for key, one in weights.state.items()
    }
    convert(Weights("w", "", state, weights.architecture), tmp_path / "w.safetensors", "torchvision")
    assert torch.equal(load_file(tmp_path / "w.safetensors")["conv1.weight"], state["backbone.stem.conv.weight"])


@pytest.mark.parametrize(
    ("framework", "name", "why"),
    [
        ("plusx", "w.pth", r"weights for plusx cannot be written to .*w\.pth'; end its name in \.safetensors$"),
        ("timm", "w.onnx", r"cannot be written to .*; end its name in \.safetensors, \.pth, \.pt, \.th"),
        ("timm", "there.pth", r"there\.pth' exists and is not overwritten"),
        ("keras", "w.pth", "no framework is called 'keras'"),
        (
            "cifar",
            "w.pth",
            "Y. Idelbayev has no network like resnet18: for a ResNet for CIFAR-10 its stem is 'imagenet'",
        ),
    ],
)
def test_what_cannot_be_written_is_said(framework, name, why, weights, tmp_path):
    (tmp_path / "there.pth").write_bytes(b"mine")
    with pytest.raises(UsageError, match=why):
        convert(weights, tmp_path / name, framework)
    assert (tmp_path / "there.pth").read_bytes() == b"mine"


def test_a_folder_that_is_not_there_is_said(weights, tmp_path):
    with pytest.raises(StorageError, match="could not write"):
        convert(weights, tmp_path / "none" / "w.pth", "timm")


def test_an_unknown_architecture_must_be_named(weights, tmp_path):
    unknown = Weights("w.pth", "a test", weights.state, candidates=("resnet18", "plain18"))
    with pytest.raises(CheckpointError, match="fit resnet18, plain18; name the one"):
        convert(unknown, tmp_path / "w.pth", "timm")
    convert(unknown, tmp_path / "w.pth", "timm", ARCHITECTURES["resnet18"])


def test_what_is_unusual_about_written_weights_is_said(weights):
    assert notes_on(weights, "torchvision") == ()
    state = {
        key: one.half() if one.is_floating_point() else one for key, one in weights.state.items() if "head" not in key
    }
    state["backbone.stem.conv.weight"] = state["backbone.stem.conv.weight"][:, :1]
    assert notes_on(dataclasses.replace(weights, state=state), "torchvision") == (
        "there is no head: the network there needs none, or strict=False when it loads them",
        "the first convolution is for images of 1 channels, and so must theirs be",
        "the numbers stay float16, as they were read",
    )


def test_what_a_checkpoint_assumes_is_said(weights):
    known = dataclasses.replace(weights, notes=("first",))
    prepared, numbered = notes_on(known, "plusx")
    assert "does not say how its images were prepared: 224x224 pixels, the center of 256" in prepared
    assert numbered == "the names of the classes are not known: they are called 0 to 2"
    named = dataclasses.replace(known, classes=("a", "b", "c"))
    assert notes_on(named, "plusx") == (prepared,)
