"""Other people's weights, from a file to scores and answers by the command line."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18

import plusx
from plusx.cli import main
from plusx.weights.imagenet import imagenet_classes


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """torchvision's ResNet-18 with random weights of a thousand classes."""
    torch.manual_seed(0)
    network = resnet18(num_classes=1000).eval()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(part.running_mean, std=0.1)
            torch.nn.init.uniform_(part.running_var, 0.5, 2)
    path = tmp_path_factory.mktemp("weights") / "theirs.pth"
    torch.save({"state_dict": {f"module.{key}": value for key, value in network.state_dict().items()}}, path)
    return path, network


@pytest.fixture(scope="module")
def fish(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "fish"
    for name in ("n01440764", "goldfish"):
        (root / name).mkdir(parents=True)
        for number in range(3):
            noise = np.random.default_rng((len(name), number)).integers(0, 256, (224, 224, 3), np.uint8)
            Image.fromarray(noise).save(root / name / f"{number}.png")
    return root


def test_weights_of_torchvision_are_scored_and_answer(file, fish, capsys):
    path, network = file
    assert main(["evaluate", "resnet18", str(fish), "--weights", str(path), "--json"]) == 0
    seen = capsys.readouterr()
    scores = json.loads(seen.out)
    assert (scores["samples"], scores["split"], scores["checkpoint"]) == (6, "all", f"resnet18 with {path}")
    assert "are a torchvision state dict of a ResNet" in seen.err.replace("\n", " ")
    assert "ImageNet's classes and 224x224 pixels, the center of 256" in " ".join(seen.err.split())

    images = sorted(str(image) for image in fish.rglob("*.png"))
    assert main(["predict", "resnet18", *images, "--weights", str(path), "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    classes = imagenet_classes()
    for answer in answers:
        pixels = plusx.load("resnet18", weights=path).input
        with torch.inference_mode():
            expected = network(pixels.prepare(pixels.read(answer["path"]))[None]).softmax(1)[0]
        assert answer["class"] == classes[int(expected.argmax())]
        assert answer["probability"] == pytest.approx(expected.max().item(), rel=1e-4)
    found = plusx.evaluate("resnet18", fish, weights=path)
    assert found.evaluation.scores["accuracy"].value == scores["scores"]["accuracy"]["value"]
    assert found.evaluation.predictions.targets.tolist() == [1, 1, 1, 0, 0, 0]


def test_weights_may_stand_alone(file, fish, capsys):
    path, _ = file
    images = [str(fish / "goldfish" / "0.png")]
    assert main(["predict", str(path), *images, "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert main(["predict", "resnet18", *images, "--weights", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == alone


class Hostile:
    """What makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("command", ["evaluate", "predict", "train"])
def test_a_hostile_pickle_given_as_weights_runs_nothing(command, zipped, fish, tmp_path, capsys):
    made = tmp_path / "made"
    path = tmp_path / "w.pth"
    content = {"state_dict": {"conv1.weight": torch.ones(64, 3, 7, 7), "more": [Hostile(made)]}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    line = {
        "evaluate": ["evaluate", "resnet18", str(fish)],
        "predict": ["predict", "resnet18", str(fish)],
        "train": ["train", str(fish), "--model", "resnet18", "--out", str(tmp_path / "runs")],
    }[command]
    assert main([*line, "--weights", str(path)]) == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "asks for 'posix.system'" in said
    assert "it was not opened and nothing was run" in said
    assert not made.exists()


def test_an_architecture_alone_is_no_network(fish, capsys):
    for command in ("evaluate", "predict"):
        assert main([command, "resnet18", str(fish)]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "resnet18 is an architecture and has no weights of its own; add --weights FILE" in said


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "accuracy"),
    [
        ("resnet20-12fca82f.th", 0.9173),
        ("resnet32-d509ac18.th", 0.9263),
        ("resnet44-014dd654.th", 0.9310),
        ("resnet56-4bfd9763.th", 0.9339),
    ],
)
def test_published_cifar_weights_score_what_is_published(file, accuracy):
    data = Path(os.environ.get("PLUSX_TEST_DATA", "data"))
    weights = Path(os.environ.get("PLUSX_TEST_WEIGHTS", data / "weights")) / file
    if not weights.is_file() or not (data / "cifar-10-batches-py").is_dir():
        pytest.skip(f"{file} (in PLUSX_TEST_WEIGHTS) or cifar-10-batches-py (in PLUSX_TEST_DATA) is absent")
    found = plusx.evaluate(file.split("-")[0], "cifar10", weights=weights, data_root=data)
    assert found.evaluation.samples == 10_000
    assert found.evaluation.scores["accuracy"].value == pytest.approx(accuracy, abs=1e-9)
