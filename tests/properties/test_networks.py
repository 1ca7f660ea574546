"""Whatever is in the tables: features have the shapes that a backbone states, and gradients are finite."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plusx.network.architecture import Architecture
from plusx.network.architectures import ARCHITECTURES
from plusx.network.attention import ATTENTION
from plusx.network.backbone import Backbone, strides_of
from plusx.network.blocks import BLOCKS
from plusx.network.norms import NORMS
from plusx.network.shortcuts import SHORTCUTS
from plusx.network.stems import STEMS
from plusx.network.transitions import TRANSITIONS
from plusx.tasks.classification import Classification

SMALL = sorted(name for name, architecture in ARCHITECTURES.items() if sum(architecture.depths) <= 16)
TASK = Classification(("a", "b", "c"))


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    """Any combination of parts that has a meaning."""
    block = draw(st.sampled_from(sorted(BLOCKS)))
    dims = draw(st.integers(1, 3))
    stages = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12)), min_size=1, max_size=5 - dims))
    depths = [depth for depth, _ in stages]
    depths[-1] = max(1, depths[-1])  # at least one block
    # A dense block cannot halve the size itself.
    transition = draw(st.sampled_from(sorted(TRANSITIONS)))
    if not BLOCKS[block].sums or (transition == "in_block" and 0 in depths):
        transition = "dense"
    shortcut = draw(st.sampled_from(sorted(SHORTCUTS))) if BLOCKS[block].sums else "none"
    if shortcut == "zero_pad" and transition == "dense":
        shortcut = "projection"  # that transition may leave more channels than the next stage is wide
    norms = {"batch", "none"} if shortcut == "none" else set(NORMS)
    groups = draw(st.sampled_from([1, 2, 3]))
    return Architecture(
        "drawn",
        "none",
        draw(st.sampled_from(sorted(STEMS))),
        block,
        tuple(depths),
        tuple(sorted(width for _, width in stages)),
        shortcut,
        zero_init_residual=draw(st.booleans()) and shortcut != "none",
        channels_in=draw(st.integers(1, 5)),
        stem_width=draw(st.sampled_from([0, 2, 4])) if shortcut != "zero_pad" else 0,
        transition=transition,
        attention=draw(st.sampled_from(sorted(ATTENTION))),
        attention_reduction=draw(st.sampled_from([4, 16])),
        compression=draw(st.sampled_from([0.5, 1.0])),
        pooling=draw(st.sampled_from(["mean", "max"])),
        norm=draw(st.sampled_from(sorted(norms))),
        dropout=draw(st.sampled_from([0.0, 0.3])),
        stochastic_depth=draw(st.sampled_from([0.0, 0.5])) if shortcut != "none" else 0.0,
        dims=dims,
        # With as many channels a group in the first stage as it is wide, every stage's width can be cut into groups.
        groups=groups,
        width_per_group=stages and min(width for _, width in stages),
    )


def check(architecture: Architecture, sides: tuple[int, ...]) -> None:
    backbone = Backbone(architecture)
    network = torch.nn.Sequential(backbone, TASK.head(backbone))
    images = torch.randn(2, architecture.channels_in, *sides)
    features = backbone(images)
    assert len(features) == len(architecture.depths) == len(backbone.channels) == len(backbone.strides)
    up = architecture.transition == "in_block"
    sizes = rounded(sides, backbone.stem.stride, up=True)
    for place, (map_, channels, stride) in enumerate(zip(features, backbone.channels, backbone.strides, strict=True)):
        sizes = sizes if place == 0 else rounded(sizes, 2, up=up)
        last = place == len(features) - 1
        seen = rounded(sizes, BLOCKS[architecture.block].finish_stride, up=False) if last else sizes
        assert map_.shape == (2, channels, *seen)
        assert map_.isfinite().all()
        # The stated stride is what the sides are divided by, give or take the rounding on the way.
        assert all(abs(size - side / stride) < 2 for size, side in zip(seen, sides, strict=True))
    check_features(backbone, images)
    sum([network(images).mean(), *(map_.mean() for map_ in backbone(images))]).backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) is parameter.requires_grad, name
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


def check_features(backbone: Backbone, images: torch.Tensor) -> None:
    """No stage changes what an earlier one gave."""
    backbone.eval()
    x, found = backbone.stem(images), backbone(images)
    for transition, stage, feature in zip(backbone.transitions, backbone.stages, found, strict=True):
        x = stage(transition(x)).clone()
        if feature is not found[-1]:
            assert torch.equal(feature, x)
    assert torch.equal(found[-1], backbone.finish(x))
    backbone.train()


def rounded(sides: tuple[int, ...], stride: int, *, up: bool) -> tuple[int, ...]:
    return tuple(-(-side // stride) if up else side // stride for side in sides)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(SMALL), st.integers(1, 5), st.data())
def test_named_networks(name, channels_in, data):
    architecture = dataclasses.replace(ARCHITECTURES[name], channels_in=channels_in)
    smallest = 33 if architecture.image_size >= 64 else 16
    check(architecture, tuple(data.draw(st.integers(smallest, smallest + 7)) for _ in range(2)))


@settings(max_examples=50, deadline=None)
@given(architectures(), st.data())
def test_networks_of_any_parts(architecture, data):
    # What rounds down needs a pixel left at the end; what rounds up has it always.
    up = architecture.transition == "in_block" and architecture.block != "tutorial"
    if architecture.shortcut == "pooled" and architecture.dims == 3:
        up = False  # torch has no mean over windows larger than a volume, though over those larger than an image
    smallest = 1 if up else strides_of(architecture)[-1]
    check(architecture, tuple(data.draw(st.integers(smallest, smallest + 20)) for _ in range(architecture.dims)))


@pytest.mark.parametrize("table", [STEMS, BLOCKS, SHORTCUTS, ATTENTION, TRANSITIONS, NORMS])
def test_every_part_names_its_paper(table):
    """In its own words or in those of its module."""
    import sys

    for name, part in table.items():
        words = (part.__doc__ or "") + (sys.modules[part.__module__].__doc__ or "")
        assert "arXiv:" in words, name
        assert part.__doc__, name
