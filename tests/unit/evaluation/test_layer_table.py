"""The layer table reads as the papers' tables do, and its rows add up to the whole."""

import dataclasses

import pytest
from torch import nn

from plusx.errors import DataError, UsageError
from plusx.evaluation.complexity import complexity, meta_network, survey
from plusx.evaluation.diagram.anatomy import anatomy_of
from plusx.evaluation.layer_table import layer_table, rows_of
from plusx.network.architectures import ARCHITECTURES, paper_classes
from plusx.network.attention import ATTENTION


def table_of(name, classes=0, image_size=0):
    one = ARCHITECTURES[name]
    rows = layer_table(one, classes or paper_classes(one), image_size or one.image_size)
    return [(row.stage, row.output_size, row.channels, row.blocks) for row in rows]


def test_the_layer_table_of_resnet50_is_the_papers():
    assert table_of("resnet50") == [
        ("conv1", (112, 112), 64, "7x7, 64, stride 2"),
        ("conv2_x", (56, 56), 256, "3x3 max-pool, stride 2; [1x1, 64; 3x3, 64; 1x1, 256] x 3"),
        ("conv3_x", (28, 28), 512, "[1x1, 128; 3x3, 128; 1x1, 512] x 4"),
        ("conv4_x", (14, 14), 1024, "[1x1, 256; 3x3, 256; 1x1, 1024] x 6"),
        ("conv5_x", (7, 7), 2048, "[1x1, 512; 3x3, 512; 1x1, 2048] x 3"),
        ("head", (1, 1), 1000, "global average pool, linear, 1000"),
    ]
    rows = layer_table(ARCHITECTURES["resnet50"], classes=1000, image_size=224)
    assert rows[0].multiply_adds == 112 * 112 * 64 * 3 * 49
    assert rows[-1].parameters == 2048 * 1000 + 1000


def test_the_layer_table_of_resnext50_is_the_papers():
    """Xie et al. 2016, table 1."""
    assert [blocks for *_, blocks in table_of("resnext50-32x4d")][1:5] == [
        "3x3 max-pool, stride 2; [1x1, 128; 3x3, 128, 32 groups; 1x1, 256] x 3",
        "[1x1, 256; 3x3, 256, 32 groups; 1x1, 512] x 4",
        "[1x1, 512; 3x3, 512, 32 groups; 1x1, 1024] x 6",
        "[1x1, 1024; 3x3, 1024, 32 groups; 1x1, 2048] x 3",
    ]


def test_the_layer_table_of_densenet121_is_the_papers():
    """Huang et al. 2016, table 1: each layer adds 32 channels, and a transition halves channels and size."""
    rows = table_of("densenet121")
    assert rows[0] == ("conv1", (112, 112), 64, "7x7, 64, stride 2")
    assert [row[1:3] for row in rows[1:5]] == [((56, 56), 256), ((28, 28), 512), ((14, 14), 1024), ((7, 7), 1024)]
    assert rows[1][3] == "3x3 max-pool, stride 2; [1x1, 128; 3x3, 32] x 6"
    assert [row[3] for row in rows[2:5]] == [
        f"1x1, {channels}; 2x2 average-pool, stride 2; [1x1, 128; 3x3, 32] x {depth}"
        for channels, depth in ((128, 12), (256, 24), (512, 16))
    ]


def test_the_layer_table_of_mnist_resnet_is_its_definition():
    assert table_of("mnist_resnet") == [
        ("conv1", (28, 28), 20, "5x5, 20"),
        ("conv2_x", (28, 28), 20, "[5x5, 30; 3x3, 20] x 1"),
        ("conv3_x", (14, 14), 40, "2x2 max-pool, stride 2; 3x3, 40; [5x5, 30; 3x3, 40] x 1"),
        ("conv4_x", (7, 7), 80, "2x2 max-pool, stride 2; 3x3, 80; [5x5, 30; 3x3, 80] x 1"),
        ("conv5_x", (3, 3), 160, "2x2 max-pool, stride 2; 3x3, 160"),
        ("head", (1, 1), 10, "2x2 max-pool, stride 2, global average pool, linear, 10"),
    ]


def test_attention_is_said_within_the_blocks():
    assert "[1x1, 64; 3x3, 64; 1x1, 256; squeeze-excite, 16] x 3" in table_of("seresnet50")[1][3]
    assert "[1x1, 64; 3x3, 64; 1x1, 256; channel attention, 5] x 3" in table_of("ecaresnet50")[1][3]


@pytest.mark.parametrize("words", ["gate, 3", ""])
def test_a_new_attention_says_its_own_words_in_table_and_diagram(words, monkeypatch):
    class NewGate(nn.Module):
        def forward(self, x):
            return 2 * x

    if words:
        NewGate.words = words
    monkeypatch.setitem(ATTENTION, "new", lambda _, __: NewGate())
    surveyed = survey(dataclasses.replace(ARCHITECTURES["resnet18"], attention="new"), 10, 64)
    assert rows_of(surveyed)[2].blocks == f"[3x3, 128; 3x3, 128; {words or 'new gate'}] x 2"
    assert anatomy_of(surveyed.network.backbone.stages[1][0]).branch[-1].words == (words or "new gate")


def test_a_stage_without_blocks_says_how_it_begins():
    assert [row[3] for row in table_of("resnet9")] == [
        "3x3, 64",
        "3x3, 128; 2x2 max-pool, stride 2; [3x3, 128; 3x3, 128] x 1",
        "3x3, 256; 2x2 max-pool, stride 2",
        "3x3, 512; 2x2 max-pool, stride 2; [3x3, 512; 3x3, 512] x 1",
        "global max pool, linear, 10",
    ]


def test_in_one_and_three_axes_kernels_have_as_many_sides():
    sound = dataclasses.replace(ARCHITECTURES["resnet18"], dims=1)
    rows = layer_table(sound, classes=7, image_size=64)
    assert rows[0].blocks == "7, 64, stride 2"
    assert rows[1].blocks == "3 max-pool, stride 2; [3, 64; 3, 64] x 2"
    assert rows[1].output_size == (16,)
    volume = dataclasses.replace(sound, dims=3)
    rows = layer_table(volume, classes=7, image_size=(33, 40, 64))
    assert rows[1].blocks == "3x3x3 max-pool, stride 2; [3x3x3, 64; 3x3x3, 64] x 2"
    assert rows[1].output_size == (9, 10, 16)
    assert rows[-1].output_size == (1, 1, 1)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet101", "resnet20", "plain110"])
@pytest.mark.parametrize("shortcut", ["projection_always", "none"])
def test_the_rows_add_up_to_the_whole(name, shortcut):
    architecture = dataclasses.replace(ARCHITECTURES[name], shortcut=shortcut, channels_in=1)
    rows = layer_table(architecture, classes=7, image_size=(40, 56))
    whole = complexity(meta_network(architecture, 7), (1, 40, 56))
    assert sum(row.parameters for row in rows) == whole.parameters
    assert sum(row.multiply_adds for row in rows) == whole.multiply_adds
    assert all(f" x {depth}" in row.blocks for row, depth in zip(rows[1:], architecture.depths, strict=False))


@pytest.mark.parametrize(
    "name",
    ["preresnet50", "wrn16-4", "resnet50d", "resnetrs50", "seresnet50", "ecaresnet50", "densenet121", "densenet40-12",
     "resnet9", "mnist_resnet"],
)  # fmt: skip
@pytest.mark.parametrize("norm", ["batch", "fixup"])
def test_the_rows_of_every_family_add_up_to_the_whole(name, norm):
    one = ARCHITECTURES[name]
    if one.shortcut == "none":
        norm = "batch"
    architecture = dataclasses.replace(one, norm=norm)
    rows = layer_table(architecture, classes=7, image_size=64)
    whole = complexity(meta_network(architecture, 7), (one.channels_in, 64, 64))
    assert sum(row.parameters for row in rows) == whole.parameters
    assert sum(row.multiply_adds for row in rows) == whole.multiply_adds


def test_a_layer_table_of_nothing_is_refused():
    with pytest.raises(UsageError, match="0x0 pixels does not fit"):
        layer_table(ARCHITECTURES["resnet20"], classes=10, image_size=0)
    with pytest.raises(DataError, match="only one class"):
        layer_table(ARCHITECTURES["resnet20"], classes=1, image_size=32)
