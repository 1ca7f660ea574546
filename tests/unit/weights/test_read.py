"""Weights are read from files, folders, runs and names; what they do not say is looked up or assumed, and said."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from network_pairs import PAIRS
from safetensors.torch import save_file

from plusx.errors import CheckpointError, UsageError
from plusx.events import result_of
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone, Network
from plusx.network.key_maps import KEY_MAPS, our_name
from plusx.tasks.classification import ClassificationHead
from plusx.weights.assumed import assumed_input
from plusx.weights.imagenet import imagenet_classes
from plusx.weights.published import PUBLISHED
from plusx.weights.read import read_weights


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("TORCH_HOME", "PLUSX_MIRROR"):
        monkeypatch.delenv(name, raising=False)


def state_of(name, outputs=10, key_map=None):
    backbone = Backbone(ARCHITECTURES[name])
    network = Network(backbone, ClassificationHead(backbone.channels[-1], outputs))
    state = network.state_dict()
    return state if key_map is None else KEY_MAPS[key_map].to_theirs(state)


def read(path, **options):
    return result_of(read_weights(path, **options))


def test_a_checkpoint_and_a_run_say_everything(tmp_path):
    checkpoint = tiny.checkpoint()
    (tmp_path / "runs" / "bars-1" / "weights").mkdir(parents=True)
    file = tmp_path / "runs" / "bars-1" / "weights" / "best.safetensors"
    checkpoint.save(file)
    for path in (file, str(file), file.parent.parent):
        weights = read(path)
        assert weights.recognized == "a plusx checkpoint"
        assert (weights.architecture, weights.classes, weights.input) == (tiny.ARCHITECTURE, tiny.CLASSES, tiny.INPUT)
        assert (weights.origin, weights.candidates, weights.notes) == (str(path), ("tiny",), ())
        assert (weights.file, weights.sha256) == (file, hashlib.sha256(file.read_bytes()).hexdigest())
        torch.testing.assert_close(dict(weights.state), dict(checkpoint.weights), rtol=0, atol=0)


def test_a_damaged_checkpoint_is_said(tmp_path):
    file = tmp_path / "x.safetensors"
    tiny.checkpoint().save(file)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged: its content does not match its sha256"):
        read(file)


@pytest.mark.parametrize(
    ("name", "key_map", "recognized"),
    [
        ("resnet20", "cifar", "a state dict of Y. Idelbayev's ResNet for CIFAR-10"),
        ("resnet18", "torchvision", "a torchvision state dict of a ResNet"),
        ("resnet18d", "timm_pooled", "a timm state dict of a ResNet-D"),
        ("preresnet18", "timm_preactivation", "a timm state dict of a ResNetV2"),
    ],
)
def test_a_state_dict_is_recognized(name, key_map, recognized, tmp_path):
    torch.save({"state_dict": state_of(name, key_map=key_map)}, tmp_path / "w.pth")
    weights = read(tmp_path / "w.pth")
    assert weights.recognized == recognized
    assert weights.sha256 == hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()
    assert weights.architecture is not None
    assert (weights.architecture.name, weights.candidates) == (name, (name,))
    assert (weights.outputs, weights.channels_in) == (10, 3)
    assert (weights.classes, weights.input, weights.notes) == (None, None, ())


def test_our_own_bare_state_dict_may_fit_several(tmp_path):
    save_file(state_of("resnet20"), tmp_path / "w.safetensors")
    weights = read(tmp_path / "w.safetensors")
    assert weights.recognized == "a plusx state dict"
    assert weights.architecture is None
    assert weights.candidates == ("resnet20", "plain20")


def test_a_thousand_outputs_are_imagenets_and_that_is_said(tmp_path):
    torch.save(state_of("resnet18", 1000, "torchvision"), tmp_path / "w.pth")
    weights = read(tmp_path / "w.pth")
    assert (weights.classes, weights.input) == (imagenet_classes(), assumed_input(None, 3))
    (note,) = weights.notes
    assert note == (
        "the weights have 1,000 outputs and do not say of what: ImageNet's classes and 224x224 pixels, the center of "
        "256, with ImageNet's mean and deviation are assumed"
    )


def test_a_thousand_outputs_of_other_images_are_imagenets_for_as_many_channels(tmp_path):
    state = state_of("resnet18", 1000, "torchvision")
    state["conv1.weight"] = state["conv1.weight"][:, :1]
    torch.save(state, tmp_path / "w.pth")
    look = read(tmp_path / "w.pth").input
    assert look == assumed_input(None, 1)
    assert (look.channels, look.crop_fraction, look.rounded) == (1, 0.875, True)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_numbers_that_are_none_are_refused(number, suffix, tmp_path):
    state = state_of("resnet20", key_map="cifar")
    for key in ("module.conv1.weight", "module.linear.bias"):
        state[key] = state[key].clone().fill_(number)
    file = tmp_path / f"w{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    why = (
        r"w\.\w+' holds numbers that are not finite, in 'module\.(conv1\.weight|linear\.bias)' and 1 more; use another"
    )
    with pytest.raises(CheckpointError, match=why):
        read(file)


def test_numbers_of_any_precision_are_looked_at(tmp_path):
    state = {key: one.to(torch.float8_e4m3fn) for key, one in state_of("resnet20", key_map="cifar").items()}
    torch.save(state, tmp_path / "w.pth")
    assert read(tmp_path / "w.pth").candidates == ("resnet20",)
    state["module.conv1.weight"] = torch.full((16, 3, 3, 3), float("nan")).to(torch.float8_e4m3fn)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="not finite"):
        read(tmp_path / "w.pth")


def test_a_checkpoint_that_diverged_is_refused(tmp_path):
    checkpoint = tiny.checkpoint()
    key = "head.linear.bias"
    weights = {**checkpoint.weights, key: checkpoint.weights[key] * float("nan")}
    (tmp_path / "weights").mkdir()
    dataclasses.replace(checkpoint, weights=weights).save(tmp_path / "weights" / "best.safetensors")
    for path in (tmp_path, tmp_path / "weights" / "best.safetensors"):
        with pytest.raises(CheckpointError, match=r"not finite, in 'head\.linear\.bias'; use another"):
            read(path)


def test_a_config_without_a_crop_crops_nothing(tmp_path):
    about = {key: value for key, value in CONFIG["pretrained_cfg"].items() if key != "crop_pct"}
    look = read(folder(tmp_path / "hub", {"pretrained_cfg": about})).input
    assert look is not None
    assert look.crop_fraction == 1.0


def test_a_head_of_another_form_does_not_keep_the_backbone_out(tmp_path):
    state = state_of("resnet18", key_map="torchvision")
    state |= {f"fc.1.{part}": state.pop(f"fc.{part}") for part in ("weight", "bias")}
    torch.save(state, tmp_path / "w.pth")
    weights = read(tmp_path / "w.pth")
    assert (weights.candidates, weights.outputs) == (("resnet18",), 0)
    (note,) = weights.notes
    assert note.endswith("w.pth, 'fc.1.weight', 'fc.1.bias', is not of the form that plusx knows and is left out")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"n_averaged": torch.tensor(3), **{f"module.{key}": one for key, one in state.items()}},
        lambda state: {"state_dict": {f"model.{key}": one for key, one in state.items()}, "epoch": 3},
        lambda state: {"net": {f"module._orig_mod.{key}": one for key, one in state.items()}, "acc": 93.1},
        lambda state: {"model_ema": {"n_averaged": torch.tensor(3)} | {f"module.net.{k}": v for k, v in state.items()}},
    ],
)  # fmt: skip
def test_what_training_programs_write_is_read(wrap, tmp_path):
    torch.save(wrap(state_of("resnet18", key_map="torchvision")), tmp_path / "w.pth")
    weights = read(tmp_path / "w.pth")
    assert (weights.candidates, weights.outputs) == (("resnet18",), 10)


def test_a_backbone_within_something_larger_is_read(tmp_path):
    state = {
        f"backbone.{key}": one for key, one in state_of("resnet18", key_map="torchvision").items() if key[:2] != "fc"
    }
    torch.save({**state, "decode_head.conv.weight": torch.ones(1)}, tmp_path / "w.pth")
    weights = read(tmp_path / "w.pth")
    assert weights.recognized == "a torchvision state dict of a ResNet"
    assert (weights.candidates, weights.outputs) == (("resnet18",), 0)
    (note,) = weights.notes
    assert note.endswith("w.pth only the network is read; left out: 'decode_head.conv.weight'")


def test_a_thousand_outputs_of_a_cifar_network_are_not_imagenets(tmp_path):
    torch.save(state_of("resnet20", 1000, "cifar"), tmp_path / "w.pth")
    assert read(tmp_path / "w.pth").classes is None


CONFIG = {
    "architecture": "resnet18",
    "num_classes": 2,
    "label_names": ["ant", "bee"],
    "pretrained_cfg": {
        "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "input_size": [3, 160, 176], "crop_pct": 0.95,
        "interpolation": "bicubic",
    },
}  # fmt: skip


def folder(path, config, outputs=2):
    path.mkdir()
    save_file(state_of("resnet18", outputs, "timm"), path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_a_folder_of_the_hub_says_classes_and_preprocessing(tmp_path):
    weights = read(folder(tmp_path / "hub", CONFIG))
    assert weights.recognized == "a timm folder with the state dict of a ResNet"
    assert weights.classes == ("ant", "bee")
    look = weights.input
    assert look is not None
    assert (look.height, look.width, look.channels, look.crop_fraction) == (160, 176, 3, 160 / 168)
    assert (look.mean, look.deviation) == ((0.5,) * 3, (0.25,) * 3)
    assert (look.interpolation, look.rounded) == ("bicubic", True)
    assert weights.notes == ()


def test_a_config_completes_imagenets_habits(tmp_path):
    config = {"pretrained_cfg": {**CONFIG["pretrained_cfg"], "interpolation": "bilinear"}}
    weights = read(folder(tmp_path / "hub", config, 1000))
    assert weights.classes == imagenet_classes()
    assert weights.input is not None
    assert weights.input.width == 176
    assert weights.notes == ("the weights have 1,000 outputs and do not say of what: ImageNet's classes are assumed",)


def test_a_way_of_resizing_that_plusx_has_not_is_said(tmp_path):
    config = {**CONFIG, "pretrained_cfg": {**CONFIG["pretrained_cfg"], "interpolation": "lanczos"}}
    (note,) = read(folder(tmp_path / "hub", config)).notes
    assert note == "their publisher resizes 'lanczos', plusx bilinear: a few answers can differ"


def test_a_network_that_timm_calls_otherwise_is_doubted(tmp_path):
    (note,) = read(folder(tmp_path / "hub", {"architecture": "resnetblur18.mine"})).notes
    assert note.startswith("its config.json calls it resnetblur18; its keys and shapes are those of resnet18, whose")


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair.framework == "timm" and "(" not in pair.theirs])
def test_timms_names_are_known(pair):
    assert our_name(pair.theirs) == pair.ours


@pytest.mark.parametrize("names", [["ant"], ["ant", "ant"], ["a", "b", "c"]])
def test_names_that_cannot_be_those_of_the_outputs_are_not_used(names, tmp_path):
    weights = read(folder(tmp_path / "hub", {"label_names": names}))
    assert weights.classes is None
    assert weights.notes[0].startswith(f"the {len(names)} label_names of its config.json are not used: there are 2")


@pytest.mark.parametrize(
    "change", [{"mean": [0.5]}, {"input_size": [3, 160]}, {"std": [0, 0, 0]}, {"crop_pct": "all"}, {"mean": None}]
)
def test_a_config_without_sense_is_said(change, tmp_path):
    path = folder(tmp_path / "hub", {"pretrained_cfg": {**CONFIG["pretrained_cfg"], **change}})
    with pytest.raises(CheckpointError, match=r"the config\.json of .*hub' cannot be understood: "):
        read(path)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A published name whose file is made here."""
    file = tmp_path / "made.th"
    torch.save({"state_dict": state_of("resnet20", key_map="cifar")}, file)
    entry = dataclasses.replace(
        PUBLISHED["resnet20:cifar10"],
        url="http://127.0.0.1:1/resnet20.th",
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
    )
    monkeypatch.setitem(PUBLISHED, entry.name, entry)
    return entry, file


def test_a_file_is_known_by_its_sum(published, tmp_path):
    entry, file = published
    weights = read(file)
    kind, known = weights.recognized.split(", ")
    assert kind == "a state dict of Y. Idelbayev's ResNet for CIFAR-10"
    assert known == "by its sha256 resnet20:cifar10 of akamaster/pytorch_resnet_cifar10"
    assert weights.architecture == ARCHITECTURES["resnet20"]
    assert (weights.classes, weights.input) == (entry.classes, entry.image_input())
    torch.save({"state_dict": state_of("resnet20", key_map="cifar")}, tmp_path / "other.th")
    assert read(tmp_path / "other.th").classes is None


def test_a_published_name_is_read_from_a_mirror(published, tmp_path, monkeypatch):
    entry, file = published
    with pytest.raises(CheckpointError, match=r"resnet20:cifar10 is not on this machine; plusx weights fetch resnet20"):
        read(entry.name, download=False)
    with pytest.raises(CheckpointError, match="could not download"):
        read(entry.name)
    (tmp_path / "mirror").mkdir()
    shutil.copy(file, tmp_path / "mirror" / entry.file)
    monkeypatch.setenv("PLUSX_MIRROR", str(tmp_path / "mirror"))
    weights = read(entry.name)
    assert weights.origin == "resnet20:cifar10"
    assert weights.recognized.endswith(", resnet20:cifar10 of akamaster/pytorch_resnet_cifar10")
    assert weights.classes == entry.classes
    assert read(entry.name, download=False).classes == entry.classes


@pytest.mark.parametrize(
    ("name", "error", "why"),
    [
        ("resnet50", UsageError, "'resnet50' does not say which weights are meant; for 'resnet50' there are"),
        ("resnet50:imagenet1k-v9", UsageError, "no published weights are called 'resnet50:imagenet1k-v9'"),
        ("resnet18v", UsageError, "no published weights are called 'resnet18v'; did you mean 'resnet18:"),
        ("folder/resnet18v", CheckpointError, "'folder/resnet18v' do not exist; expected"),
        ("none.pth", CheckpointError, r"'none\.pth' do not exist; expected"),
    ],
)
def test_what_is_nowhere_is_said(name, error, why):
    with pytest.raises(error, match=why):
        read(name)


def test_a_file_of_a_name_wins_over_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(state_of("resnet20", key_map="cifar"), Path("resnet50:imagenet1k-v2"))
    assert read("resnet50:imagenet1k-v2").candidates == ("resnet20",)


def test_the_sum_of_a_folder_is_that_of_the_file_in_it(tmp_path):
    save_file(state_of("resnet20"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    weights = read(tmp_path)
    assert weights.file == tmp_path / "model.safetensors"
    assert weights.sha256 == hashlib.sha256(weights.file.read_bytes()).hexdigest()
