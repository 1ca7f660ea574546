"""Weights are recognized by their keys and shapes, and only where that is certain."""

import dataclasses
import time

import pytest
import torch

from plusx.errors import CheckpointError
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone
from plusx.network.key_maps import KEY_MAPS
from plusx.weights.recognize import depths_of, differences, fitting, in_our_keys, shapes_of


def state_of(name, **changes):
    with torch.device("meta"):
        backbone = Backbone(dataclasses.replace(ARCHITECTURES[name], **changes))
    return {f"backbone.{key}": value for key, value in backbone.state_dict().items()}


@pytest.mark.parametrize("name", [name for name, one in ARCHITECTURES.items() if sum(one.depths) < 60])
def test_our_own_keys_tell_the_architecture_or_its_twins(name):
    architecture = ARCHITECTURES[name]
    found = fitting(state_of(name), None)
    assert name in [one.name for one in found]
    # What else fits has the same shapes: networks without shortcuts, or with shortcuts that pool.
    for one in found:
        assert (one.depths, one.widths, one.stem) == (architecture.depths, architecture.widths, architecture.stem)


def test_a_plain_network_is_not_taken_for_what_the_cifar_keys_mean():
    state = state_of("resnet20")
    assert [one.name for one in fitting(state, None)] == ["resnet20", "plain20"]
    assert [one.name for one in fitting(state, KEY_MAPS["cifar"])] == ["resnet20"]


def test_the_key_map_tells_what_shapes_cannot():
    state = state_of("resnet50d")
    assert [one.name for one in fitting(state, KEY_MAPS["timm_pooled"])] == ["resnet50d"]
    assert [one.name for one in fitting(state, KEY_MAPS["timm_deep"])] == ["resnet50c"]


def test_other_channels_and_another_shortcut_are_recognized():
    (found,) = fitting(state_of("resnet18", channels_in=7), KEY_MAPS["torchvision"])
    assert (found.name, found.channels_in) == ("resnet18", 7)
    (found,) = fitting(state_of("resnet20", shortcut="projection"), KEY_MAPS["cifar"])
    assert (found.name, found.shortcut) == ("resnet20", "projection")


def test_a_shortcut_that_projects_always_is_recognized():
    (found,) = fitting(state_of("resnet18", shortcut="projection_always"), None)
    assert (found.name, found.shortcut) == ("resnet18", "projection_always")


def test_a_network_of_no_name_fits_none():
    assert fitting(state_of("resnet20", widths=(8, 16, 32)), KEY_MAPS["cifar"]) == []
    assert fitting({}, None) == []


def test_a_deep_network_is_recognized_quickly():
    state = state_of("resnet1202")
    began = time.process_time()
    (found,) = fitting(state, KEY_MAPS["cifar"])
    assert found.name == "resnet1202"
    assert time.process_time() - began < 5  # seconds of the processor; it takes about 1


def test_depths_are_read_from_keys():
    assert depths_of(state_of("resnet50")) == (3, 4, 6, 3)
    assert depths_of({"backbone.stages.0.2.conv1.weight": torch.ones(1)}) == (3,)
    assert depths_of({"backbone.stages.1.0.conv1.weight": torch.ones(1)}) == (0, 1)
    assert depths_of({}) == ()


def test_differences_are_named():
    state = state_of("resnet20")
    assert differences(ARCHITECTURES["resnet20"], {**state, "head.linear.weight": torch.ones(1)}) == []
    state["backbone.extra.weight"] = torch.ones(1)
    state["backbone.stem.conv.weight"] = torch.ones(16, 1, 3, 3)
    del state["backbone.stem.norm.bias"]
    assert differences(ARCHITECTURES["resnet20"], state) == [
        "backbone.stem.norm.bias is missing",
        "backbone.extra.weight is not in it",
        "backbone.stem.conv.weight is 16x1x3x3, not 16x3x3x3",
    ]


def test_looking_draws_no_random_numbers():
    before = torch.get_rng_state()
    shapes_of(ARCHITECTURES["resnet20"])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("wrapper", ["", "module."])
@pytest.mark.parametrize("name", KEY_MAPS)
def test_the_source_is_told_by_its_keys(name, wrapper):
    architecture = next(one for one in ARCHITECTURES.values() if not KEY_MAPS[name].misfit(one))
    ours = state_of(architecture.name)
    ours["head.linear.weight"] = torch.ones(10, 3)
    if name == "timm":  # what tells it from torchvision
        ours["backbone.stages.0.0.attention.squeeze.weight"] = torch.ones(1)
    theirs = {wrapper + key.removeprefix("module."): value for key, value in KEY_MAPS[name].to_theirs(ours).items()}
    state, key_map, notes = in_our_keys(theirs, "them")
    assert notes == ()
    expected = "torchvision_densenet" if name == "timm_densenet" else name
    assert key_map is KEY_MAPS[expected]
    assert state.keys() == ours.keys()


def test_our_own_keys_are_known_too():
    weight = torch.ones(1)
    for wrapper in ("", "module."):
        assert in_our_keys({f"{wrapper}backbone.stem.conv.weight": weight}, "w") == (
            {"backbone.stem.conv.weight": weight},
            None,
            (),
        )


def test_norms_that_counted_no_batches_count_none():
    state, *_ = in_our_keys({"bn1.running_mean": torch.ones(2), "bn1.running_var": torch.ones(2)}, "w")
    assert list(state)[-1] == "backbone.stem.norm.num_batches_tracked"
    assert state["backbone.stem.norm.num_batches_tracked"] == 0
    counted = {"bn1.running_var": torch.ones(2), "bn1.num_batches_tracked": torch.tensor(7)}
    assert in_our_keys(counted, "w")[0]["backbone.stem.norm.num_batches_tracked"] == 7


def test_keys_of_an_unknown_network_are_named():
    state = {f"layer1.0.{part}.weight": torch.ones(1) for part in ("conv1", "bn1", "alpha", "beta", "gamma", "delta")}
    with pytest.raises(CheckpointError) as caught:
        in_our_keys(state, "w.pth")
    assert "'w.pth' has keys of no network that plusx knows: of 6 keys torchvision's ResNet does not know" in str(
        caught.value
    )
    assert "'layer1.0.alpha.weight', 'layer1.0.beta.weight', 'layer1.0.gamma.weight' and 1 more" in str(caught.value)


def test_a_small_network_of_others_is_not_taken_for_the_beginning_of_one():
    state = {f"{part}.weight": torch.ones(1) for part in ("conv1", "conv2", "fc1", "fc2")}
    with pytest.raises(CheckpointError, match=r"does not know 'conv2\.weight', 'fc1\.weight', 'fc2\.weight'; expected"):
        in_our_keys(state, "w.pth")
    with pytest.raises(CheckpointError, match="has keys of no network"):
        in_our_keys({"fc.0.weight": torch.ones(1)}, "w.pth")
