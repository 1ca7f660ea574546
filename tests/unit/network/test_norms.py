"""Networks without batch norm begin as their papers say."""

import dataclasses
import math

import pytest
import tiny
import torch
from torch import nn

from plusx.network import layers, norms
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone, Network, branch_convolutions
from plusx.network.layers import Axes
from plusx.network.norms import NORMS
from plusx.tasks.classification import Classification
from plusx.training.loop import train
from plusx.training.recipe import Recipe
from plusx.training.step import Diverged

TASK = Classification(("a", "b", "c"))


def backbone_with(norm, name="resnet20", **changes):
    return Backbone(dataclasses.replace(ARCHITECTURES[name], norm=norm, **changes))


def test_the_module_names_its_papers():
    for number in ("1502.03167", "1901.09321", "2002.10444"):
        assert f"arXiv:{number}" in norms.__doc__


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_batch_norm_gives_every_channel_mean_0_and_variance_1(dims):
    x = 3 * torch.randn(8, 4, *(5,) * dims) + 2
    y = NORMS["batch"]().norm(Axes(dims), 4)(x).transpose(0, 1).flatten(1)
    torch.testing.assert_close(y.mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(1, correction=0), torch.ones(4), atol=1e-4, rtol=0)


@pytest.mark.parametrize("norm", sorted(set(NORMS) - {"batch"}))
def test_without_batch_norm_there_is_none_and_samples_do_not_see_one_another(norm):
    backbone = backbone_with(norm)
    assert not any(isinstance(part, layers.Norm) for part in backbone.modules())
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.1)
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(backbone.double()(x)[-1][:1], backbone(x[:1])[-1])


@pytest.mark.parametrize(("norm", "biased"), [("batch", False), ("none", True), ("skipinit", True), ("fixup", False)])
def test_convolutions_have_a_bias_where_nothing_else_adds_one(norm, biased):
    convolutions = [part for part in backbone_with(norm).modules() if isinstance(part, layers.Convolution)]
    assert len(convolutions) == 19
    assert all((conv.bias is not None) == biased for conv in convolutions)


@pytest.mark.parametrize("norm", ["skipinit", "fixup"])
@pytest.mark.parametrize("name", ["resnet20", "preresnet20", "preresnet164", "wrn16-4", "seresnet110", "resnet9"])
def test_fixup_and_skipinit_begin_with_every_block_as_its_shortcut(norm, name):
    backbone = backbone_with(norm, name).eval()
    for block in list(backbone.blocks())[:12]:
        channels = next(branch_convolutions(block)[0].parameters()).shape[1]
        x = torch.randn(2, channels, 4, 4)
        without = block(x)
        for convolution in branch_convolutions(block):
            nn.init.zeros_(convolution.weight)
        assert torch.equal(block(x), without)


def test_skipinit_is_one_number_a_block_that_is_0_at_first():
    multipliers = [part for part in backbone_with("skipinit").modules() if isinstance(part, layers.ScalarMultiplier)]
    assert [part.multiplier.tolist() for part in multipliers] == [[0.0]] * 9


@pytest.mark.parametrize(("name", "convolutions"), [("resnet20", 2), ("preresnet20", 2), ("resnet164", 3)])
def test_fixup_scales_the_weights_by_the_depth(name, convolutions):
    """L^(-1 / (2m - 2)) of He's for the m - 1 first ones of L branches, 0 for the last (section 3, rule 2)."""
    backbone = backbone_with("fixup", name)
    branches = [branch_convolutions(block) for block in backbone.blocks()]
    scale = len(branches) ** (-1 / (2 * convolutions - 2))
    for branch in branches:
        assert len(branch) == convolutions
        *before, last = branch
        assert not last.weight.any()
        for conv in before:
            size = conv.kernel_size[0]
            expected = scale * math.sqrt(2 / (size**2 * conv.out_channels))
            spread = 4 / math.sqrt(2 * conv.weight.numel())
            assert conv.weight.std().item() == pytest.approx(expected, rel=spread + 0.02)


def test_fixup_leaves_stem_and_shortcuts_at_hes_scale():
    backbone = backbone_with("fixup", shortcut="projection")
    stem = branch_convolutions(backbone.stem)[0]
    assert stem.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 16)), rel=0.15)
    around = next(part for part in backbone.stages[2][0].shortcut.modules() if isinstance(part, layers.Convolution))
    assert around.weight.std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.15)


def test_fixup_adds_a_number_before_every_convolution_and_activation_and_multiplies_every_branch():
    """Section 3, rule 3."""
    block = next(backbone_with("fixup").blocks())
    multipliers = [part for part in block.modules() if isinstance(part, layers.ScalarMultiplier)]
    biases = [part for part in block.modules() if isinstance(part, layers.ScalarBias)]
    assert [part.multiplier.item() for part in multipliers] == [1.0]
    assert [part.bias.item() for part in biases] == [0.0] * 4
    parameters = {name: parameter.numel() for name, parameter in block.named_parameters()}
    assert sorted(parameters.values()) == [1] * 5 + [16 * 16 * 9] * 2


@pytest.mark.parametrize(("norm", "zero"), [("fixup", True), ("skipinit", False), ("none", False), ("batch", False)])
def test_fixups_head_begins_at_zero(norm, zero):
    head = TASK.head(backbone_with(norm))
    assert head.linear.weight.any().item() is not zero
    assert not head.linear.bias.any()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "name", ["resnet20", "resnet164", "preresnet20", "preresnet164", "seresnet110", "resnet9", "mnist_resnet"]
)
def test_any_norm_goes_with_any_residual_network(norm, name):
    backbone = backbone_with(norm, name, depths=(1,) * len(ARCHITECTURES[name].depths))
    head = TASK.head(backbone)
    if norm == "fixup":
        nn.init.normal_(head.linear.weight)
    for part in backbone.modules():
        if isinstance(part, layers.ScalarMultiplier):
            nn.init.ones_(part.multiplier)
    outputs = head(backbone(torch.randn(4, backbone.architecture.channels_in, 16, 16)))
    outputs.square().sum().backward()
    for key, parameter in [*backbone.named_parameters(), *head.named_parameters()]:
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("norm", ["batch", "fixup", "skipinit"])
def test_110_layers_neither_explode_nor_vanish(norm):
    backbone = backbone_with(norm, "resnet110")
    first, *_, last = backbone(torch.randn(8, 3, 16, 16))
    assert 0.1 < last.std() / first.std() < 10


def test_110_layers_without_any_of_these_explode():
    first, *_, last = backbone_with("none", "resnet110")(torch.randn(8, 3, 16, 16))
    assert last.std() / first.std() > 100


@pytest.mark.parametrize("norm", ["fixup", "skipinit", "none"])
def test_56_layers_without_norm_learn_only_if_branches_begin_at_zero(norm):
    torch.manual_seed(0)
    backbone = Backbone(dataclasses.replace(ARCHITECTURES["resnet56"], channels_in=1, norm=norm))
    network = Network(backbone, tiny.TASK.head(backbone))
    recipe = Recipe(epochs=20, learning_rate=0.1, schedule="constant", nesterov=False, weight_decay=0.0)
    losses = []
    steps = train(network, tiny.TASK, tiny.batches(24, batch_size=12), recipe)
    try:
        losses.extend(progress.history[-1]["train_loss"] for progress in steps if progress.epoch_ended)
    except Diverged:
        losses.append(math.inf)
    if norm == "none":
        assert math.isinf(losses[-1])
    else:
        assert losses[-1] < 0.7 * losses[0], losses
