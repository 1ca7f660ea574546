"""Attention is its papers' formulas, and keeps the shape."""

import pytest
import torch
from torch import nn

from plusx.network import attention as attention_module
from plusx.network.attention import ATTENTION
from plusx.network.layers import Axes
from plusx.network.norms import NORMS
from plusx.network.parts import Parts
from plusx.network.shortcuts import SHORTCUTS


def made(name, channels, dims=2, reduction=16):
    parts = Parts(Axes(dims), NORMS["batch"](), SHORTCUTS["none"], ATTENTION[name], attention_reduction=reduction)
    attention = parts.attention(channels)
    for parameter in attention.parameters():
        nn.init.normal_(parameter)
    return attention


def test_the_module_names_its_papers():
    assert "arXiv:1709.01507" in attention_module.__doc__
    assert "arXiv:1910.03151" in attention_module.__doc__


def test_none_is_the_input_itself():
    x = torch.randn(1, 4, 3, 3)
    assert made("none", 4)(x) is x


def test_squeeze_and_excitation_is_its_formula():
    attention, x = made("squeeze_excite", 128), torch.randn(2, 128, 5, 4)
    squeezed = x.mean((2, 3)) @ attention.squeeze.weight.flatten(1).T + attention.squeeze.bias
    weights = squeezed.relu() @ attention.excite.weight.flatten(1).T + attention.excite.bias
    torch.testing.assert_close(attention(x), x * torch.sigmoid(weights)[:, :, None, None], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "reduction", "narrow"), [(256, 16, 16), (2048, 16, 128), (256, 4, 64), (64, 16, 8), (16, 16, 8)]
)
def test_squeeze_and_excitation_is_as_narrow_as_its_reduction_says_and_not_narrower_than_8(channels, reduction, narrow):
    attention = made("squeeze_excite", channels, reduction=reduction)
    assert attention.squeeze.out_channels == narrow
    assert sum(each.numel() for each in attention.parameters()) == 2 * channels * narrow + narrow + channels


def test_efficient_channel_attention_is_its_formula():
    attention, x = made("eca", 16), torch.randn(2, 16, 5, 4)
    kernel = attention.conv.weight.flatten().tolist()
    means = torch.nn.functional.pad(x.mean((2, 3)), (1, 1))
    weights = sum(number * means[:, place : place + 16] for place, number in enumerate(kernel))
    torch.testing.assert_close(attention(x), x * torch.sigmoid(weights)[:, :, None, None])


@pytest.mark.parametrize(("channels", "size"), [(16, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7)])
def test_its_kernel_grows_with_the_logarithm_of_the_channels(channels, size):
    """|(log2(C) + 1) / 2|, cut, and made odd by adding 1: the authors' published code."""
    attention = made("eca", channels)
    assert sum(each.numel() for each in attention.parameters()) == size


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_attention_keeps_the_shape_in_any_number_of_axes(name, dims):
    x = torch.randn(2, 16, *(3, 4, 5)[:dims])
    y = made(name, 16, dims)(x)
    assert y.shape == x.shape
    # One weight for each channel of each sample.
    ratio = (y / x).flatten(2)
    torch.testing.assert_close(ratio, ratio[:, :, :1].expand_as(ratio))
