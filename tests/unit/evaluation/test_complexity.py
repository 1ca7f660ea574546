"""What networks cost is what the papers say, and complexity.json says it too."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import plusx
from plusx.errors import UsageError
from plusx.evaluation import complexity as complexity_module
from plusx.evaluation.complexity import (
    GOLDEN,
    Complexity,
    complexity,
    golden_entry,
    meta_network,
    survey,
    write_golden,
)
from plusx.evaluation.diagram.page import diagram
from plusx.evaluation.layer_table import rows_of
from plusx.network import layers
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Network

ENTRIES = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_golden_file_is_what_is_counted(name):
    assert golden_entry(ARCHITECTURES[name]) == ENTRIES[name], "`make golden` writes the file again"


def test_the_golden_file_has_every_architecture_and_no_other():
    assert list(ENTRIES) == list(ARCHITECTURES)


def test_the_golden_file_is_written_as_it_stands(tmp_path, monkeypatch):
    few = dict(list(ARCHITECTURES.items())[:2])
    monkeypatch.setattr(complexity_module, "ARCHITECTURES", few)
    write_golden(tmp_path / "complexity.json")
    written = (tmp_path / "complexity.json").read_text()
    assert json.loads(written) == {name: ENTRIES[name] for name in few}
    assert written == json.dumps({name: ENTRIES[name] for name in few}, indent=2) + "\n"


# Exact counts. tests/parity builds torchvision's and timm's networks and finds the same parameters in them; the CIFAR
# networks' are those of the published weights with option A; a plain network has those of its residual twin without the
# projections.
TORCHVISION, TIMM, CIFAR, PLAIN, ISSUE = (
    "torchvision 0.29",
    "timm 1.0.31",
    "published CIFAR-10 weights",
    "its twin",
    "its definition",
)
EXACTLY = [
    ("resnet18", 11_689_512, TORCHVISION),
    ("resnet34", 21_797_672, TORCHVISION),
    ("resnet50", 25_557_032, TORCHVISION),
    ("resnet101", 44_549_160, TORCHVISION),
    ("resnet152", 60_192_808, TORCHVISION),
    ("plain18", 11_689_512 - 173_824, PLAIN),
    ("plain34", 21_797_672 - 173_824, PLAIN),
    ("resnet20", 269_722, CIFAR),
    ("resnet32", 464_154, CIFAR),
    ("resnet44", 658_586, CIFAR),
    ("resnet56", 853_018, CIFAR),
    ("resnet110", 1_727_962, CIFAR),
    ("resnet1202", 19_421_274, CIFAR),
    ("plain20", 269_722, PLAIN),
    ("plain32", 464_154, PLAIN),
    ("plain44", 658_586, PLAIN),
    ("plain56", 853_018, PLAIN),
    ("plain110", 1_727_962, PLAIN),
    ("resnext50-32x4d", 25_028_904, TORCHVISION),
    ("resnext101-32x4d", 44_177_704, TIMM),
    ("resnext101-32x8d", 88_791_336, TORCHVISION),
    ("resnext101-64x4d", 83_455_272, TORCHVISION),
    ("wide50-2", 68_883_240, TORCHVISION),
    ("wide101-2", 126_886_696, TORCHVISION),
    ("densenet121", 7_978_856, TORCHVISION),
    ("densenet169", 14_149_480, TORCHVISION),
    ("densenet201", 20_013_928, TORCHVISION),
    ("densenet161", 28_681_000, TORCHVISION),
    ("preresnet18", 11_687_720, TIMM),
    ("preresnet34", 21_795_880, TIMM),
    ("preresnet50", 25_549_352, TIMM),
    ("preresnet101", 44_541_480, TIMM),
    ("preresnet152", 60_185_128, TIMM),
    ("resnet50c", 25_576_264, TIMM),
    ("resnet101c", 44_568_392, TIMM),
    ("resnet152c", 60_212_040, TIMM),
    ("resnet18d", 11_708_744, TIMM),
    ("resnet34d", 21_816_904, TIMM),
    ("resnet50d", 25_576_264, TIMM),
    ("resnet101d", 44_568_392, TIMM),
    ("resnet152d", 60_212_040, TIMM),
    ("resnetrs50", 35_691_912, TIMM),
    ("resnetrs101", 63_618_696, TIMM),
    ("resnetrs152", 86_621_576, TIMM),
    ("resnetrs200", 93_209_992, TIMM),
    ("resnetrs270", 129_861_448, TIMM),
    ("resnetrs350", 163_956_168, TIMM),
    ("resnetrs420", 191_891_656, TIMM),
    ("seresnet18", 11_779_624, TIMM),
    ("seresnet34", 21_960_416, TIMM),
    ("seresnet50", 28_088_024, TIMM),
    ("seresnet101", 49_326_872, TIMM),
    ("seresnet152", 66_821_848, TIMM),
    ("seresnext50-32x4d", 27_559_896, TIMM),
    ("seresnext101-32x4d", 48_955_416, TIMM),
    ("ecaresnet50d", 25_576_350, TIMM),
    ("mnist_resnet", 296_640, ISSUE),
]

# In millions, with as many digits as the paper has.
MILLIONS = [
    *((f"resnet{depth}", millions, "arXiv:1512.03385, table 6") for depth, millions in
      ((20, "0.27"), (32, "0.46"), (44, "0.66"), (56, "0.85"), (110, "1.7"), (1202, "19.4"))),
    ("preresnet110", "1.7", "arXiv:1605.07146"),
    ("preresnet164", "1.7", "arXiv:1605.07146"),
    ("wrn40-1", "0.6", "arXiv:1605.07146"),
    ("wrn40-2", "2.2", "arXiv:1605.07146"),
    ("wrn40-4", "8.9", "arXiv:1605.07146"),
    ("wrn16-8", "11.0", "arXiv:1605.07146"),
    ("wrn22-8", "17.2", "arXiv:1605.07146"),
    ("wrn28-10", "36.5", "arXiv:1605.07146"),
    ("wide50-2", "68.9", "arXiv:1605.07146"),
    ("resnext50-32x4d", "25.0", "arXiv:1611.05431"),
    ("resnext29-8x64d", "34.4", "arXiv:1611.05431"),
    ("densenet40-12", "1.0", "arXiv:1608.06993, table 2"),
    ("densenet100-12", "7.0", "arXiv:1608.06993, table 2"),
    ("densenet100-24", "27.2", "arXiv:1608.06993, table 2"),
    ("densenetbc100-12", "0.8", "arXiv:1608.06993, table 2"),
    ("densenetbc250-24", "15.3", "arXiv:1608.06993, table 2"),
    ("densenetbc190-40", "25.6", "arXiv:1608.06993, table 2"),
    ("seresnet50", "28.1", "arXiv:1709.01507"),
    ("resnetrs50", "36", "arXiv:2103.07579"),
    ("resnetrs101", "64", "arXiv:2103.07579"),
    ("resnetrs152", "87", "arXiv:2103.07579"),
    ("resnetrs200", "93", "arXiv:2103.07579"),
    ("resnetrs270", "130", "arXiv:2103.07579"),
    ("resnetrs350", "164", "arXiv:2103.07579"),
    ("resnetrs420", "192", "arXiv:2103.07579"),
]  # fmt: skip

# Counted with their norms and biases these are 0.1 larger than printed; without them they are as printed.
MILLIONS_OF_WEIGHTS = [
    ("preresnet1001", "10.2", "arXiv:1605.07146"),
    ("resnext29-16x64d", "68.1", "arXiv:1611.05431"),
]

# As printed when a million is taken for 2^20; with 10^6 ResNet-50's 24.37 would be 25.56.
MEBI = [
    ("ecaresnet18", "11.148", "arXiv:1910.03151"),
    ("ecaresnet34", "20.788", "arXiv:1910.03151"),
    ("ecaresnet50", "24.37", "arXiv:1910.03151"),
    ("ecaresnet101", "42.49", "arXiv:1910.03151"),
    ("ecaresnet152", "57.40", "arXiv:1910.03151"),
]


@pytest.mark.parametrize(("name", "count", "source"), EXACTLY)
def test_parameters_are_as_published(name, count, source):
    assert ENTRIES[name]["parameters"] == count, source


@pytest.mark.parametrize(("name", "millions", "source"), MILLIONS)
def test_parameters_are_the_papers_millions(name, millions, source):
    assert f"{ENTRIES[name]['parameters'] / 1e6:.{digits(millions)}f}" == millions, source


@pytest.mark.parametrize(("name", "millions", "source"), MILLIONS_OF_WEIGHTS)
def test_weights_without_norms_are_the_papers_millions(name, millions, source):
    network = meta_network(ARCHITECTURES[name], 10)
    counted = (layers.Convolution, layers.Linear)
    weights = sum(part.weight.numel() for part in network.modules() if isinstance(part, counted))
    assert f"{weights / 1e6:.{digits(millions)}f}" == millions, source


@pytest.mark.parametrize(("name", "units", "source"), MEBI)
def test_parameters_are_the_papers_units_of_2_to_the_20(name, units, source):
    assert f"{ENTRIES[name]['parameters'] / 2**20:.{digits(units)}f}" == units, source


def digits(number: str) -> int:
    return len(number.partition(".")[2])


# He et al. 2015, arXiv:1512.03385, table 1, with the stride on the 3x3.
@pytest.mark.parametrize(
    ("name", "billions"),
    [("resnet18", 1.814), ("resnet34", 3.664), ("resnet50", 4.089), ("resnet101", 7.801), ("resnet152", 11.514)],
)
def test_multiply_adds_are_the_papers(name, billions):
    assert ENTRIES[name]["multiply_adds"] / 1e9 == pytest.approx(billions, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "billions", "source"),
    [
        ("resnet18", "1.8", "arXiv:1512.03385, table 1"),
        ("resnet50", "4.1", "arXiv:1812.01187, ResNet-50-B"),
        ("resnet50c", "4.3", "arXiv:1812.01187"),
        ("resnet50d", "4.3", "arXiv:1812.01187"),
        ("resnext50-32x4d", "4.2", "arXiv:1611.05431"),
        ("resnext101-32x4d", "8.0", "arXiv:1709.01507"),
        ("seresnext101-32x4d", "8.0", "arXiv:1709.01507"),
    ],
)
def test_multiply_adds_are_the_papers_billions(name, billions, source):
    assert f"{ENTRIES[name]['multiply_adds'] / 1e9:.1f}" == billions, source


@pytest.mark.parametrize(
    ("depth", "billions"),
    [(50, "4.6"), (101, "12"), (152, "31"), (200, "40"), (270, "54"), (350, "107"), (420, "128")],
)
def test_resnet_rs_has_the_papers_operations_of_which_a_multiply_add_is_two(depth, billions):
    """Bello et al. 2021, arXiv:2103.07579, beside its block layouts."""
    found = 2 * ENTRIES[f"resnetrs{depth}"]["multiply_adds"] / 1e9
    assert f"{found:.{digits(billions)}f}" == billions


@pytest.mark.parametrize(
    ("name", "plain", "billions"),
    [
        ("seresnet50", "resnet50", 0.01),
        ("seresnet101", "resnet101", 0.02),
        ("seresnet152", "resnet152", 0.02),
        ("seresnext50-32x4d", "resnext50-32x4d", 0.01),
    ],
)
def test_squeeze_and_excitation_costs_little_more(name, plain, billions):
    """No more than by what the two differ in arXiv:1709.01507, which rounds to 0.01e9."""
    added = (ENTRIES[name]["multiply_adds"] - ENTRIES[plain]["multiply_adds"]) / 1e9
    assert 0 < added <= billions


@pytest.mark.parametrize(("depth", "billions"), [(50, "3.86"), (101, "7.6"), (152, "11.3")])
def test_with_the_stride_on_the_first_1x1_the_multiply_adds_are_the_papers(depth, billions):
    """arXiv:1512.03385, table 1 (3.8 for the first, which arXiv:1910.03151 gives as 3.86), has the stride on the 1x1.

    With the stride on the 3x3 the 1x1 before it sees four times the pixels, in three stages; nothing else differs.
    """
    widths, sides = (128, 256, 512), (28, 14, 7)
    added = sum(3 * side**2 * 2 * width * width for width, side in zip(widths, sides, strict=True))
    assert f"{(ENTRIES[f'resnet{depth}']['multiply_adds'] - added) / 1e9:.{digits(billions)}f}" == billions


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


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_multiply_adds_grow_with_the_axes(dims):
    backbone = dataclasses.replace(ARCHITECTURES["resnet20"], dims=dims, depths=(1,), widths=(4,), channels_in=2)
    counted = complexity(meta_network(backbone, 3), (2, *(5,) * dims))
    pixels, kernel = 5**dims, 3**dims
    assert counted.multiply_adds == pixels * kernel * (2 * 4 + 4 * 4 + 4 * 4) + 4 * 3
    assert counted.parameters == kernel * (8 + 16 + 16) + 3 * 8 + 15


def test_an_image_that_does_not_fit_is_an_error_and_leaves_the_network_as_it_was():
    network = Small()
    with pytest.raises(UsageError, match="an image of 3 channels and 7x8 pixels does not fit the network"):
        complexity(network, (3, 7, 8))
    assert network.training
    assert not network.conv._forward_hooks


def test_an_image_that_the_stages_cannot_halve_is_an_error():
    network = meta_network(ARCHITECTURES["resnet9"], 10)
    with pytest.raises(UsageError, match=r"4x4 pixels does not fit .* large enough for every stage to halve it"):
        complexity(network, (3, 4, 4))


def test_a_survey_runs_a_network_once(monkeypatch):
    runs = []
    forward = Network.forward
    monkeypatch.setattr(Network, "forward", lambda self, x: runs.append(x.shape) or forward(self, x))
    surveyed = survey(ARCHITECTURES["resnet20"], 10, 32)
    rows_of(surveyed)
    diagram(surveyed)
    assert runs == [(1, 3, 32, 32)]
    assert surveyed.complexity == complexity(meta_network(ARCHITECTURES["resnet20"], 10), (3, 32, 32))


def test_neither_the_compiler_nor_matplotlib_is_imported_for_shapes():
    code = """
import sys
from plusx.evaluation.complexity import survey
from plusx.evaluation.diagram.drawing import to_svg
from plusx.evaluation.diagram.page import diagram
from plusx.evaluation.layer_table import rows_of
from plusx.network.architectures import ARCHITECTURES
for name in ("resnet50", "seresnet50", "ecaresnet50", "densenet121", "preresnet18", "resnet9", "mnist_resnet"):
    surveyed = survey(ARCHITECTURES[name], 10, 64)
    rows_of(surveyed), to_svg(diagram(surveyed))
print([name for name in ("torch._dynamo", "matplotlib") if name in sys.modules])
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(plusx.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, env=environment)
    assert done.stdout == "[]\n"
