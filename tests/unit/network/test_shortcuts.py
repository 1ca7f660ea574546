"""The ways around a block: what they compute, what they cost, and in which memory format."""

import dataclasses

import pytest
import torch

from plusx.errors import UsageError
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone
from plusx.network.shortcuts import SHORTCUTS, Projection, ZeroPad


@pytest.mark.parametrize("name", SHORTCUTS)
def test_a_shortcut_names_its_paper(name):
    assert "arXiv:1512.03385" in SHORTCUTS[name].__doc__


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_zero_pad_takes_every_other_pixel_and_adds_channels_of_zeros(layout):
    x = torch.randn(2, 3, 7, 6).to(memory_format=layout)
    y = ZeroPad(3, 8, 2)(x)
    assert y.shape == (2, 8, 4, 3)
    assert y.is_contiguous(memory_format=layout)
    assert torch.equal(y[:, 2:5], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 5:].any()


def test_zero_pad_cannot_remove_channels():
    with pytest.raises(UsageError, match="from 8 to 4 channels; use projection"):
        SHORTCUTS["zero_pad"](8, 4, 1)


@pytest.mark.parametrize("name", ["zero_pad", "projection"])
def test_where_nothing_changes_the_shortcut_is_the_input_itself(name):
    x = torch.randn(1, 4, 5, 5)
    assert SHORTCUTS[name](4, 4, 1)(x) is x


@pytest.mark.parametrize(("channels_out", "stride"), [(8, 1), (4, 2), (8, 2)])
def test_projections_fit_any_change(channels_out, stride):
    x = torch.randn(2, 4, 5, 5)
    for name in ("projection", "projection_always"):
        shortcut = SHORTCUTS[name](4, channels_out, stride)
        assert isinstance(shortcut, Projection)
        assert shortcut(x).shape == SHORTCUTS["zero_pad"](4, channels_out, stride)(x).shape


def test_options_differ_in_parameters_as_in_the_paper():
    def parameters(name: str, shortcut: str) -> int:
        with torch.device("meta"):
            backbone = Backbone(dataclasses.replace(ARCHITECTURES[name], shortcut=shortcut))
        return sum(parameter.numel() for parameter in backbone.parameters())

    def projected(channels_in: int, channels_out: int) -> int:
        return channels_in * channels_out + 2 * channels_out

    a, b, c = (parameters("resnet20", shortcut) for shortcut in ("zero_pad", "projection", "projection_always"))
    assert b - a == projected(16, 32) + projected(32, 64)
    assert c - b == 3 * projected(16, 16) + 2 * projected(32, 32) + 2 * projected(64, 64)
    assert parameters("resnet20", "none") == a
    assert parameters("resnet34", "zero_pad") == parameters("plain34", "none")
    assert parameters("resnet50", "projection") - parameters("resnet50", "zero_pad") == sum(
        projected(*pair) for pair in ((64, 256), (256, 512), (512, 1024), (1024, 2048))
    )
