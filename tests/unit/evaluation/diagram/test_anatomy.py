"""What blocks are made of, read from how they compute."""

import dataclasses

import pytest
import torch
from torch import nn

from plusx.evaluation.complexity import meta_network
from plusx.evaluation.diagram.anatomy import anatomy_of, chain_of, name_of
from plusx.network.architectures import ARCHITECTURES


def words(steps):
    return [step.words for step in steps]


def block_of(name, stage=0, number=0, **changes):
    network = meta_network(dataclasses.replace(ARCHITECTURES[name], **changes), 10).eval()
    return anatomy_of(network.backbone.stages[stage][number])


def test_the_original_block():
    block = block_of("resnet18")
    assert words(block.branch) == ["3x3 conv, 64", "batch norm", "relu", "3x3 conv, 64", "batch norm"]
    assert words(block.after) == ["relu"]
    assert (block.before, block.shortcut, block.join) == ((), (), "sum")


def test_shortcuts_that_change_the_shape():
    assert words(block_of("resnet50", 1).shortcut) == ["1x1 conv, 512, /2", "batch norm"]
    assert words(block_of("resnet20", 1).shortcut) == ["every 2nd pixel", "pad with zeros"]
    assert words(block_of("resnet50d", 1).shortcut) == ["2x2 average pool, /2", "1x1 conv, 512", "batch norm"]


def test_a_plain_block_has_no_way_around():
    block = block_of("plain20")
    assert (block.shortcut, block.join, len(block.steps)) == (None, "", 6)


def test_pre_activation_comes_first_and_a_projection_takes_it_too():
    first, second = block_of("preresnet20", 1, 0), block_of("preresnet20", 1, 1)
    order = ["batch norm", "relu", "3x3 conv, 32", "batch norm", "relu", "3x3 conv, 32"]
    assert words(second.branch) == order
    assert (second.before, second.shortcut, second.after) == ((), (), ())
    first = block_of("preresnet50", 1, 0)
    assert words(first.before) == ["batch norm", "relu"]
    assert words(first.branch)[0] == "1x1 conv, 128"
    assert words(first.shortcut) == ["1x1 conv, 512, /2"]


def test_a_dense_block_concatenates():
    block = block_of("densenet121")
    assert block.join == "concatenation"
    assert block.shortcut == ()
    assert words(block.branch) == ["batch norm", "relu", "1x1 conv, 128", "batch norm", "relu", "3x3 conv, 32"]


@pytest.mark.parametrize(
    ("name", "said"), [("seresnet50", "squeeze-excite, 16"), ("ecaresnet50", "channel attention, 5")]
)
def test_attention_is_one_step_of_the_branch(name, said):
    last = block_of(name).branch[-1]
    assert (last.kind, last.words) == ("attention", said)


def test_options_are_steps():
    block = block_of("resnet20", norm="fixup", dropout=0.3, stochastic_depth=0.2, number=1)
    assert [step for step in words(block.branch) if "conv" not in step and step != "relu"] == [
        "scalar bias", "scalar bias", "dropout 0.3", "scalar bias", "scalar bias", "scalar multiplier",
        "stochastic depth",
    ]  # fmt: skip


def test_groups_are_named():
    assert words(block_of("resnext50-32x4d").branch)[3] == "3x3 conv, 128, 32 groups"


@pytest.mark.parametrize(("dims", "said"), [(1, ["7 conv, 64, /2", "3 max pool, /2"]), (3, ["7x7x7 conv, 64, /2"])])
def test_kernels_have_as_many_sides_as_there_are_axes(dims, said):
    stem = meta_network(dataclasses.replace(ARCHITECTURES["resnet18"], dims=dims), 10).backbone.stem
    assert set(said) <= set(words(chain_of(stem)))


def test_heads_name_their_pool():
    assert words(chain_of(meta_network(ARCHITECTURES["resnet18"], 7).head)) == ["average pool", "fc 7"]
    assert words(chain_of(meta_network(ARCHITECTURES["resnet9"], 7).head)) == ["max pool", "fc 7"]


class Strange(nn.Module):
    """A block with parameters of its own, a shortcut that is longer than its branch, and an unknown layer."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.offset = nn.Parameter(torch.zeros(1))
        self.shortcut = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3))
        self.conv = nn.Conv2d(3, 3, (3, 1), stride=(3, 1), padding=(1, 0))
        self.act = nn.GELU()
        self.thin = nn.AvgPool2d(1, stride=3)
        self.off = nn.Dropout(0.0)

    def forward(self, x):
        y = self.off(self.act(self.conv(x) * self.scale + self.offset))
        return torch.relu(y.add(self.shortcut(self.thin(x))))


def test_a_new_block_draws_itself():
    block = anatomy_of(Strange())
    assert words(block.branch) == ["3x1 conv, 3, /3", "times scale", "plus bias", "g e l u"]
    assert words(block.shortcut) == ["every pixel, /3", "1x1 conv, 3", "batch norm", "batch norm"]
    assert words(block.after) == ["relu"]
    assert words(block.steps) == [*words(block.branch), "relu"]


class Gated(nn.Module):
    """A block whose sum is multiplied by a gate, which is no way around it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.gate = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        y = x + self.conv(x)
        return y * self.gate(y).sigmoid()


def test_a_product_of_two_tensors_is_no_sum():
    block = anatomy_of(Gated())
    assert (block.join, block.shortcut, block.after) == ("sum", (), ())
    assert words(block.branch) == ["3x3 conv, 3"]


class Fickle(nn.Module):
    """A block whose way depends on its numbers, which symbols do not have."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.fold = nn.ModuleList([nn.Conv2d(3, 3, 5)])

    def forward(self, x):
        return self.conv(x) if x.sum() > 0 else x


def test_a_block_that_cannot_be_followed_is_its_layers():
    block = anatomy_of(Fickle())
    assert words(block.branch) == ["3x3 conv, 3", "5x5 conv, 3"]
    assert block.shortcut is None


def test_unknown_layers_are_called_by_their_class():
    assert name_of(nn.BatchNorm3d(2)) == "batch norm"
    assert name_of(nn.LazyLinear(2)) == "lazy linear"
