"""Architectures are plain data that go to JSON and come back, and cannot describe what cannot be built."""

import dataclasses
import json
import subprocess
import sys

import pytest

from plusx.errors import UsageError
from plusx.network.architectures import (
    ARCHITECTURES,
    SHORTCUT_NAMES,
    SMALL_IMAGE_TWINS,
    Architecture,
    shortcut_named,
    small_image_twin,
    stem_warning,
)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_knows_its_name_and_paper_and_survives_json(name):
    architecture = ARCHITECTURES[name]
    assert architecture.name == name
    assert "arXiv:1512.03385" in architecture.paper
    assert Architecture(**json.loads(json.dumps(dataclasses.asdict(architecture)))) == architecture


def test_plain_twins_differ_from_their_residual_networks_only_in_the_shortcut():
    plain = {name for name in ARCHITECTURES if name.startswith("plain")}
    assert plain == {"plain18", "plain34", "plain20", "plain32", "plain44", "plain56", "plain110"}
    for name in plain:
        twin = ARCHITECTURES[name.replace("plain", "resnet")]
        same = dataclasses.replace(twin, name=name, paper=ARCHITECTURES[name].paper, shortcut="none")
        assert ARCHITECTURES[name] == same


def test_architectures_load_no_torch():
    code = "import sys, plusx.network.architectures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "key"),
    [("A", "zero_pad"), ("b", "projection"), ("C", "projection_always"), ("none", "none"), ("zero_pad", "zero_pad")],
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


def test_every_imagenet_stem_has_a_twin_for_small_images():
    for name, architecture in ARCHITECTURES.items():
        twin = ARCHITECTURES[small_image_twin(architecture)]
        assert twin.stem == "small"
        assert (twin.shortcut == "none") == (architecture.shortcut == "none")
        assert (twin.name == name) == (name not in SMALL_IMAGE_TWINS)


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
        ({"depths": (3, 0, 3)}, "must be 1 or more"),
        ({"channels_in": 0}, "channels_in 0 .* must be 1 or more"),
        ({"shortcut": "none", "zero_init_residual": True}, "has no shortcuts, so zero_init_residual"),
    ],
)
def test_numbers_that_describe_no_network_are_refused(changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        dataclasses.replace(ARCHITECTURES["resnet20"], **changes)
