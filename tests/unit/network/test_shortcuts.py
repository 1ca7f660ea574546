"""The ways around a block: what they compute, what they cost, and in which memory format."""

import dataclasses

import pytest
import torch
from torch.nn import functional

from plusx.errors import UsageError
from plusx.network.architectures import ARCHITECTURES
from plusx.network.attention import ATTENTION
from plusx.network.backbone import Backbone
from plusx.network.layers import Axes
from plusx.network.norms import NORMS
from plusx.network.parts import Parts
from plusx.network.shortcuts import SHORTCUTS, ZeroPad

KEEPING = ["zero_pad", "projection", "pooled", "bare_projection"]
PROJECTING = ["projection", "projection_always", "pooled", "bare_projection"]


def parts(dims=2, norm="batch"):
    return Parts(Axes(dims), NORMS[norm](), SHORTCUTS["none"], ATTENTION["none"])


@pytest.mark.parametrize("name", SHORTCUTS)
def test_a_shortcut_names_its_paper(name):
    assert "arXiv:" in SHORTCUTS[name].__doc__


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_zero_pad_takes_every_other_pixel_and_adds_channels_of_zeros(layout):
    x = torch.randn(2, 3, 7, 6).to(memory_format=layout)
    y = ZeroPad(3, 8, 2, parts())(x)
    assert y.shape == (2, 8, 4, 3)
    assert y.is_contiguous(memory_format=layout)
    assert torch.equal(y[:, 2:5], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 5:].any()


def test_zero_pad_cannot_remove_channels():
    with pytest.raises(UsageError, match="from 8 to 4 channels; use projection"):
        SHORTCUTS["zero_pad"](8, 4, 1, parts())


@pytest.mark.parametrize("name", KEEPING)
def test_where_nothing_changes_the_shortcut_is_the_input_itself(name):
    x = torch.randn(1, 4, 5, 5)
    assert SHORTCUTS[name](4, 4, 1, parts())(x) is x


def test_none_is_no_module_at_all():
    assert SHORTCUTS["none"](4, 8, 2, parts()) is None


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(("channels_out", "stride"), [(8, 1), (4, 2), (8, 2)])
def test_projections_fit_any_change(channels_out, stride, dims):
    x = torch.randn(2, 4, *(5, 6, 7)[:dims])
    expected = SHORTCUTS["zero_pad"](4, channels_out, stride, parts(dims))(x).shape
    for name in PROJECTING:
        shortcut = SHORTCUTS[name](4, channels_out, stride, parts(dims))
        assert shortcut(x).shape == expected
        assert hasattr(shortcut, "norm") == (name != "bare_projection")


def test_projections_are_their_formulas():
    x = torch.randn(2, 4, 6, 6)
    for name, before in (
        ("projection", x[:, :, ::2, ::2]),
        ("bare_projection", x[:, :, ::2, ::2]),
        ("pooled", functional.avg_pool2d(x, 2)),
    ):
        shortcut = SHORTCUTS[name](4, 8, 2, parts()).eval()
        expected = torch.einsum("oihw,bixy->boxy", shortcut.conv.weight, before)
        if name != "bare_projection":
            shortcut.norm.running_mean.normal_()
            shortcut.norm.running_var.uniform_(0.5, 2)
            expected = (expected - shortcut.norm.running_mean[:, None, None]) / (
                shortcut.norm.running_var[:, None, None] + 1e-5
            ).sqrt()
        torch.testing.assert_close(shortcut(x), expected)


def test_the_pooled_shortcut_takes_the_mean_of_the_pixels_that_there_are():
    """At an odd side the last window is half outside; what is outside counts for nothing."""
    x = torch.arange(10.0).reshape(1, 1, 2, 5)
    pooled = SHORTCUTS["pooled"](1, 2, 2, parts()).pool(x)
    assert pooled.tolist() == [[[[3.0, 5.0, 6.5]]]]


def test_options_differ_in_parameters_as_in_the_paper():
    def parameters(name: str, shortcut: str) -> int:
        with torch.device("meta"):
            backbone = Backbone(dataclasses.replace(ARCHITECTURES[name], shortcut=shortcut))
        return sum(parameter.numel() for parameter in backbone.parameters())

    def projected(channels_in: int, channels_out: int, norms: int = 2) -> int:
        return channels_in * channels_out + norms * channels_out

    a, b, c = (parameters("resnet20", shortcut) for shortcut in ("zero_pad", "projection", "projection_always"))
    assert b - a == projected(16, 32) + projected(32, 64)
    assert c - b == 3 * projected(16, 16) + 2 * projected(32, 32) + 2 * projected(64, 64)
    assert parameters("resnet20", "pooled") == b
    assert parameters("resnet20", "bare_projection") - a == projected(16, 32, 0) + projected(32, 64, 0)
    assert parameters("resnet20", "none") == a
    assert parameters("resnet34", "zero_pad") == parameters("plain34", "none")
    assert parameters("resnet50", "projection") - parameters("resnet50", "zero_pad") == sum(
        projected(*pair) for pair in ((64, 256), (256, 512), (512, 1024), (1024, 2048))
    )
