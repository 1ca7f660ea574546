"""Each block is its formula, written out with torch's functions, and names its paper."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from plusx.network.attention import ATTENTION
from plusx.network.blocks import BLOCKS
from plusx.network.layers import Axes
from plusx.network.norms import NORMS
from plusx.network.parts import Parts
from plusx.network.shortcuts import SHORTCUTS

SUMMING = sorted(name for name, block in BLOCKS.items() if block.sums)
LAST_NORMED = ["basic", "bottleneck", "fast", "single", "tutorial"]
ACTIVATED = ("basic", "bottleneck", "single", "tutorial")  # after the sum
DENSE = sorted(set(BLOCKS) - set(SUMMING))


def parts(shortcut="projection", norm="batch", attention="none", dims=2, **changes):
    return Parts(Axes(dims), NORMS[norm](), SHORTCUTS[shortcut], ATTENTION[attention], **changes)


def made(name, channels_in, width, stride=1, shortcut="projection", **changes):
    """A block with random norms, in evaluation mode."""
    block = BLOCKS[name](channels_in, width, stride, parts(shortcut if BLOCKS[name].sums else "none", **changes))
    for part in block.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return block.eval()


def conv(x, layer, **options):
    assert layer.bias is None
    return functional.conv2d(x, layer.weight, **options)


def norm(x, layer):
    scale = layer.weight / (layer.running_var + 1e-5).sqrt()
    return (x - layer.running_mean[:, None, None]) * scale[:, None, None] + layer.bias[:, None, None]


def width_of(name, channels):
    return channels // getattr(BLOCKS[name], "expansion", 1) if name in SUMMING else channels


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_names_its_paper(name):
    module = __import__(BLOCKS[name].__module__, fromlist=["x"])
    assert "arXiv:" in (BLOCKS[name].__doc__ + module.__doc__)
    assert "arXiv:" in module.__doc__


def test_basic_is_its_formula():
    block, x = made("basic", 4, 8, 2), torch.randn(2, 4, 6, 6)
    y = norm(conv(x, block.conv1, stride=2, padding=1), block.norm1).relu()
    y = norm(conv(y, block.conv2, padding=1), block.norm2)
    around = norm(conv(x, block.shortcut.conv, stride=2), block.shortcut.norm)
    torch.testing.assert_close(block(x), (y + around).relu())


def test_bottleneck_is_its_formula_with_the_stride_on_the_3x3():
    block, x = made("bottleneck", 4, 2, 2), torch.randn(2, 4, 6, 6)
    y = norm(conv(x, block.conv1), block.norm1).relu()
    y = norm(conv(y, block.conv2, stride=2, padding=1), block.norm2).relu()
    y = norm(conv(y, block.conv3), block.norm3)
    torch.testing.assert_close(block(x), (y + block.shortcut(x)).relu())


@pytest.mark.parametrize("name", ["bottleneck", "preactivation_bottleneck"])
def test_a_grouped_bottleneck_is_a_sum_of_paths(name):
    """Xie et al. 2016, figure 3: a grouped convolution is as many small ones, side by side."""
    block, x = made(name, 8, 2, groups=3, inner_widths=6.0), torch.randn(2, 8, 5, 5)
    assert block.conv2.weight.shape == (12, 4, 3, 3)
    middle = torch.randn(2, 12, 5, 5)
    paths = [
        functional.conv2d(piece, weight, padding=1)
        for piece, weight in zip(middle.chunk(3, 1), block.conv2.weight.chunk(3), strict=True)
    ]
    torch.testing.assert_close(block.conv2(middle), torch.cat(paths, 1))
    assert block(x).shape == (2, 8, 5, 5)


@pytest.mark.parametrize("shortcut", ["bare_projection", "projection", "zero_pad"])
def test_preactivation_basic_is_its_formula(shortcut):
    block, x = made("preactivation_basic", 4, 8, 2, shortcut), torch.randn(2, 4, 6, 6)
    activated = norm(x, block.norm1).relu()
    y = conv(activated, block.conv1, stride=2, padding=1)
    y = conv(norm(y, block.norm2).relu(), block.conv2, padding=1)
    if shortcut == "bare_projection":
        around = conv(activated, block.shortcut.conv, stride=2)
    elif shortcut == "projection":
        around = norm(conv(activated, block.shortcut.conv, stride=2), block.shortcut.norm)
    else:
        around = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
    torch.testing.assert_close(block(x), y + around)


def test_preactivation_bottleneck_is_its_formula():
    block, x = made("preactivation_bottleneck", 4, 2, 2, "bare_projection"), torch.randn(2, 4, 6, 6)
    activated = norm(x, block.norm1).relu()
    y = norm(conv(activated, block.conv1), block.norm2).relu()
    y = norm(conv(y, block.conv2, stride=2, padding=1), block.norm3).relu()
    around = conv(activated, block.shortcut.conv, stride=2)
    torch.testing.assert_close(block(x), conv(y, block.conv3) + around)


@pytest.mark.parametrize("name", ["preactivation_basic", "preactivation_bottleneck"])
def test_where_the_shape_stays_a_preactivation_block_passes_its_input_on_untouched(name):
    """He et al. 2016, equation 5: nothing stands in the way around."""
    block, x = made(name, 8, width_of(name, 8), shortcut="bare_projection"), torch.randn(2, 8, 5, 5)
    last = block.conv2 if name.endswith("basic") else block.conv3
    nn.init.zeros_(last.weight)
    assert torch.equal(block(x), x)


def test_dense_basic_concatenates_what_it_makes():
    block, x = made("dense_basic", 4, 3), torch.randn(2, 4, 6, 6)
    new = conv(norm(x, block.norm1).relu(), block.conv1, padding=1)
    torch.testing.assert_close(block(x), torch.cat([x, new], 1))
    assert torch.equal(block(x)[:, :4], x)


def test_dense_bottleneck_goes_through_four_times_the_growth():
    block, x = made("dense_bottleneck", 4, 3), torch.randn(2, 4, 6, 6)
    middle = conv(norm(x, block.norm1).relu(), block.conv1)
    assert middle.shape[1] == 12
    new = conv(norm(middle, block.norm2).relu(), block.conv2, padding=1)
    torch.testing.assert_close(block(x), torch.cat([x, new], 1))


def test_fast_has_its_second_activation_in_the_branch():
    block, x = made("fast", 4, 4), torch.randn(2, 4, 6, 6)
    y = norm(conv(x, block.conv1, padding=1), block.norm1).relu()
    y = norm(conv(y, block.conv2, padding=1), block.norm2).relu()
    torch.testing.assert_close(block(x), x + y)
    assert (block(x) < 0).any()


def test_single_is_its_formula():
    block, x = made("single", 4, 8, 2), torch.randn(2, 4, 6, 6)
    y = norm(conv(x, block.conv, stride=2, padding=1), block.norm)
    torch.testing.assert_close(block(x), (y + block.shortcut(x)).relu())


def test_tutorial_is_the_issues_formula():
    """5x5 to 30, relu, 3x3 back, relu, relu(out + x); no norm; biases."""
    block, x = made("tutorial", 4, 4, norm="none"), torch.randn(2, 4, 6, 6)
    assert block.conv1.weight.shape == (30, 4, 5, 5)
    assert block.conv2.weight.shape == (4, 30, 3, 3)
    for layer in (block.conv1, block.conv2):
        nn.init.normal_(layer.bias)
    y = functional.conv2d(x, block.conv1.weight, block.conv1.bias, padding=2).relu()
    y = functional.conv2d(y, block.conv2.weight, block.conv2.bias, padding=1).relu()
    torch.testing.assert_close(block(x), (y + x).relu())


@pytest.mark.parametrize("name", SUMMING)
@pytest.mark.parametrize("attention", ["squeeze_excite", "eca"])
def test_attention_weighs_the_branch_and_not_the_way_around(name, attention):
    block, x = made(name, 8, width_of(name, 8), attention=attention), torch.randn(2, 8, 5, 5)
    plain = made(name, 8, width_of(name, 8))
    plain.load_state_dict({key: value for key, value in block.state_dict().items() if "attention" not in key})
    assert not torch.allclose(block(x), plain(x))
    block.attention = nn.Identity()
    torch.testing.assert_close(block(x), plain(x))
    block.attention = Zero()
    # Without its branch a block is its shortcut, here the identity.
    expected = x.relu() if name in ACTIVATED else x
    torch.testing.assert_close(block(x), expected)


class Zero(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("norm_name", NORMS)
@pytest.mark.parametrize("training", [False, True])
def test_a_block_leaves_its_input_alone(name, norm_name, training):
    """Its activations work in place, and its input is also the shortcut's and the feature of a stage."""
    block = made(name, 8, width_of(name, 8), norm=norm_name).train(training)
    x = torch.randn(2, 8, 5, 5)
    before = x.clone()
    block(x).sum()
    assert torch.equal(x, before)


@pytest.mark.parametrize("norm_name", NORMS)
@pytest.mark.parametrize(("name", "stride"), [*((name, 1) for name in BLOCKS), *((name, 2) for name in SUMMING)])
def test_gradients_are_those_of_differences(name, norm_name, stride):
    """What is computed in place must not be what a gradient needs."""
    width = width_of(name, 4)
    block = made(name, 4, width, stride, norm=norm_name, attention="eca" if BLOCKS[name].sums else "none").double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(1, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x,), fast_mode=True)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_block_works_in_any_number_of_axes(name, dims):
    strides = (1, 2) if BLOCKS[name].sums else (1,)
    for stride in strides:
        block = made(name, 4, 4, stride, dims=dims, attention="squeeze_excite")
        y = block(torch.randn(2, 4, *(5,) * dims))
        assert y.shape == (2, block.channels_out, *((5 + stride - 1) // stride,) * dims)


@pytest.mark.parametrize("name", LAST_NORMED)
def test_with_its_last_norm_at_zero_a_block_is_its_shortcut(name):
    block = BLOCKS[name](8, width_of(name, 8), 1, parts("zero_pad"))
    nn.init.zeros_(block.last_norm.weight)
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(block(x), x if name == "fast" else x.relu())


@pytest.mark.parametrize("name", sorted(set(BLOCKS) - set(LAST_NORMED)))
def test_a_branch_that_does_not_end_in_a_norm_has_no_last_norm(name):
    assert made(name, 8, width_of(name, 8)).last_norm is None


@pytest.mark.parametrize("name", LAST_NORMED)
def test_without_a_shortcut_there_is_no_sum(name):
    block = BLOCKS[name](8, width_of(name, 8), 1, parts("none"))
    nn.init.zeros_(block.last_norm.weight)
    assert not block(torch.randn(2, 8, 5, 5)).any()


@pytest.mark.parametrize("name", ["preactivation_basic", "preactivation_bottleneck"])
def test_without_a_shortcut_preactivation_has_no_sum_either(name):
    block = BLOCKS[name](8, width_of(name, 8), 1, parts("none"))
    nn.init.zeros_((block.conv2 if name.endswith("basic") else block.conv3).weight)
    assert not block(torch.randn(2, 8, 5, 5)).any()


@pytest.mark.parametrize("name", BLOCKS)
def test_dropout_stands_before_the_last_convolution_or_after_a_dense_one(name):
    """Zagoruyko and Komodakis 2016, section 2.4; Huang et al. 2016, section 3 (training)."""
    block = made(name, 8, width_of(name, 8), dropout=0.5).train()
    seen = {}
    for part_name, part in block.named_modules():
        part.register_forward_hook(
            lambda part, given, output, part_name=part_name: seen.update(
                {part_name: (given[0].clone(), output.clone())}
            )
        )
    x = torch.randn(2, 8, 9, 9)
    y = block(x)
    last = max(key for key in seen if key.startswith("conv") and "." not in key)
    dropped, kept = seen["dropout"]
    assert torch.allclose(kept[kept != 0], 2 * dropped[kept != 0])
    assert 0.3 < ((kept == 0) & (dropped != 0)).float().sum() / (dropped != 0).sum() < 0.7
    if name in DENSE:
        assert torch.equal(seen[last][1], dropped)
        assert torch.equal(y[:, 8:], kept)
    else:
        assert torch.equal(seen[last][0], kept)
    block.eval()
    assert torch.equal(block(x), block(x))


@pytest.mark.parametrize("name", SUMMING)
def test_stochastic_depth_leaves_out_whole_branches_sample_by_sample(name):
    block = made(name, 8, width_of(name, 8), stochastic_depth=0.5, shortcut="zero_pad")
    whole = dataclasses.replace(parts("zero_pad"), stochastic_depth=0.0)
    x = torch.randn(64, 8, 4, 4)
    outcome = block(x)
    assert torch.equal(outcome, block(x)), "off in evaluation"
    block.branch_end.train()  # the norms stay as they are
    drawn = block(x)
    around = x.relu() if name in ACTIVATED else x
    left_out = (drawn == around).flatten(1).all(1)
    assert 16 < left_out.sum() < 48
    if name in ("preactivation_basic", "preactivation_bottleneck", "fast"):
        torch.testing.assert_close((drawn - x)[~left_out], 2 * (outcome - x)[~left_out], rtol=1e-4, atol=1e-4)
    assert whole.branch_end().__class__ is nn.Identity


def test_stochastic_depth_keeps_the_mean():
    from plusx.network.layers import StochasticDepth

    layer = StochasticDepth(0.2).train()
    x = torch.ones(20_000, 2, 1)
    y = layer(x)
    assert set(y[:, 0, 0].tolist()) == {0.0, 1.25}
    assert torch.equal(y[:, 0], y[:, 1])
    assert y.mean().item() == pytest.approx(1, abs=0.02)
    assert layer.eval()(x) is x
    assert repr(layer) == "StochasticDepth(probability=0.2)"
