"""What networks cost is what the papers say, and complexity.json says it too."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from plusx.errors import DataError, UsageError
from plusx.evaluation.complexity import (
    GOLDEN,
    Complexity,
    complexity,
    meta_network,
    write_golden,
)
from plusx.evaluation.layer_table import layer_table
from plusx.network.architectures import ARCHITECTURES


def test_the_golden_file_is_what_is_counted(tmp_path):
    write_golden(tmp_path / "complexity.json")
    counted = json.loads((tmp_path / "complexity.json").read_text())
    assert counted == json.loads(GOLDEN.read_text()), "`make golden` writes the file again"
    assert list(counted) == list(ARCHITECTURES)


# He et al. 2015, arXiv:1512.03385, table 1, with the stride on the 3x3.
@pytest.mark.parametrize(
    ("name", "billions"),
    [("resnet18", 1.814), ("resnet34", 3.664), ("resnet50", 4.089), ("resnet101", 7.801), ("resnet152", 11.514)],
)
def test_multiply_adds_are_the_papers(name, billions):
    assert json.loads(GOLDEN.read_text())[name]["multiply_adds"] / 1e9 == pytest.approx(billions, rel=1e-3)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, groups=2)
        self.norm = nn.BatchNorm2d(6)
        self.linear = nn.Linear(6, 5)

    def forward(self, x):
        y = self.norm(self.conv(x)).mean((2, 3))
        return self.linear(y) + self.linear(y)


def test_a_network_is_counted_by_hand_and_left_as_it_was():
    network = Small()
    network.norm.eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    counted = complexity(network, (4, 7, 8))
    assert counted == Complexity(
        parameters=6 * 2 * 9 + 6 + 12 + 35,
        multiply_adds=6 * 5 * 6 * 2 * 9 + 2 * 30,
        activations=6 * 5 * 6 + 2 * 5,
    )
    assert network.training
    assert network.conv.training
    assert not network.norm.training
    assert not network.conv._forward_hooks
    torch.testing.assert_close(network.state_dict(), before)
    assert network.conv.weight.device.type == "cpu"


def test_an_image_that_does_not_fit_is_an_error_and_leaves_the_network_as_it_was():
    network = Small()
    with pytest.raises(UsageError, match="an image of 3 channels and 7x8 pixels does not fit the network"):
        complexity(network, (3, 7, 8))
    assert network.training
    assert not network.conv._forward_hooks


def test_the_layer_table_of_resnet50_is_the_papers():
    rows = layer_table(ARCHITECTURES["resnet50"], classes=1000, image_size=224)
    assert [(row.stage, row.output_size, row.channels, row.blocks) for row in rows] == [
        ("conv1", (112, 112), 64, "7x7, 64, stride 2"),
        ("conv2_x", (56, 56), 256, "3x3 max-pool, stride 2; [1x1, 64; 3x3, 64; 1x1, 256] x 3"),
        ("conv3_x", (28, 28), 512, "[1x1, 128; 3x3, 128; 1x1, 512] x 4"),
        ("conv4_x", (14, 14), 1024, "[1x1, 256; 3x3, 256; 1x1, 1024] x 6"),
        ("conv5_x", (7, 7), 2048, "[1x1, 512; 3x3, 512; 1x1, 2048] x 3"),
        ("head", (1, 1), 1000, "global average pool, linear, 1000"),
    ]
    assert rows[0].multiply_adds == 112 * 112 * 64 * 3 * 49
    assert rows[-1].parameters == 2048 * 1000 + 1000


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet101", "resnet20", "plain110"])
@pytest.mark.parametrize("shortcut", ["projection_always", "none"])
def test_the_rows_add_up_to_the_whole(name, shortcut):
    architecture = dataclasses.replace(ARCHITECTURES[name], shortcut=shortcut, channels_in=1)
    rows = layer_table(architecture, classes=7, image_size=(40, 56))
    whole = complexity(meta_network(architecture, 7), (1, 40, 56))
    assert sum(row.parameters for row in rows) == whole.parameters
    assert sum(row.multiply_adds for row in rows) == whole.multiply_adds
    assert all(f" x {depth}" in row.blocks for row, depth in zip(rows[1:], architecture.depths, strict=False))


def test_a_layer_table_of_nothing_is_refused():
    with pytest.raises(UsageError, match="0x0 pixels does not fit"):
        layer_table(ARCHITECTURES["resnet20"], classes=10, image_size=0)
    with pytest.raises(DataError, match="only one class"):
        layer_table(ARCHITECTURES["resnet20"], classes=1, image_size=32)
