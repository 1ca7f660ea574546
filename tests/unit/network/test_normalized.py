"""Networks learn the same with the compiled kernels and without, and show their parts where someone looks."""

import copy
import dataclasses

import pytest
import torch
from compiled_kernels import CONVOLVING, NEEDED, distance, random, turned_off
from torch import nn

from plusx.network import layers, normalized
from plusx.network.architectures import ARCHITECTURES
from plusx.network.attention import ATTENTION
from plusx.network.backbone import Backbone
from plusx.network.blocks import BLOCKS
from plusx.network.layers import Axes
from plusx.network.normalized import normalized as normalize
from plusx.network.norms import NORMS
from plusx.network.parts import Parts
from plusx.network.shortcuts import SHORTCUTS


@pytest.fixture
def used(monkeypatch):
    """The names of the kernels that were used, in order."""
    names = []
    for part, name in ((normalized.normalization, "normalize"), (normalized.convolution, "convolve_and_normalize")):
        function = getattr(part, name)

        def seen(*given, function=function, name=name, **options):
            names.append(name)
            return function(*given, **options)

        monkeypatch.setattr(part, name, seen)
    return names


def block_of(name, stride=1, attention="none", **options):
    sums = BLOCKS[name].sums
    shortcut = SHORTCUTS["projection" if sums else "none"]
    parts = Parts(Axes(2), NORMS["batch"](), shortcut, ATTENTION[attention], **options)
    width = 16 if not sums else 32 // getattr(BLOCKS[name], "expansion", 1)
    return BLOCKS[name](32, width, stride if sums else 1, parts).to(memory_format=torch.channels_last)


def step(block, x, *, precision):
    """What a forward and backward pass leaves."""
    block, x = copy.deepcopy(block).train(), x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
        y = block(x.to(precision))
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype))
    found = {"y": y.detach(), "x": x.grad} | {name: one.grad for name, one in block.named_parameters()}
    return found | {name: one.clone() for name, one in block.named_buffers()}


@NEEDED
@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_learns_the_same(name, attention, used):
    block, x = block_of(name, 2, attention), random((4, 32, 16, 16))
    ours = step(block, x, precision=torch.float32)
    assert used
    with turned_off():
        plain = step(block, x, precision=torch.float32)
    for key, expected in plain.items():
        torch.testing.assert_close(ours[key], expected, rtol=1e-3, atol=1e-4, msg=key)


@NEEDED
@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_learns_the_same_in_bfloat16(name, used):
    block, x = block_of(name), random((8, 32, 16, 16))
    ours = step(block, x, precision=torch.bfloat16)
    assert used
    with turned_off():
        plain = step(block, x, precision=torch.bfloat16)
        exact = step(block, x, precision=torch.float32)
    for key, expected in exact.items():  # 32 channels: convolutions by frequencies round once more
        assert distance(ours[key], expected) <= 1.8 * distance(plain[key], expected) + 1e-3, key


@CONVOLVING
@pytest.mark.parametrize("name", ["resnet20", "preresnet110", "resnet18"])
def test_an_architecture_uses_the_kernels(name, used):
    found = ARCHITECTURES[name]
    short = dataclasses.replace(found, depths=(1,) * len(found.depths))
    network = Backbone(short).train().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        network(random((4, 3, 64, 64), torch.bfloat16))
    assert set(used) == {"normalize", "convolve_and_normalize"}


@NEEDED
def test_who_looks_sees_the_parts(used):
    norm, x = nn.BatchNorm2d(16), random((2, 16, 4, 4))
    seen = []
    handle = norm.register_forward_hook(lambda module, given, y: seen.append(y))
    normalize(norm, x, activation=layers.activation())
    assert len(seen) == 1
    assert not used
    handle.remove()
    normalize(norm, x, activation=layers.activation())
    normalize(norm, x, activation=nn.GELU())
    assert used == ["normalize"]


@NEEDED
@pytest.mark.parametrize("pool", [nn.MaxPool2d(2, 2), nn.AvgPool2d(2), nn.MaxPool2d(3, 2)], ids=str)
def test_a_pool_is_what_it_is(pool):
    norm, x = nn.BatchNorm2d(16), random((2, 16, 8, 8))
    torch.testing.assert_close(normalize(norm, x, pool=pool), norm(pool(x)), rtol=1e-4, atol=1e-5)
    seen = []
    pool.register_forward_hook(lambda module, given, y: seen.append(y))
    normalize(norm, x, pool=pool)
    assert len(seen) == 1


@NEEDED
def test_a_part_that_is_computed_otherwise_is_called(used):
    norm, x = nn.BatchNorm2d(16), random((2, 16, 4, 4))
    norm.forward = lambda x: x * 0
    assert not normalize(norm, x, activation=layers.activation()).any()
    assert not used


@NEEDED
def test_a_frozen_norm_and_evaluation_are_torch_s(used):
    block = block_of("basic").train()
    for part in block.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    block(random((2, 32, 8, 8)))
    block.eval()(random((2, 32, 8, 8)))
    assert not used


@pytest.mark.parametrize("last", [False, True])
def test_without_kernels_the_parts_are_called_in_turn(last):
    conv, norm = layers.Axes(1).conv(4, 6, 3), layers.Axes(1).batch_norm(6)
    x, added = torch.randn(3, 4, 9), torch.randn(3, 6, 9)
    expected = copy.deepcopy(norm)(conv(x))
    expected = expected.relu() + added if last else (expected + added).relu()
    found = normalize(norm, x, conv=conv, added=added, activation=layers.activation(), add_last=last)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(normalize(norm, added, added=None), norm(added))


def test_what_others_need_stays():
    x, added = torch.randn(2, 4, 9), torch.randn(2, 4, 9)
    kept = x.clone()
    torch.testing.assert_close(normalize(layers.identity(), x, added=added), x + added)
    assert torch.equal(x, kept)
