"""What the column of a diagram shows."""

import dataclasses

import pytest

from plusx.evaluation.complexity import survey
from plusx.evaluation.diagram.column import column_of
from plusx.network.architectures import ARCHITECTURES


def column(name, size=32, **changes):
    architecture = dataclasses.replace(ARCHITECTURES[name], **changes)
    return column_of(survey(architecture, 10, size))


def test_a_small_network_is_drawn_whole():
    found = column("resnet34", 224)
    assert found.depths == (3, 4, 6, 3)
    assert [stage for stage, _ in found.blocks] == [0] * 3 + [1] * 4 + [2] * 6 + [3] * 3
    assert [group.hidden for group in found.groups if group.hidden] == []
    assert [step.words for step in found.groups[0].steps] == ["7x7 conv, 64, /2", "3x3 max pool, /2"]
    assert [step.words for step in found.groups[-1].steps] == ["average pool", "fc 10"]


@pytest.mark.parametrize("name", ["resnet50", "resnet152", "resnet110", "densenet121", "resnext101-32x8d", "resnet44"])
def test_a_long_network_is_folded_and_every_block_counted(name):
    found = column(name)
    for stage, depth in enumerate(found.depths):
        groups = [group for group in found.groups if group.stage == stage]
        assert sum(group.anatomy is not None for group in groups) + sum(group.hidden for group in groups) == depth
    assert max(group.hidden for group in found.groups) >= 2
    assert sum(len(group.steps) for group in found.groups) < 56


def test_of_a_stage_the_first_block_and_one_like_the_others_remain():
    stage = [group for group in column("resnet152").groups if group.stage == 2]
    assert [(bool(group.anatomy), group.hidden) for group in stage] == [(True, 0), (True, 0), (False, 34)]
    assert [bool(group.anatomy.shortcut) for group in stage[:2]] == [True, False]


def test_blocks_that_look_the_same_are_folded():
    # Each block drops its branch with a probability of its own, which the picture does not say: they look the same.
    folded = [group.hidden for group in column("resnet110", stochastic_depth=0.5).groups if group.hidden]
    assert sum(folded) == 3 * 16
    assert [group.hidden for group in column("resnet110", shortcut="none").groups if group.hidden] == [16, 16, 16]


def test_sizes_are_those_that_come_out():
    found = column("mnist_resnet", 28, channels_in=1)
    sizes = [found.sizes[step.layer] for group in found.groups for step in group.steps if step.layer is not None]
    assert list(dict.fromkeys(sizes)) == [(28, 28), (14, 14), (7, 7), (3, 3), (1, 1), ()]


def test_transitions_belong_to_the_stage_that_they_begin():
    found = column("densenet121")
    groups = [group for group in found.groups if group.stage == 1]
    assert [step.words for step in groups[0].steps] == ["1x1 conv, 128", "2x2 average pool, /2"]
    assert groups[0].anatomy is None
