"""The blocks compute relu(F(x) + x), and each names its paper."""

import pytest
import torch
from torch.nn import functional

from plusx.network.blocks import BLOCKS
from plusx.network.shortcuts import SHORTCUTS


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_names_its_paper(name):
    assert "arXiv:1512.03385" in BLOCKS[name].__doc__


def test_basic_is_its_formula():
    block = BLOCKS["basic"](4, 8, 2, SHORTCUTS["projection"]).eval()
    x = torch.randn(2, 4, 6, 6)
    branch = functional.conv2d(x, block.conv1.weight, stride=2, padding=1)
    branch = functional.conv2d(block.norm1(branch).relu(), block.conv2.weight, padding=1)
    expected = (block.norm2(branch) + block.shortcut(x)).relu()
    torch.testing.assert_close(block(x), expected)


def test_bottleneck_is_its_formula_with_the_stride_on_the_3x3():
    block = BLOCKS["bottleneck"](4, 2, 2, SHORTCUTS["projection"]).eval()
    x = torch.randn(2, 4, 6, 6)
    branch = block.norm1(functional.conv2d(x, block.conv1.weight)).relu()
    branch = block.norm2(functional.conv2d(branch, block.conv2.weight, stride=2, padding=1)).relu()
    expected = (block.norm3(functional.conv2d(branch, block.conv3.weight)) + block.shortcut(x)).relu()
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_leaves_its_input_alone(name):
    block = BLOCKS[name](8, 8 // BLOCKS[name].expansion, 1, SHORTCUTS["projection"])
    x = torch.randn(2, 8, 5, 5)
    before = x.clone()
    block(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", BLOCKS)
def test_with_its_last_norm_at_zero_a_block_is_its_shortcut(name):
    block = BLOCKS[name](8, 8 // BLOCKS[name].expansion, 1, SHORTCUTS["zero_pad"])
    torch.nn.init.zeros_(block.last_norm.weight)
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(block(x), x.relu())


@pytest.mark.parametrize("name", BLOCKS)
def test_without_a_shortcut_there_is_no_sum(name):
    block = BLOCKS[name](8, 8 // BLOCKS[name].expansion, 1, SHORTCUTS["none"])
    torch.nn.init.zeros_(block.last_norm.weight)
    assert not block(torch.randn(2, 8, 5, 5)).any()
