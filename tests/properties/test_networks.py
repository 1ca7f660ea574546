"""Whatever is in the tables: features have the shapes that a backbone states, and gradients are finite."""

import dataclasses
import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plusx.network.architectures import ARCHITECTURES, Architecture
from plusx.network.backbone import Backbone
from plusx.network.blocks import BLOCKS
from plusx.network.shortcuts import SHORTCUTS
from plusx.network.stems import STEMS

SMALL = sorted(name for name, architecture in ARCHITECTURES.items() if sum(architecture.depths) <= 16)

drawn_from_parts = st.builds(
    lambda stem, block, stages, shortcut, zero_init_residual: Architecture(
        "drawn",
        "none",
        stem,
        block,
        tuple(depth for depth, _ in stages),
        tuple(sorted(width for _, width in stages)),
        shortcut,
        zero_init_residual=zero_init_residual and shortcut != "none",
    ),
    st.sampled_from(sorted(STEMS)),
    st.sampled_from(sorted(BLOCKS)),
    st.lists(st.tuples(st.integers(1, 2), st.integers(1, 12)), min_size=1, max_size=5),
    st.sampled_from(sorted(SHORTCUTS)),
    st.booleans(),
)


def check(architecture: Architecture, height: int, width: int) -> None:
    backbone = Backbone(architecture)
    images = torch.randn(2, architecture.channels_in, height, width)
    features = backbone(images)
    assert len(features) == len(architecture.depths) == len(backbone.channels) == len(backbone.strides)
    for map_, channels, stride in zip(features, backbone.channels, backbone.strides, strict=True):
        assert map_.shape == (2, channels, math.ceil(height / stride), math.ceil(width / stride))
        assert map_.isfinite().all()
    sum(map_.mean() for map_ in features).backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(SMALL),
    channels_in=st.integers(1, 5),
    height=st.integers(33, 48),
    width=st.integers(33, 48),
)
def test_named_networks(name, channels_in, height, width):
    check(dataclasses.replace(ARCHITECTURES[name], channels_in=channels_in), height, width)


@settings(max_examples=40, deadline=None)
@given(drawn_from_parts, st.integers(1, 5), st.integers(1, 40), st.integers(1, 40))
def test_networks_of_any_parts(architecture, channels_in, height, width):
    check(dataclasses.replace(architecture, channels_in=channels_in), height, width)
