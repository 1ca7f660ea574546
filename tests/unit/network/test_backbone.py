"""A backbone is what its architecture says, with as many parameters as published."""

import dataclasses

import pytest
import torch

from plusx.errors import UsageError
from plusx.network import stems
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone, Network
from plusx.tasks.classification import ClassificationHead

# He et al. 2015, arXiv:1512.03385, table 6 gives the CIFAR nets' in millions, torchvision the ImageNet nets' exactly;
# a plain net has those of its residual twin without the projections.
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "plain18": 11_689_512 - 173_824,
    "plain34": 21_797_672 - 173_824,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "resnet1202": 19_421_274,
    "plain20": 269_722,
    "plain32": 464_154,
    "plain44": 658_586,
    "plain56": 853_018,
    "plain110": 1_727_962,
}


def network_of(name: str, **changes: object) -> Network:
    architecture = dataclasses.replace(ARCHITECTURES[name], **changes)
    backbone = Backbone(architecture)
    return Network(backbone, ClassificationHead(backbone.channels[-1], 1000 if architecture.image_size == 224 else 10))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_are_as_published(name):
    with torch.device("meta"):
        network = network_of(name)
    assert sum(parameter.numel() for parameter in network.parameters()) == PUBLISHED[name]


def test_features_go_from_fine_to_coarse():
    backbone = Backbone(ARCHITECTURES["resnet50"])
    features = backbone(torch.randn(1, 3, 65, 96))
    assert backbone.channels == (256, 512, 1024, 2048)
    assert backbone.strides == (4, 8, 16, 32)
    assert [tuple(map_.shape) for map_ in features] == [
        (1, 256, 17, 24),
        (1, 512, 9, 12),
        (1, 1024, 5, 6),
        (1, 2048, 3, 3),
    ]


def test_a_later_stage_does_not_change_an_earlier_ones_features():
    backbone = Backbone(ARCHITECTURES["resnet20"]).eval()
    x = torch.randn(2, 3, 16, 16)
    first = backbone.stages[0](backbone.stem(x)).clone()
    assert torch.equal(backbone(x)[0], first)


def test_a_network_gives_what_its_head_gives():
    network = network_of("resnet20", channels_in=5)
    assert network.architecture.channels_in == 5
    assert network(torch.randn(2, 5, 8, 8)).shape == (2, 10)


def test_zero_init_residual_makes_every_block_start_as_its_shortcut():
    backbone = Backbone(dataclasses.replace(ARCHITECTURES["resnet20"], zero_init_residual=True))
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(backbone(x)[0], backbone.stem(x))
    assert sum(not block.last_norm.weight.any() for block in backbone.blocks()) == 9


@pytest.mark.parametrize("part", ["stem", "block", "shortcut"])
def test_an_unknown_part_is_an_error_that_names_it(part):
    with pytest.raises(UsageError, match=f"no {part} is called 'imaginary'"):
        Backbone(dataclasses.replace(ARCHITECTURES["resnet20"], **{part: "imaginary"}))


@pytest.mark.parametrize("name", stems.STEMS)
def test_a_stem_names_its_paper(name):
    assert "arXiv:1512.03385" in stems.STEMS[name].__doc__


def test_channels_last_stays_channels_last():
    backbone = Backbone(ARCHITECTURES["resnet20"]).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 16, 16).to(memory_format=torch.channels_last)
    assert all(map_.is_contiguous(memory_format=torch.channels_last) for map_ in backbone(x))


def test_a_network_can_be_traced_whole():
    backbone = Backbone(dataclasses.replace(ARCHITECTURES["resnet20"], depths=(1, 1), widths=(4, 8))).eval()
    x = torch.randn(2, 3, 8, 8)
    traced = torch.compile(backbone, fullgraph=True, backend="eager")
    for ours, theirs in zip(traced(x), backbone(x), strict=True):
        torch.testing.assert_close(ours, theirs)
