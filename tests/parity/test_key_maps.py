"""Weights go from torchvision's and timm's networks to ours and back: by file, strictly, with the same logits."""

import time

import pytest
import torch
from network_pairs import PAIRS, both
from safetensors.torch import load_file
from torch import nn

from plusx.events import result_of
from plusx.network.architectures import ARCHITECTURES, paper_classes
from plusx.network.backbone import Backbone, Network
from plusx.tasks.classification import ClassificationHead
from plusx.weights.complete import checkpoint_of, complete
from plusx.weights.convert import convert
from plusx.weights.read import read_weights
from plusx.weights.recognize import fitting, in_our_keys
from plusx.weights.trained import Weights

FAMILIES = (
    "torchvision-resnet18", "torchvision-resnext50_32x4d", "torchvision-wide_resnet50_2", "torchvision-densenet121",
    "timm-resnet50", "timm-resnet50c", "timm-resnet18d", "timm-resnetrs50", "timm-seresnet18", "timm-seresnext50_32x4d",
    "timm-ecaresnet50d", "timm-resnetv2_18", "timm-resnetv2_50", "timm-densenet121",
)  # fmt: skip
SLOW = {
    "torchvision-wide_resnet50_2",
    "torchvision-resnext50_32x4d",
    "timm-resnet50",
    "timm-resnet50c",
    "timm-seresnext50_32x4d",
    "timm-resnetv2_50",
    "timm-densenet121",
}
LOOKING = 2.0  # seconds of the processor


CHOSEN = [pair for pair in PAIRS if pair.label in FAMILIES]
families = pytest.mark.parametrize(
    "pair",
    [pytest.param(pair, id=pair.label, marks=[pytest.mark.slow] if pair.label in SLOW else []) for pair in CHOSEN],
)


def test_every_family_is_among_the_pairs():
    assert {pair.label for pair in CHOSEN} == set(FAMILIES) >= SLOW


@pytest.mark.parametrize("pair", PAIRS, ids=[pair.label for pair in PAIRS])
def test_every_network_of_theirs_is_recognized(pair):
    with torch.device("meta"):
        theirs = pair.make(num_classes=1000).state_dict()
    began = time.process_time()
    state, key_map, _ = in_our_keys(theirs, "theirs")
    assert [one.name for one in fitting(state, key_map)] == [pair.ours]
    assert time.process_time() - began < LOOKING


@families
def test_theirs_to_ours_and_back_by_files(pair, tmp_path):
    theirs, _ = both(pair, classes=10)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = theirs.eval()(images)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    weights = result_of(read_weights(tmp_path / "theirs.pth"))
    assert weights.architecture is not None
    assert weights.architecture.name == pair.ours
    ours = checkpoint_of(complete(weights)).network()
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), expected)

    convert(weights, tmp_path / "back.safetensors", pair.framework)
    state = load_file(tmp_path / "back.safetensors")
    assert sorted(state) == sorted(theirs.state_dict())
    again = pair.make(num_classes=10)
    again.load_state_dict(state, strict=True)
    torch.testing.assert_close(again.state_dict(), theirs.state_dict(), rtol=0, atol=0)


@families
def test_ours_to_theirs_gives_the_same_logits(pair, tmp_path):
    architecture = ARCHITECTURES[pair.ours]
    backbone = Backbone(architecture)
    ours = Network(backbone, ClassificationHead(backbone.channels[-1], 10, architecture.pooling))
    for part in ours.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.uniform_(part.weight, 0.3, 0.6)
            nn.init.normal_(part.bias, std=0.1)
            part.num_batches_tracked.fill_(3)
    weights = Weights("ours", "a plusx state dict", ours.state_dict(), architecture)
    convert(weights, tmp_path / "theirs.pth", pair.framework)
    theirs = pair.make(num_classes=10)
    theirs.load_state_dict(torch.load(tmp_path / "theirs.pth", weights_only=True), strict=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = ours.eval()(images)
        assert expected.std() > 1e-4
        torch.testing.assert_close(theirs.eval()(images), expected)


def test_imagenets_classes_are_as_many_as_the_networks_say():
    assert {paper_classes(ARCHITECTURES[pair.ours]) for pair in PAIRS} == {1000}
