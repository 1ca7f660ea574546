"""A backbone is what its architecture says, in one, two and three axes, and learns at a depth of a thousand layers."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from plusx.errors import UsageError
from plusx.network import layers
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone, Network, strides_of
from plusx.tasks.classification import Classification


def network_of(name: str, classes: int = 10, **changes: object) -> Network:
    backbone = Backbone(dataclasses.replace(ARCHITECTURES[name], **changes))
    return Network(backbone, Classification(tuple(map(str, range(classes)))).head(backbone))


def test_features_go_from_fine_to_coarse():
    backbone = Backbone(ARCHITECTURES["resnet50"])
    features = backbone(torch.randn(1, 3, 65, 96))
    assert backbone.channels == (256, 512, 1024, 2048)
    assert backbone.strides == (4, 8, 16, 32)
    assert [tuple(map_.shape) for map_ in features] == [
        (1, 256, 17, 24),
        (1, 512, 9, 12),
        (1, 1024, 5, 6),
        (1, 2048, 3, 3),
    ]


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnetrs50", (256, 512, 1024, 2048)),
        ("resnext50-32x4d", (256, 512, 1024, 2048)),
        ("wide50-2", (256, 512, 1024, 2048)),
        ("densenet121", (256, 512, 1024, 1024)),
        ("densenet40-12", (160, 304, 448)),
        ("wrn28-10", (160, 320, 640)),
        ("preresnet164", (64, 128, 256)),
        ("resnet9", (64, 128, 256, 512)),
        ("mnist_resnet", (20, 40, 80, 160)),
    ],
)
def test_a_familys_feature_maps_have_their_channels(name, channels):
    with torch.device("meta"):
        assert Backbone(ARCHITECTURES[name]).channels == channels


@pytest.mark.parametrize("name", ["resnet20", "preresnet20", "densenet40-12", "resnet9", "mnist_resnet"])
def test_a_later_stage_does_not_change_an_earlier_ones_features(name):
    backbone = Backbone(ARCHITECTURES[name]).eval()
    x = torch.randn(2, backbone.architecture.channels_in, 16, 16)
    features = backbone(x)
    y = backbone.stem(x)
    for transition, stage, feature in zip(backbone.transitions, backbone.stages, features[:-1], strict=False):
        y = stage(transition(y)).clone()
        assert torch.equal(feature, y)


def test_a_network_gives_what_its_head_gives():
    network = network_of("resnet20", channels_in=5)
    assert network.architecture.channels_in == 5
    assert network(torch.randn(2, 5, 8, 8)).shape == (2, 10)


# What divides the sides most among all networks is 32, so these are the smallest sides that every network takes.
SIDES = {1: (33,), 2: (33, 32), 3: (32, 33, 32)}


@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_is_built_and_runs_in_one_and_three_axes(name, dims):
    channels_in = 2 if dims == 1 else 5
    depths = tuple(min(depth, 2) for depth in ARCHITECTURES[name].depths)  # the blocks after these are their copies
    with torch.device("meta"):
        network = network_of(name, dims=dims, channels_in=channels_in, depths=depths).eval()
        outputs = network(torch.empty(2, channels_in, *SIDES[dims]))
    assert outputs.shape == (2, 10)


LIGHT = [
    "resnet18", "resnet20", "preresnet18", "preresnet20", "resnet18c", "resnet18d", "seresnet18", "ecaresnet18",
    "wrn16-4", "densenet40-12", "resnet9", "mnist_resnet",
]  # fmt: skip


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", LIGHT)
def test_light_networks_pass_gradients_in_any_number_of_axes(name, dims):
    small = 8 if ARCHITECTURES[name].image_size < 64 else 32
    small = 16 if name in ("resnet9", "mnist_resnet") else small
    channels_in = {1: 2, 2: 5, 3: 2}[dims]
    network = network_of(name, dims=dims, channels_in=channels_in)
    outputs = network(torch.randn(2, channels_in, *(small,) * dims))
    functional.cross_entropy(outputs, torch.tensor([0, 9])).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", ["resnet1001", "preresnet1001", "resnet1202"])
def test_a_thousand_layers_make_a_forward_and_a_backward_pass(name):
    network = network_of(name)
    outputs = network(torch.randn(2, 3, 8, 8))
    functional.cross_entropy(outputs, torch.tensor([0, 9])).backward()
    assert outputs.isfinite().all()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert network.backbone.stem.conv.weight.grad.any(), "the loss is felt by the first layer"


def test_mnist_resnet_is_the_tutorials_layer_by_layer():
    network = network_of("mnist_resnet").eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 296_640
    assert not any(isinstance(part, layers.Norm) for part in network.modules())
    parameters = iter(network.parameters())
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)

    def conv(x, channels_in, channels_out, size):
        weight, bias = next(parameters), next(parameters)
        assert weight.shape == (channels_out, channels_in, size, size)
        return functional.conv2d(x, weight, bias, padding=size // 2)

    def block(x, channels):
        out = conv(x, channels, 30, 5).relu()
        out = conv(out, 30, channels, 3).relu()
        return (out + x).relu()

    def pool(x):
        return functional.max_pool2d(x, 2)

    x = torch.randn(2, 1, 28, 28)
    # In the order in which they stand in the network: stem, transitions, stages.
    order = dict(network.named_parameters())
    names = [
        "backbone.stem.conv", "backbone.stages.0.0.conv1", "backbone.stages.0.0.conv2",
        "backbone.transitions.1.conv", "backbone.stages.1.0.conv1", "backbone.stages.1.0.conv2",
        "backbone.transitions.2.conv", "backbone.stages.2.0.conv1", "backbone.stages.2.0.conv2",
        "backbone.transitions.3.conv", "head.linear",
    ]  # fmt: skip
    assert set(order) == {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}
    parameters = iter([order[f"{name}.{kind}"] for name in names for kind in ("weight", "bias")])
    y = pool(block(conv(x, 1, 20, 5), 20))
    y = pool(block(conv(y, 20, 40, 3), 40))
    y = pool(block(conv(y, 40, 80, 3), 80))
    y = pool(conv(y, 80, 160, 3).relu())
    assert y.shape == (2, 160, 1, 1)
    weight, bias = next(parameters), next(parameters)
    assert weight.shape == (10, 160)
    torch.testing.assert_close(network(x), y.flatten(1) @ weight.T + bias)


def test_resnet9_is_made_as_its_author_made_it():
    backbone = Backbone(ARCHITECTURES["resnet9"]).eval()
    x = torch.randn(2, 3, 32, 32)

    def step(part, x):
        return part.norm(functional.conv2d(x, part.conv.weight, padding=1)).relu()

    y = step(backbone.stem, x)
    y = functional.max_pool2d(step(backbone.transitions[1], y), 2)
    y = backbone.stages[1][0](y)
    y = functional.max_pool2d(step(backbone.transitions[2], y), 2)
    y = functional.max_pool2d(step(backbone.transitions[3], y), 2)
    y = backbone.stages[3][0](y)
    torch.testing.assert_close(backbone(x)[-1], y)
    assert y.shape == (2, 512, 4, 4)
    assert [len(stage) for stage in backbone.stages] == [0, 1, 0, 1]


@pytest.mark.parametrize("name", ["preresnet20", "densenet40-12"])
def test_what_activates_before_it_convolves_ends_with_a_norm_and_an_activation(name):
    backbone = Backbone(ARCHITECTURES[name]).eval()
    last = backbone(torch.randn(2, 3, 8, 8))[-1]
    assert (last >= 0).all()
    assert (last == 0).any()
    assert backbone.finish.norm.num_features == backbone.channels[-1]


def test_zero_init_residual_makes_every_block_start_as_its_shortcut():
    backbone = Backbone(dataclasses.replace(ARCHITECTURES["resnet20"], zero_init_residual=True))
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(backbone(x)[0], backbone.stem(x))
    assert sum(not block.last_norm.weight.any() for block in backbone.blocks()) == 9


def test_stochastic_depth_grows_linearly_from_the_stem_to_the_last_block():
    """Huang et al. 2016, equation 4: 1 - l / L (1 - p_L) is the probability of being kept."""
    backbone = Backbone(dataclasses.replace(ARCHITECTURES["resnet20"], stochastic_depth=0.5))
    found = [
        part.probability
        for block in backbone.blocks()
        for part in block.modules()
        if isinstance(part, layers.StochasticDepth)
    ]
    assert found == pytest.approx([0.5 * place / 9 for place in range(1, 10)])
    assert not any(isinstance(part, layers.StochasticDepth) for part in Backbone(ARCHITECTURES["resnet20"]).modules())


def test_dropout_is_within_the_blocks_only():
    backbone = Backbone(dataclasses.replace(ARCHITECTURES["wrn16-4"], dropout=0.3))
    drops = [name for name, part in backbone.named_modules() if isinstance(part, nn.Dropout)]
    assert drops == [f"stages.{stage}.{place}.dropout" for stage in range(3) for place in range(2)]
    assert {backbone.get_submodule(name).p for name in drops} == {0.3}


@pytest.mark.parametrize("part", ["stem", "block", "shortcut", "transition", "attention", "norm"])
def test_an_unknown_part_is_an_error_that_names_it(part):
    with pytest.raises(UsageError, match=f"no {part} is called 'imaginary'"):
        Backbone(dataclasses.replace(ARCHITECTURES["resnet20"], **{part: "imaginary"}))


@pytest.mark.parametrize("shortcut", ["projection", "zero_pad"])
def test_a_network_that_sums_nothing_has_no_place_for_a_shortcut(shortcut):
    with pytest.raises(UsageError, match=f"densenet121 concatenates .*, so shortcut '{shortcut}' has no place in it"):
        Backbone(dataclasses.replace(ARCHITECTURES["densenet121"], shortcut=shortcut))


def test_strides_are_known_without_building():
    assert strides_of(ARCHITECTURES["resnet50"]) == (4, 8, 16, 32)
    assert strides_of(ARCHITECTURES["resnet20"]) == (1, 2, 4)
    assert strides_of(ARCHITECTURES["mnist_resnet"]) == (1, 2, 4, 16)


def test_channels_last_stays_channels_last():
    for name in ("resnet20", "preresnet20", "densenet40-12", "seresnet110"):
        backbone = Backbone(dataclasses.replace(ARCHITECTURES[name], depths=(1, 1, 1)))
        backbone = backbone.to(memory_format=torch.channels_last)
        x = torch.randn(2, 3, 16, 16).to(memory_format=torch.channels_last)
        assert all(map_.is_contiguous(memory_format=torch.channels_last) for map_ in backbone(x))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "name",
    ["resnet20", "preresnet20", "densenet40-12", "seresnet110", "resnet9", "resnet8", "mnist_resnet", "resnet50"],
)
def test_a_network_can_be_traced_whole(name, training):
    """In training under bfloat16 too, where kernels that the compiler cannot see compute; they round otherwise."""
    one = ARCHITECTURES[name]
    depths = tuple(min(depth, 1) for depth in one.depths)
    backbone = Backbone(dataclasses.replace(one, depths=depths)).train(training).to(memory_format=torch.channels_last)
    x = torch.randn(2, one.channels_in, 16, 16).to(memory_format=torch.channels_last)
    torch.compiler.reset()  # what was traced of other networks counts
    traced = torch.compile(backbone, fullgraph=True, backend="eager")
    with torch.autocast("cpu", torch.bfloat16, enabled=training):
        for ours, theirs in zip(traced(x), backbone(x), strict=True):
            assert ours.shape == theirs.shape
            if not training:
                torch.testing.assert_close(ours, theirs)
