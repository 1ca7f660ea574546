"""Every published name against its publisher's own network: its keys and shapes are those of our architecture."""

import re

import pytest
import torch
import torchvision.models

from plusx.network.architectures import ARCHITECTURES
from plusx.weights.published import PUBLISHED
from plusx.weights.recognize import differences, in_our_keys

TIMM_NAMES = {f"preresnet{depth}": f"resnetv2_{depth}" for depth in (18, 34, 50, 101)}
THEIR_NAMES = {"wide50-2": "wide_resnet50_2", "wide101-2": "wide_resnet101_2", **TIMM_NAMES}
NETWORKS = {(one.source, one.architecture): one for one in PUBLISHED.values() if one.source in {"torchvision", "timm"}}
OLD_DENSE = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])\.")


def their_state(entry):
    """The state of the publisher's network, without memory."""
    name = THEIR_NAMES.get(entry.architecture, entry.architecture.replace("-", "_"))
    create = torchvision.models.get_model
    if entry.source == "timm":
        create = pytest.importorskip("timm").create_model
    with torch.device("meta"):
        return create(name).state_dict()


@pytest.mark.parametrize("entry", NETWORKS.values(), ids="{0.source}-{0.architecture}".format)
def test_a_published_file_fits_its_architecture(entry):
    state, *_ = in_our_keys(their_state(entry), entry.name)
    assert differences(ARCHITECTURES[entry.architecture], state) == []
    assert state["head.linear.weight"].shape[0] == len(entry.classes)


@pytest.mark.parametrize(
    "entry",
    [one for one in PUBLISHED.values() if one.architecture.startswith("densenet") and one.source == "torchvision"],
    ids=lambda one: one.name,
)
def test_the_older_keys_of_torchvisions_published_dense_networks_are_read(entry):
    """Its files say norm.1 and conv.1 within a layer; its own loader renames them."""
    state = {OLD_DENSE.sub(r"\1.\2.", key): tensor for key, tensor in their_state(entry).items()}
    assert any(".norm.1." in key for key in state)
    ours, *_ = in_our_keys(state, entry.name)
    assert differences(ARCHITECTURES[entry.architecture], ours) == []
