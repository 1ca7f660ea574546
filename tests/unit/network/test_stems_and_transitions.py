"""What networks and stages begin with is what their papers say."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from plusx.network import stems, transitions
from plusx.network.attention import ATTENTION
from plusx.network.layers import Axes
from plusx.network.norms import NORMS
from plusx.network.parts import Parts
from plusx.network.shortcuts import SHORTCUTS
from plusx.network.stems import STEMS
from plusx.network.transitions import TRANSITIONS


def parts(dims=2, norm="batch", **changes):
    return Parts(Axes(dims), NORMS[norm](), SHORTCUTS["none"], ATTENTION["none"], **changes)


def with_random_norms(part):
    for each in part.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.running_mean.normal_()
            each.running_var.uniform_(0.5, 2)
            nn.init.normal_(each.weight)
            nn.init.normal_(each.bias)
    return part.eval()


def conv(x, layer, **options):
    return functional.conv2d(x, layer.weight, **options)


def pool(x):
    return functional.max_pool2d(x, 3, 2, 1)


FORMULAS = {
    "imagenet": lambda s, x: pool(s.norm(conv(x, s.conv, stride=2, padding=3)).relu()),
    "imagenet_bare": lambda s, x: pool(conv(x, s.conv, stride=2, padding=3)),
    "deep": lambda s, x: pool(deep(s, x)),
    "deep_strided": lambda s, x: s.norm4(conv(deep(s, x), s.conv4, stride=2, padding=1)).relu(),
    "small": lambda s, x: s.norm(conv(x, s.conv, padding=1)).relu(),
    "small_bare": lambda s, x: conv(x, s.conv, padding=1),
    "tutorial": lambda s, x: conv(x, s.conv, padding=2),
    "whitening": lambda s, x: conv(x, s.conv, padding=1, bias=s.conv.bias).relu(),
}


def deep(stem, x):
    x = stem.norm1(conv(x, stem.conv1, stride=2, padding=1)).relu()
    x = stem.norm2(conv(x, stem.conv2, padding=1)).relu()
    return stem.norm3(conv(x, stem.conv3, padding=1)).relu()


def test_the_modules_name_their_papers():
    for number in ("1512.03385", "1812.01187", "2103.07579", "1603.05027", "1608.06993", "2404.00498"):
        assert f"arXiv:{number}" in stems.__doc__
    assert "arXiv:1608.06993" in transitions.__doc__


@pytest.mark.parametrize("name", STEMS)
def test_a_stem_is_its_formula(name):
    stem, x = with_random_norms(STEMS[name](3, 8, parts())), torch.randn(2, 3, 15, 18)
    torch.testing.assert_close(stem(x), FORMULAS[name](stem, x))


@pytest.mark.parametrize("name", STEMS)
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("channels_in", [1, 2, 5])
def test_a_stem_divides_the_sides_by_its_stride_rounded_up(name, dims, channels_in):
    stem, sides = STEMS[name](channels_in, 8, parts(dims)), (9, 12, 7)[:dims]
    y = stem(torch.randn(2, channels_in, *sides))
    assert y.shape == (2, 8, *(-(-side // stem.stride) for side in sides))


@pytest.mark.parametrize("name", ["deep", "deep_strided"])
def test_a_deep_stem_is_half_as_wide_at_first(name):
    stem = STEMS[name](3, 64, parts())
    assert (stem.conv1.out_channels, stem.conv2.out_channels, stem.conv3.out_channels) == (32, 32, 64)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_whitening_stem_makes_the_numbers_of_a_patch_independent(dims):
    sides = (40, 9, 5)[:dims]
    numbers = 2 * 3**dims
    mixing = torch.randn(2, 2, generator=torch.Generator().manual_seed(1))
    images = torch.einsum("ij,bj...->bi...", mixing, torch.randn(200, 2, *sides))
    images = images.cumsum(2)  # so that neighbors are alike
    stem = STEMS["whitening"](2, 2 * numbers, parts(dims))
    stem.learn(images)
    nn.init.zeros_(stem.conv.bias)
    inner = (slice(None), slice(None), *(slice(1, -1),) * dims)
    answers = stem.conv(images)[inner].detach().movedim(1, -1).flatten(0, -2).double()
    covariance = answers.T @ answers / len(answers)
    torch.testing.assert_close(covariance[:numbers, :numbers], torch.eye(numbers).double(), rtol=0.02, atol=0.02)
    torch.testing.assert_close(answers[:, numbers:], -answers[:, :numbers], rtol=1e-4, atol=1e-4)
    assert not stem.conv.weight.requires_grad
    assert stem.conv.bias.requires_grad


def test_a_whitening_stem_begins_with_what_varies_most_and_keeps_what_it_cannot_learn():
    images = torch.randn(50, 1, 12, 12).cumsum(3)
    few, many = STEMS["whitening"](1, 4, parts()), STEMS["whitening"](1, 24, parts())
    drawn = many.conv.weight.clone()
    few.learn(images)
    many.learn(images)
    torch.testing.assert_close(few.conv.weight[:2], many.conv.weight[:2])
    spread = [1 / one.norm() for one in many.conv.weight[:9]]
    assert spread == sorted(spread, reverse=True)
    assert torch.equal(many.conv.weight[18:], drawn[18:])


def test_in_block_is_nothing():
    transition, x = TRANSITIONS["in_block"](4, 8, parts()), torch.randn(1, 4, 5, 5)
    assert transition(x) is x
    assert (transition.block_stride, transition.channels_out) == (2, 4)
    assert not list(transition.parameters())


def test_conv_pool_is_its_formula():
    transition, x = with_random_norms(TRANSITIONS["conv_pool"](4, 8, parts())), torch.randn(2, 4, 7, 6)
    expected = functional.max_pool2d(transition.norm(conv(x, transition.conv, padding=1)).relu(), 2)
    torch.testing.assert_close(transition(x), expected)
    assert (transition.block_stride, transition.channels_out) == (1, 8)


def test_pool_conv_is_its_formula():
    transition, x = TRANSITIONS["pool_conv"](4, 8, parts(norm="none")), torch.randn(2, 4, 7, 6)
    nn.init.normal_(transition.conv.bias)
    expected = functional.conv2d(functional.max_pool2d(x, 2), transition.conv.weight, transition.conv.bias, padding=1)
    torch.testing.assert_close(transition(x), expected)


@pytest.mark.parametrize(("compression", "channels"), [(1.0, 7), (0.5, 3)])
def test_dense_is_its_formula_and_keeps_its_share_of_the_channels(compression, channels):
    transition = with_random_norms(TRANSITIONS["dense"](7, 12, parts(compression=compression)))
    x = torch.randn(2, 7, 7, 6)
    expected = functional.avg_pool2d(conv(transition.norm(x).relu(), transition.conv), 2)
    torch.testing.assert_close(transition(x), expected)
    assert transition.channels_out == channels == expected.shape[1]


@pytest.mark.parametrize("name", sorted(set(TRANSITIONS) - {"in_block"}))
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_transition_halves_the_sides_rounded_down_and_leaves_its_input_alone(name, norm, dims):
    transition, sides = TRANSITIONS[name](4, 8, parts(dims, norm)), (9, 12, 7)[:dims]
    x = torch.randn(2, 4, *sides)
    before = x.clone()
    assert transition(x).shape == (2, transition.channels_out, *(side // 2 for side in sides))
    assert torch.equal(x, before)
