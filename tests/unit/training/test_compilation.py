import functools

import pytest
import torch
from torch import nn
from torch._dynamo import utils

from plusx.training.compilation import compiled


@pytest.fixture
def traced(monkeypatch):
    """Only what torch sees is looked at, nothing is translated to C++."""
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    utils.counters.clear()
    return utils.counters["stats"]


def test_every_size_of_images_is_compiled(traced):
    """By itself torch would stop after eight, and a resumed run, which begins to count anew, would not."""
    network = nn.Conv2d(1, 1, 3)
    answer = compiled(network)
    for side in range(4, 16):
        images = torch.randn(2, 1, side, side)
        torch.testing.assert_close(answer(images), network(images))
    assert traced["unique_graphs"] == 12


def test_a_size_that_comes_again_is_not_compiled_again(traced):
    answer = compiled(nn.Conv2d(1, 1, 3))
    for side in (4, 5, 4, 5, 4):
        answer(torch.randn(2, 1, side, side))
    assert traced["unique_graphs"] == 2
