"""Architectures are plain data that go to JSON and come back, and cannot describe what cannot be built."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from plusx.errors import UsageError
from plusx.network.architecture import SHORTCUT_NAMES, Architecture, shortcut_named
from plusx.network.architectures import (
    ARCHITECTURES,
    NAMED,
    SMALL_IMAGE,
    SMALL_IMAGE_TWINS,
    paper_classes,
    small_image_twin,
    stem_warning,
)

FAMILY = """
resnet18 resnet34 resnet50 resnet101 resnet152 plain18 plain34
resnet20 resnet32 resnet44 resnet56 resnet110 resnet1202 plain20 plain32 plain44 plain56 plain110 resnet164 resnet1001
preresnet18 preresnet34 preresnet50 preresnet101 preresnet152 preresnet200
preresnet20 preresnet56 preresnet110 preresnet164 preresnet1001
resnext50-32x4d resnext101-32x4d resnext101-32x8d resnext101-64x4d resnext29-8x64d resnext29-16x64d
wide50-2 wide101-2 wrn16-4 wrn16-8 wrn22-8 wrn28-10 wrn40-1 wrn40-2 wrn40-4 wrn40-10
resnet18c resnet34c resnet50c resnet101c resnet152c resnet18d resnet34d resnet50d resnet101d resnet152d
resnetrs50 resnetrs101 resnetrs152 resnetrs200 resnetrs270 resnetrs350 resnetrs420
seresnet18 seresnet34 seresnet50 seresnet101 seresnet152 seresnext50-32x4d seresnext101-32x4d seresnet110 seresnet164
ecaresnet18 ecaresnet34 ecaresnet50 ecaresnet101 ecaresnet152 ecaresnet50d
densenet121 densenet169 densenet201 densenet161 densenet264
densenet40-12 densenet100-12 densenet100-24 densenetbc100-12 densenetbc250-24 densenetbc190-40
resnet9 resnet8 resnet8-half mnist_resnet
"""
OTHERWISE_NAMED = ("resnet9", "resnet8", "resnet8-half", "mnist_resnet")


def test_the_whole_family_is_there_and_no_name_stands_twice():
    assert list(ARCHITECTURES) == FAMILY.split()
    assert len(NAMED) == len(ARCHITECTURES) == 94


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_knows_its_name_and_paper_and_survives_json(name):
    architecture = ARCHITECTURES[name]
    assert architecture.name == name
    assert re.search(r"arXiv:\d{4}\.\d{5}", architecture.paper)
    assert Architecture(**json.loads(json.dumps(dataclasses.asdict(architecture)))) == architecture


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_its_name_says_its_depth(name):
    """The layers with weights, as the papers count them: stem, blocks' branches, dense transitions, head."""
    architecture = ARCHITECTURES[name]
    found = re.match(r"[a-z]+?(\d+)", name)
    if found is None or name in OTHERWISE_NAMED:
        assert name in OTHERWISE_NAMED
        return
    each = {"basic": 2, "bottleneck": 3, "preactivation_basic": 2, "preactivation_bottleneck": 3, "dense_basic": 1,
            "dense_bottleneck": 2}[architecture.block]  # fmt: skip
    between = len(architecture.depths) - 1 if architecture.transition == "dense" else 0
    projections = 2 if name.startswith("wrn") else 0  # that paper alone counts the projections: 6n + 4
    counted = 2 + each * sum(architecture.depths) + between + projections
    # The papers' own numbers of blocks do not quite make these.
    beside = {"densenet264": 1, "resnetrs270": 2, "resnetrs420": -1}
    assert counted == int(found.group(1)) + beside.get(name, 0)


def test_plain_twins_differ_from_their_residual_networks_only_in_the_shortcut():
    plain = {name for name in ARCHITECTURES if name.startswith("plain")}
    assert plain == {"plain18", "plain34", "plain20", "plain32", "plain44", "plain56", "plain110"}
    for name in plain:
        twin = ARCHITECTURES[name.replace("plain", "resnet")]
        other = ARCHITECTURES[name]
        words = {"name": name, "paper": other.paper, "published": other.published}
        assert other == dataclasses.replace(twin, shortcut="none", **words)


def test_architectures_load_no_torch():
    code = "import sys, plusx.network.architectures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("A", "zero_pad"),
        ("b", "projection"),
        ("C", "projection_always"),
        ("d", "pooled"),
        ("none", "none"),
        ("zero_pad", "zero_pad"),
        ("bare_projection", "bare_projection"),
    ],
)
def test_a_shortcut_has_the_papers_letter_and_its_own_name(name, key):
    assert shortcut_named(name) == key


def test_every_shortcut_can_be_named():
    from plusx.network.shortcuts import SHORTCUTS

    assert set(SHORTCUT_NAMES.values()) == set(SHORTCUTS)


@pytest.mark.parametrize(("name", "hint"), [("E", "there are: A, B, C"), ("projecton", "did you mean 'projection'")])
def test_an_unknown_shortcut_offers_those_there_are(name, hint):
    with pytest.raises(UsageError, match=f"no shortcut is called '{name}'; {hint}"):
        shortcut_named(name)


def test_every_network_for_large_images_has_a_twin_for_small_ones():
    for name, architecture in ARCHITECTURES.items():
        twin = ARCHITECTURES[small_image_twin(architecture)]
        assert twin.image_size < SMALL_IMAGE
        assert not twin.stem.startswith(("imagenet", "deep"))
        assert (twin.name == name) == (architecture.image_size < SMALL_IMAGE)
        assert (twin.shortcut == "none") == (architecture.shortcut == "none")
        assert (twin.transition == "dense") == (architecture.transition == "dense")
    assert all(ARCHITECTURES[name].image_size >= SMALL_IMAGE for name in SMALL_IMAGE_TWINS)


@pytest.mark.parametrize(("name", "classes"), [("resnet50", 1000), ("resnetrs50", 1000), ("wrn40-2", 10)])
def test_the_papers_classes_are_known(name, classes):
    assert paper_classes(ARCHITECTURES[name]) == classes


@pytest.mark.parametrize(
    ("name", "height", "width", "warned"),
    [
        ("resnet18", 28, 28, True),
        ("resnet18", 224, 63, True),
        ("resnet18", 64, 64, False),
        ("resnet20", 28, 28, False),
    ],
)
def test_a_coarse_stem_on_small_images_is_warned_of(name, height, width, warned):
    sentence = stem_warning(ARCHITECTURES[name], height, width)
    assert (sentence is not None) == warned
    if sentence:
        assert "resnet20 is the better model" in sentence
        assert f"{height}x{width}" in sentence


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"depths": (3, 3)}, "has 2 depths .* and 3 widths .*; give one depth and one width a stage"),
        ({"depths": (), "widths": ()}, "at least one stage"),
        ({"depths": (3, -1, 3)}, "must be 1 or more"),
        ({"depths": (0, 0, 0)}, "a depth may be 0, but not all of them"),
        ({"channels_in": 0}, "channels_in 0.* must be 1 or more"),
        ({"groups": 0}, "groups 0 .* must be 1 or more"),
        ({"attention_reduction": 0}, "attention_reduction 0; each of these must be 1 or more"),
        ({"dropout": 1.0}, "dropout is 1.0, but must be at least 0 and below 1"),
        ({"stochastic_depth": -0.1}, "stochastic_depth is -0.1, but must be at least 0 and below 1"),
        ({"dropout": float("nan")}, "dropout is nan, but must be at least 0 and below 1"),
        ({"compression": 0.0}, "compression is 0.0, but must be above 0 and at most 1"),
        ({"compression": 1.5}, "compression is 1.5, but must be above 0 and at most 1"),
        ({"dims": 4}, "dims is 4, but must be 1, 2 or 3"),
        ({"pooling": "maximum"}, "no pooling is called 'maximum'"),
        ({"stem_width": -1}, "stem_width is -1, but must be 0 .* or more"),
        ({"width_per_group": -1}, "width_per_group is -1, but must be 0 .* or more"),
        ({"shortcut": "none", "zero_init_residual": True}, "has no shortcuts, so zero_init_residual"),
        ({"shortcut": "none", "norm": "fixup"}, "has no shortcuts, so norm 'fixup', whose branches begin at zero"),
        ({"shortcut": "none", "norm": "skipinit"}, "has no shortcuts, so norm 'skipinit'"),
        (
            {"shortcut": "none", "stochastic_depth": 0.2},
            "a block that stochastic_depth leaves out would end the signal",
        ),
    ],
)
def test_numbers_that_describe_no_network_are_refused(changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        dataclasses.replace(ARCHITECTURES["resnet20"], **changes)
