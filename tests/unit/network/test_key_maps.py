"""Keys go to ours and back, none is lost, and a foreign one is named."""

import dataclasses
import os
from pathlib import Path

import pytest
import torch

from plusx.errors import CheckpointError
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone, Network
from plusx.network.key_maps import KEY_MAPS
from plusx.tasks.classification import ClassificationHead


def network_of(name: str, shortcut: str) -> Network:
    backbone = Backbone(dataclasses.replace(ARCHITECTURES[name], shortcut=shortcut))
    return Network(backbone, ClassificationHead(backbone.channels[-1], 10))


@pytest.mark.parametrize(
    ("key_map", "name", "theirs", "ours"),
    [
        ("torchvision", "resnet50", "layer2.0.downsample.0.weight", "backbone.stages.1.0.shortcut.conv.weight"),
        ("torchvision", "resnet50", "layer4.2.bn3.running_var", "backbone.stages.3.2.norm3.running_var"),
        ("torchvision", "resnet50", "fc.bias", "head.linear.bias"),
        ("torchvision", "resnet50", "bn1.num_batches_tracked", "backbone.stem.norm.num_batches_tracked"),
        ("cifar", "resnet20", "module.layer3.0.shortcut.1.weight", "backbone.stages.2.0.shortcut.norm.weight"),
        ("cifar", "resnet20", "module.linear.weight", "head.linear.weight"),
    ],
)
def test_keys_go_there_and_back(key_map, name, theirs, ours):
    with torch.device("meta"):
        state = network_of(name, "projection").state_dict()
    foreign = KEY_MAPS[key_map].to_theirs(state)
    assert foreign[theirs] is state[ours]
    assert len(foreign) == len(state)
    back = KEY_MAPS[key_map].to_ours(foreign)
    assert list(back) == list(state)
    assert all(back[key] is state[key] for key in state)


def test_keys_without_the_wrapper_are_read_as_well():
    weight = torch.ones(1)
    assert KEY_MAPS["cifar"].to_ours({"layer1.0.bn1.weight": weight}) == {"backbone.stages.0.0.norm1.weight": weight}


@pytest.mark.parametrize("key_map", KEY_MAPS)
def test_a_key_of_another_network_is_named(key_map):
    with pytest.raises(CheckpointError, match=r"a key 'encoder\.weight' that such .* expected .*layer1\.\*"):
        KEY_MAPS[key_map].to_ours({"encoder.weight": torch.ones(1)})
    with pytest.raises(
        CheckpointError, match=r"a key 'fc\.weight' that such a network does not have; expected backbone"
    ):
        KEY_MAPS[key_map].to_theirs({"fc.weight": torch.ones(1)})


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "accuracy"),
    [("resnet20-12fca82f.th", 0.917), ("resnet56-4bfd9763.th", 0.934)],
)
def test_published_cifar_weights_load_and_answer(file, accuracy):
    folder = Path(os.environ.get("PLUSX_TEST_DATA", "data"))
    if not (folder / "weights" / file).exists() or not (folder / "cifar-10-batches-py").exists():
        pytest.skip(f"PLUSX_TEST_DATA has no weights/{file} with cifar-10-batches-py beside it")
    from torchvision.datasets import CIFAR10

    network = network_of(file.split("-")[0], "zero_pad").eval()
    published = torch.load(folder / "weights" / file, weights_only=True, map_location="cpu")["state_dict"]
    state = KEY_MAPS["cifar"].to_ours(published)
    counters = {key for key in network.state_dict() if key.endswith("num_batches_tracked")}
    assert set(state) == set(network.state_dict()) - counters
    network.load_state_dict(state)

    test = CIFAR10(folder, train=False)
    images = torch.from_numpy(test.data[:1000]).permute(0, 3, 1, 2).float() / 255
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        answers = network((images - mean[:, None, None]) / deviation[:, None, None]).argmax(1)
    right = (answers == torch.tensor(test.targets[:1000])).float().mean().item()
    assert right == pytest.approx(accuracy, abs=0.02)
