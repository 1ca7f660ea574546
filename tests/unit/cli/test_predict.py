"""`plusx predict`: answers on the screen, as JSON and in files, each under its own name."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from plusx.checkpoint import Checkpoint
from plusx.cli import main
from plusx.inputs.image import ImageInput
from plusx.network.architecture import Architecture
from plusx.network.backbone import Backbone, Network
from plusx.tasks.classification import Classification


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    import torch

    torch.manual_seed(0)
    tiny = Architecture("tiny", "none", "small", "basic", (1,), (4,), "zero_pad", image_size=8)
    task = Classification(("狗", "cat", "bird"))
    backbone = Backbone(tiny)
    network = Network(backbone, task.head(backbone))
    path = tmp_path_factory.mktemp("run") / "tiny.safetensors"
    look = ImageInput(8, 8, 3, (0.5,) * 3, (0.25,) * 3)
    Checkpoint(tiny, look, task, network.state_dict(), {}, {}).save(path)
    return path


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "数据"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (9, 11, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"猫{number}.png")
    (folder / "broken.png").write_bytes(b"")
    return folder


def test_json_lists_an_answer_or_an_error_an_image(checkpoint, photos, capsys):
    assert main(["predict", str(checkpoint), str(photos), "--json"]) == 0
    captured = capsys.readouterr()
    answers = {answer["path"]: answer for answer in json.loads(captured.out)}
    assert len(answers) == 4
    assert answers[str(photos / "broken.png")].keys() == {"path", "error"}
    good = answers[str(photos / "猫0.png")]
    assert good.keys() == {"path", "class", "probability", "probabilities"}
    assert good["probability"] == max(good["probabilities"].values()) == good["probabilities"][good["class"]]
    assert "warning: 1 of 4 images could not be read" in captured.err


def test_the_screen_shows_a_line_an_image(checkpoint, photos, capsys):
    assert main(["predict", str(checkpoint), str(photos)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["image", "class", "probability", "others"]
    assert len(lines) == 7
    assert next(line for line in lines if "broken.png" in line).rstrip().endswith("is empty")


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl"])
def test_files_hold_the_same_answers(suffix, checkpoint, photos, tmp_path, capsys):
    output = tmp_path / f"answers{suffix}"
    assert main(["predict", str(checkpoint), str(photos), "--output", str(output), "--json"]) == 0
    captured = capsys.readouterr()
    expected = json.loads(captured.out)
    text = output.read_text(encoding="utf-8")
    if suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["path"] for row in rows] == [answer["path"] for answer in expected]
        assert [row["class"] for row in rows] == [answer.get("class", "") for answer in expected]
        assert [row["error"] for row in rows] == [answer.get("error", "") for answer in expected]
        assert float(rows[-1]["probability:cat"]) == pytest.approx(expected[-1]["probabilities"]["cat"], abs=1e-6)
    else:
        found = json.loads(text) if suffix == ".json" else [json.loads(line) for line in text.splitlines()]
        assert found == expected
    assert "answers" in captured.err


def test_names_come_from_standard_input_and_a_missing_one_spoils_no_other(checkpoint, photos, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{photos / '猫1.png'}\n\n{photos / 'gone.png'}\n"))
    assert main(["predict", str(checkpoint), "-", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["path"] == str(photos / "猫1.png")
    assert second.keys() == {"path", "error"}


def test_no_names_on_standard_input(checkpoint, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["predict", str(checkpoint), "-"]) == 3
    assert "standard input names no image" in capsys.readouterr().err


def test_nothing_readable_is_an_error_of_the_data(checkpoint, photos, capsys):
    assert main(["predict", str(checkpoint), str(photos / "broken.png")]) == 3
    assert "none of the 1 images could be read" in capsys.readouterr().err


def test_strict_stops_at_the_first_broken_image(checkpoint, photos, capsys):
    assert main(["predict", str(checkpoint), str(photos), "--strict"]) == 3
    assert "broken.png' is empty; mend or remove it" in capsys.readouterr().err


def test_a_file_that_is_no_checkpoint(photos, capsys):
    image = str(photos / "猫0.png")
    assert main(["predict", image, image]) == 4
    assert capsys.readouterr().err.startswith("error: ")
