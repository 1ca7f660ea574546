"""Initial weights have the papers' spread and come from torch's global random stream."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from plusx.errors import UsageError
from plusx.network import layers
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone
from plusx.network.initialize import initialize
from plusx.network.layers import Axes


@pytest.mark.parametrize(("channels_in", "channels_out", "size"), [(64, 64, 3), (256, 64, 1), (3, 64, 7)])
@pytest.mark.parametrize("dims", [1, 2])
def test_convolutions_keep_the_scale_of_gradients(channels_in, channels_out, size, dims):
    conv = Axes(dims).conv(channels_in, channels_out, size, bias=True)
    initialize(conv)
    expected = math.sqrt(2 / (size**dims * channels_out))
    spread = 4 / math.sqrt(2 * conv.weight.numel())
    assert conv.weight.std().item() == pytest.approx(expected, rel=spread)
    assert abs(conv.weight.mean().item()) < 4 * expected / math.sqrt(conv.weight.numel())
    assert not conv.bias.any()


def test_linear_layers_start_small_and_without_bias():
    linear = layers.linear(512, 100)
    initialize(linear)
    assert linear.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not linear.bias.any()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_norms_start_as_standardization(dims):
    norm = Axes(dims).batch_norm(8)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    norm.running_mean.fill_(3)
    initialize(norm)
    assert (norm.weight == 1).all()
    assert (norm.bias == 0).all()
    assert (norm.running_mean == 0).all()


def test_a_seed_gives_the_same_weights_again():
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.nn.utils.parameters_to_vector(Backbone(ARCHITECTURES["resnet20"]).parameters())

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_network_of_the_meta_device_is_left_alone():
    with torch.device("meta"):
        backbone = Backbone(dataclasses.replace(ARCHITECTURES["resnet20"], norm="fixup"))
    assert all(parameter.is_meta for parameter in backbone.parameters())


def test_the_tutorials_network_starts_as_torchs_layers_do():
    torch.manual_seed(3)
    backbone = Backbone(ARCHITECTURES["mnist_resnet"])
    stem = backbone.stem.conv
    bound = 1 / math.sqrt(25)
    assert stem.weight.abs().max() <= bound
    assert stem.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert stem.bias.any()
    head = torch.nn.Linear(160, 10)
    backbone.initialize_head(head)
    assert head.weight.std().item() == pytest.approx(1 / math.sqrt(3 * 160), rel=0.1)


def test_unknown_initial_weights_are_an_error():
    with pytest.raises(UsageError, match="no kind of initial weights is called 'zero'"):
        initialize(torch.nn.Linear(2, 2), "zero")


def test_dirac_convolutions_hand_on_the_channels_that_come_in():
    convolution = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    initialize(convolution, "dirac")
    images = torch.randn(2, 3, 5, 6)
    torch.testing.assert_close(convolution(images)[:, :3], images)
    assert convolution.weight[3:].abs().min() > 0
    narrow = nn.Conv2d(8, 3, 3, padding=1, bias=False)
    initialize(narrow, "dirac")
    wide = torch.randn(2, 8, 5, 6)
    torch.testing.assert_close(narrow(wide), wide[:, :3])
    grouped = nn.Conv2d(4, 4, 3, groups=2)
    initialize(grouped, "dirac")
    assert (grouped.weight != 0).all()
