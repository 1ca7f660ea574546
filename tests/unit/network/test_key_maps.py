"""Keys go to ours and back, none is lost, and a foreign one is named."""

import dataclasses

import pytest
import torch

from plusx.errors import CheckpointError, UsageError
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone, Network
from plusx.network.key_maps import FRAMEWORKS, KEY_MAPS, key_map_for, translation
from plusx.network.key_wrappers import is_ours, unwrapped
from plusx.tasks.classification import ClassificationHead


def network_of(name, shortcut=None):
    architecture = ARCHITECTURES[name]
    backbone = Backbone(dataclasses.replace(architecture, shortcut=shortcut or architecture.shortcut))
    return Network(backbone, ClassificationHead(backbone.channels[-1], 10))


NETWORKS = [("cifar", name, "projection") for name in ("resnet20", "resnet1202")] + [
    (name, one.name, None)
    for name, key_map in KEY_MAPS.items()
    for one in ARCHITECTURES.values()
    if not key_map.misfit(one) and (sum(one.depths) < 40 or one.name.endswith("110"))
]


@pytest.mark.parametrize(("key_map", "name", "shortcut"), NETWORKS)
def test_keys_go_there_and_back(key_map, name, shortcut):
    with torch.device("meta"):
        state = network_of(name, shortcut).state_dict()
    foreign = KEY_MAPS[key_map].to_theirs(state)
    assert len(foreign) == len(state)
    back = KEY_MAPS[key_map].to_ours(foreign)
    assert list(back) == list(state)
    assert all(back[key].shape == state[key].shape for key in state)
    same = [back[key] is state[key] for key in state]
    assert same.count(False) == (1 if KEY_MAPS[key_map].convolved_head else 0)


@pytest.mark.parametrize(
    ("key_map", "theirs", "ours"),
    [
        ("torchvision", "conv1.weight", "backbone.stem.conv.weight"),
        ("torchvision", "bn1.num_batches_tracked", "backbone.stem.norm.num_batches_tracked"),
        ("torchvision", "layer1.0.bn3.bias", "backbone.stages.0.0.norm3.bias"),
        ("torchvision", "layer3.22.conv2.weight", "backbone.stages.2.22.conv2.weight"),
        ("torchvision", "layer4.0.downsample.0.weight", "backbone.stages.3.0.shortcut.conv.weight"),
        ("torchvision", "layer4.0.downsample.1.running_var", "backbone.stages.3.0.shortcut.norm.running_var"),
        ("torchvision", "fc.bias", "head.linear.bias"),
        ("torchvision_densenet", "features.conv0.weight", "backbone.stem.conv.weight"),
        ("torchvision_densenet", "features.norm0.bias", "backbone.stem.norm.bias"),
        (
            "torchvision_densenet",
            "features.denseblock1.denselayer24.norm2.weight",
            "backbone.stages.0.23.norm2.weight",
        ),
        ("torchvision_densenet", "features.transition3.conv.weight", "backbone.transitions.3.conv.weight"),
        ("torchvision_densenet", "features.norm5.running_mean", "backbone.finish.norm.running_mean"),
        ("torchvision_densenet", "classifier.weight", "head.linear.weight"),
        ("timm", "layer1.2.se.fc1.bias", "backbone.stages.0.2.attention.squeeze.bias"),
        ("timm", "layer1.2.se.fc2.weight", "backbone.stages.0.2.attention.excite.weight"),
        ("timm", "layer1.2.se.conv.weight", "backbone.stages.0.2.attention.conv.weight"),
        ("timm_deep", "conv1.0.weight", "backbone.stem.conv1.weight"),
        ("timm_deep", "conv1.4.bias", "backbone.stem.norm2.bias"),
        ("timm_deep", "bn1.bias", "backbone.stem.norm3.bias"),
        ("timm_deep", "layer2.0.downsample.1.weight", "backbone.stages.1.0.shortcut.norm.weight"),
        ("timm_pooled", "conv1.6.weight", "backbone.stem.conv3.weight"),
        ("timm_pooled", "maxpool.0.weight", "backbone.stem.conv4.weight"),
        ("timm_pooled", "maxpool.1.running_var", "backbone.stem.norm4.running_var"),
        ("timm_pooled", "layer2.0.downsample.1.weight", "backbone.stages.1.0.shortcut.conv.weight"),
        ("timm_pooled", "layer2.0.downsample.2.weight", "backbone.stages.1.0.shortcut.norm.weight"),
        ("timm_preactivation", "stages.0.blocks.332.norm1.weight", "backbone.stages.0.332.norm1.weight"),
        ("timm_preactivation", "stages.3.blocks.0.downsample.conv.weight", "backbone.stages.3.0.shortcut.conv.weight"),
        ("timm_preactivation", "norm.bias", "backbone.finish.norm.bias"),
        ("timm_preactivation", "head.fc.bias", "head.linear.bias"),
        ("cifar", "module.layer3.0.shortcut.0.weight", "backbone.stages.2.0.shortcut.conv.weight"),
        ("cifar", "module.layer3.0.shortcut.1.weight", "backbone.stages.2.0.shortcut.norm.weight"),
        ("cifar", "module.layer1.199.bn2.weight", "backbone.stages.0.199.norm2.weight"),
        ("cifar", "module.linear.weight", "head.linear.weight"),
    ],
)
def test_a_part_has_its_names(key_map, theirs, ours):
    tensor = torch.ones(2, 2)
    assert KEY_MAPS[key_map].to_ours({theirs: tensor}) == {ours: tensor}
    assert KEY_MAPS[key_map].to_theirs({ours: tensor}).keys() == {theirs}


def test_the_older_spelling_of_densenet_is_read_and_not_written():
    weight = torch.ones(1)
    older = {"features.denseblock4.denselayer16.norm.2.running_mean": weight}
    ours = {"backbone.stages.3.15.norm2.running_mean": weight}
    assert KEY_MAPS["torchvision_densenet"].to_ours(older) == ours
    assert list(KEY_MAPS["torchvision_densenet"].to_theirs(ours)) == [
        "features.denseblock4.denselayer16.norm2.running_mean"
    ]


def test_a_convolved_head_changes_its_shape():
    key_map = KEY_MAPS["timm_preactivation"]
    theirs = {"head.fc.weight": torch.randn(10, 8, 1, 1), "head.fc.bias": torch.randn(10)}
    ours = key_map.to_ours(theirs)
    assert ours["head.linear.weight"].shape == (10, 8)
    torch.testing.assert_close(key_map.to_theirs(ours), theirs, rtol=0, atol=0)


@pytest.mark.parametrize(
    "wrapper", ["", "module.", "_orig_mod.", "model.", "module.net.", "backbone.", "network.module._orig_mod."]
)
@pytest.mark.parametrize("key_map", ["cifar", "torchvision"])
def test_keys_are_read_whatever_wraps_them(key_map, wrapper):
    weight = torch.ones(1)
    theirs = {f"{wrapper}layer1.0.bn1.weight": weight, f"{wrapper}conv1.weight": weight}
    assert KEY_MAPS[key_map].unknown(theirs) == []
    assert KEY_MAPS[key_map].to_ours(theirs) == {
        "backbone.stages.0.0.norm1.weight": weight,
        "backbone.stem.conv.weight": weight,
    }


def test_a_wrapper_before_some_keys_only_is_none():
    state = {"module.conv1.weight": torch.ones(1), "conv1.weight": torch.ones(1)}
    assert unwrapped(state) == (state, [])
    assert unwrapped({}) == ({}, [])


def test_a_network_beside_other_things_is_taken_alone():
    weight = torch.ones(1)
    state = {"n_averaged": weight, "module.model.conv1.weight": weight, "module.criterion.weight": weight}
    assert unwrapped(state) == ({"conv1.weight": weight}, ["criterion.weight"])


@pytest.mark.parametrize(
    ("key", "ours"),
    [
        ("backbone.stem.conv.weight", True), ("backbone.stem.norm3.bias", True), ("backbone.finish.norm.weight", True),
        ("backbone.stages.2.0.attention.conv.weight", True), ("backbone.conv1.weight", False),
        ("backbone.layer1.0.conv1.weight", False), ("backbone.stages.0.blocks.0.conv1.weight", False),
        ("backbone.stem.0.weight", False),
    ],
)  # fmt: skip
def test_what_others_call_a_backbone_is_not_ours(key, ours):
    assert is_ours({key: torch.ones(1)}) is ours
    assert list(unwrapped({key: torch.ones(1)})[0]) == [key if ours else key.removeprefix("backbone.")]


def test_numbers_that_begin_at_one_have_no_zero():
    assert translation("layer0.0.conv1.weight", KEY_MAPS["torchvision"].pairs) is None
    assert translation("layer1.0.conv1.weight", KEY_MAPS["torchvision"].pairs) == "backbone.stages.0.0.conv1.weight"


@pytest.mark.parametrize("key_map", KEY_MAPS)
def test_a_key_of_another_network_is_named(key_map):
    foreign = {"encoder.weight": torch.ones(1)}
    assert KEY_MAPS[key_map].unknown(foreign) == ["encoder.weight"]
    first = KEY_MAPS[key_map].pairs[0][0]
    with pytest.raises(CheckpointError, match=rf"a key 'encoder\.weight' that such .* expected {first}\.\*"):
        KEY_MAPS[key_map].to_ours(foreign)
    with pytest.raises(CheckpointError, match=r"a key 'mine\.weight' that such .* expected backbone"):
        KEY_MAPS[key_map].to_theirs({"mine.weight": torch.ones(1)})


@pytest.mark.parametrize(
    ("name", "framework", "network"),
    [("resnet50", "torchvision", "ResNet"), ("resnet50", "timm", "ResNet"), ("resnet20", "cifar", "ResNet for CIFAR")],
)
def test_the_map_of_an_architecture_is_found(name, framework, network):
    found = key_map_for(ARCHITECTURES[name], framework)
    assert found.framework == framework
    assert found.network.startswith(network)


@pytest.mark.parametrize(
    ("name", "framework", "why"),
    [
        ("resnet20", "torchvision", r"for a ResNet its stem is 'small', not 'imagenet'"),
        ("plain18", "timm", r"for a ResNet its shortcut is 'none', not 'projection'"),
        ("resnet50", "cifar", r"for a ResNet for CIFAR-10 its stem is 'imagenet', not 'small'"),
    ],
)
def test_a_framework_without_such_a_network_is_said(name, framework, why):
    with pytest.raises(
        UsageError, match=rf"^{'Y. Idelbayev' if framework == 'cifar' else framework} has no network like {name}: {why}"
    ):
        key_map_for(ARCHITECTURES[name], framework)


def test_a_framework_that_has_the_network_is_named():
    with pytest.raises(UsageError, match=r"; use --to timm or plusx$"):
        key_map_for(ARCHITECTURES["resnet50d"], "torchvision")


def test_a_framework_that_is_none_is_said():
    with pytest.raises(UsageError, match=r"no framework is called 'keras'; there are: torchvision, timm, cifar"):
        key_map_for(ARCHITECTURES["resnet50"], "keras")
    assert FRAMEWORKS == ("torchvision", "timm", "cifar")
