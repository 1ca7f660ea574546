"""`plusx show`: the list, the table and the diagram of one network, and a trained one."""

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import save_file

import plusx
from plusx.checkpoint import Checkpoint
from plusx.cli import main
from plusx.cli.console import Screen
from plusx.cli.listing import list_architectures
from plusx.cli.trained import listed, look_rows
from plusx.evaluation.diagram.drawing import MARK
from plusx.evaluation.layer_table import layer_table
from plusx.inputs.image import ImageInput
from plusx.network.architectures import ARCHITECTURES

SCORE = {"value": 0.9, "low": 0.85, "high": 0.93}
SCORED = {"split": "test", "samples": 7, "scores": {"accuracy": SCORE, "calibration_error": SCORE, "macro_f1": None}}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Diagrams go into the present folder, which is an empty one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(here):
    """A finished run's folder, as far as it is shown."""
    folder = here / "runs" / "照片-1"
    (folder / "weights").mkdir(parents=True)
    made = tiny.checkpoint()
    start = {"origin": "old.pth", "sha256": "", "recognized": "a torchvision state dict"}
    about = {"epoch": 3, "seed": 5, "data": "照片", "plusx": "0.1.0", "torch": "2.15.0", "weights": start}
    made = Checkpoint(made.architecture, made.input, made.task, made.weights, made.scores, about)
    made.save(folder / "weights" / "best.safetensors")
    made.save(folder / "weights" / "last.safetensors")
    (folder / "config.yaml").write_text("run: {source: x}\nrecipe: {name: small, epochs: 4, learning_rate: 0.1}\n")
    (folder / "scores.json").write_text(json.dumps(SCORED))
    return folder


def shown(capsys, *words):
    """Run `plusx show` and return what stands on standard output."""
    assert main(("show", *map(str, words))) == 0
    return capsys.readouterr().out


def values(capsys, *words):
    return json.loads(shown(capsys, *words, "--json"))


def failure(capsys, *words):
    """Run `plusx show` where it fails; return its exit code and its sentence."""
    code = main(("show", *map(str, words)))
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return code, said.removeprefix("error: ").rstrip()


def test_every_architecture_is_listed(capsys, here):
    listing = values(capsys)
    assert [each["model"] for each in listing] == list(ARCHITECTURES)
    found = {each["model"]: each for each in listing}["resnet50"]
    assert found == {
        "model": "resnet50",
        "parameters": 25_557_032,
        "multiply_adds": found["multiply_adds"],
        "image_size": 224,
        "classes": 1000,
        "published": ARCHITECTURES["resnet50"].published,
        "paper": ARCHITECTURES["resnet50"].paper,
    }
    lines = shown(capsys).splitlines()
    assert {line.split()[0] for line in lines if line.startswith("  ")} == {"model", *ARCHITECTURES}
    row = next(line for line in lines if line.startswith("  resnet50 "))
    assert row.split()[1:5] == ["25,557,032", "4.089", "G", "224"]
    assert row.endswith(ARCHITECTURES["resnet50"].published)
    assert {each.paper for each in ARCHITECTURES.values()} <= set(lines)
    assert not list(here.iterdir())


def test_a_list_fits_80_columns(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    list_architectures(Screen())
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    # What the first paper reports stands in one line.
    assert any("plain34 " in line and line.endswith(ARCHITECTURES["plain34"].published) for line in lines)


def test_a_part_of_names_lists_those(capsys):
    assert [each["model"] for each in values(capsys, "resnext")] == [
        name for name in ARCHITECTURES if "resnext" in name
    ]
    assert "resnet18" not in shown(capsys, "resnext")


def test_a_list_loads_nothing_heavy():
    code = (
        "import sys; from plusx.cli import main; main(['show']); print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(plusx.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, env=environment)
    assert done.stdout.splitlines()[-1] == "False False"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("resnet51", "no model is called 'resnet51'; did you mean 'resnet"),
        ("xyzzy", "no model is called 'xyzzy'; see plusx show"),
        (
            "resnet18:imagenet1k-v1",
            "'resnet18:imagenet1k-v1' are published weights; use plusx weights show resnet18:imagenet1k-v1",
        ),
        ("resnet34:imagenet", "no published weights are called 'resnet34:imagenet'; for 'resnet34' there are"),
        ("--classes 3", "--classes is for one model, but none was named"),
        ("resnext --image-size 3", "--image-size is for one model, but 'resnext' is a part of several names"),
        ("--out x", "a diagram is of one model, but none was named"),
        ("resnet18 --image-size 0", "image_size is 0, but must be 1 or more"),
        ("resnet18 --classes 1", "there is only one class"),
        ("resnet18 --dims 4", "dims is 4, but must be 1, 2 or 3"),
        ("resnet18 --shortcut X", "no shortcut is called 'X'"),
        ("resnet18 --diagram a.pdf", "a diagram is not drawn as .pdf; give --diagram a name in .svg or .png"),
        ("resnet18 --no-diagram --out x", "--no-diagram and a place for the diagram were given"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(words, sentence, capsys, here):
    code, said = failure(capsys, *words.split())
    assert code in {2, 3}
    assert said.startswith(sentence)
    assert not list(here.iterdir())


def test_one_network_is_its_table_and_its_diagram(capsys, here):
    lines = shown(capsys, "resnet50").splitlines()
    assert lines[1] == "resnet50"
    assert f"  published     {ARCHITECTURES['resnet50'].published}" in lines
    assert any(line.startswith("  conv3_x    28x28  [1x1, 128; 3x3, 128; 1x1, 512]×4") for line in lines)
    assert lines[-3].split() == ["total", "25,557,032", "4,089.2", "M"]
    assert lines[-2:] == ["", "note: the diagram is in resnet50.svg and resnet50.png"]
    assert {file.name for file in here.iterdir()} == {"resnet50.svg", "resnet50.png"}


def test_options_change_the_network(capsys):
    words = "resnet20 --classes 7 --channels 1 --image-size 28 --shortcut B --no-diagram"
    table = values(capsys, *words.split())
    assert (table["classes"], table["channels"], table["image_size"]) == (7, 1, 28)
    assert table["shortcut"] == "projection"
    assert table["diagram"] == []
    # Two projections with their norms, channels_in 1 for 3, and 7 classes for 10.
    projections = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert table["parameters"] == 269_722 + projections - 2 * 9 * 16 - 3 * 65
    plain = layer_table(ARCHITECTURES["resnet20"], 7, 28)
    assert table["parameters"] > sum(row.parameters for row in plain) - 2 * 9 * 16


@pytest.mark.parametrize(("dims", "size"), [(1, "224"), (3, "224x224x224")])
def test_networks_have_one_two_or_three_dimensions(dims, size, capsys, here):
    text = shown(capsys, "resnet18", "--dims", dims)
    assert f"  input         {size}, 3 channels" in text.splitlines()
    assert f"{size}, 3 channels" in (here / "resnet18.svg").read_text()
    assert values(capsys, "resnet18", "--dims", dims)["dims"] == dims


@pytest.mark.parametrize(
    ("words", "files"),
    [
        ("--no-diagram", []),
        ("--diagram a.svg", ["a.svg"]),
        ("--diagram A.PNG", ["A.PNG"]),
        ("--diagram resnext50-32x4d.old", ["resnext50-32x4d.old.svg", "resnext50-32x4d.old.png"]),
        ("--out deep/folder", ["deep/folder/resnet20.svg", "deep/folder/resnet20.png"]),
        ("--out deep --diagram b.svg", ["deep/b.svg"]),
        ("--diagram deep/c.svg", ["deep/c.svg"]),
    ],
)
def test_the_diagram_goes_where_it_is_told(words, files, capsys, here):
    assert values(capsys, "resnet20", *words.split())["diagram"] == files
    written = {file.relative_to(here).as_posix() for file in here.rglob("*.*")}
    assert written == set(files)


def test_only_diagrams_are_overwritten(capsys, here):
    shown(capsys, "resnet20")
    first = (here / "resnet20.svg").read_bytes()
    shown(capsys, "resnet20", "--classes", 7)
    assert (here / "resnet20.svg").read_bytes() != first
    shown(capsys, "resnet20")
    assert (here / "resnet20.svg").read_bytes() == first
    assert MARK in first.decode()

    (here / "resnet20.png").write_bytes(b"a drawing of my own")
    code, said = failure(capsys, "resnet20", "--classes", 7)
    assert code == 2
    assert said.startswith("'resnet20.png' exists and is no diagram that plusx drew, so it is not overwritten")
    assert (here / "resnet20.svg").read_bytes() == first
    assert (here / "resnet20.png").read_bytes() == b"a drawing of my own"


def test_a_folder_that_cannot_be_written_is_one_sentence(capsys, here):
    (here / "file").touch()
    code, said = failure(capsys, "resnet20", "--out", "file/folder")
    assert code == 5
    assert said.startswith("could not write 'file/folder'")


def test_a_run_is_shown_with_all_that_is_known_of_it(run, capsys, here):
    text = shown(capsys, "runs/照片-1")
    for line in (
        "照片-1",
        "  model         tiny (no paper)",
        "  input         8x8, 1 channel",
        "  classes       3: 上, middle, low",
        "  data          照片",
        "  from weights  old.pth (a torchvision state dict)",
        "  epoch         3",
        "  seed          5",
        "  versions      plusx 0.1.0, torch 2.15.0",
        "  scored on          7 samples of test, once",
        "  accuracy           90.00 %, 95 % interval 85.00 to 93.00 %",
        "  calibration error  0.9000, 95 % interval 0.8500 to 0.9300",
        "  mean          0.4",
    ):
        assert line in text.splitlines()
    assert "small: ?, learning rate 0.1, ?, batch ?, 4 epochs" in text
    assert "accuracy 50.00 %; it was chosen by this" in text
    assert (here / "照片-1.svg").is_file()
    assert "8x8, 1 channel, 3 classes" in (here / "照片-1.svg").read_text()


def test_a_run_is_one_json_value(run, capsys):
    table = values(capsys, run)
    assert (table["model"], table["classes"], table["image_size"]) == ("tiny", 3, [8, 8])
    assert table["class_names"] == list(tiny.CLASSES)
    assert table["scores"]["test"] == SCORED
    assert table["scores"]["validation"] == {"accuracy": 0.5}
    assert table["provenance"]["epoch"] == 3
    assert table["recipe"]["epochs"] == 4
    assert table["input"]["mean"] == [0.4]
    assert table["architecture"]["widths"] == [4, 8]
    assert table["parameters"] == sum(row["parameters"] for row in table["stages"])
    # The best weights by their own file are those of the run, the last ones are not what was scored.
    assert values(capsys, run / "weights" / "best.safetensors")["scores"]["test"] == SCORED
    last = values(capsys, run / "weights" / "last.safetensors")
    assert "test" not in last["scores"]
    assert (last["run"], last["recipe"]) == (None, {})


def test_a_lone_checkpoint_is_shown(capsys, here):
    tiny.checkpoint().save(here / "mine.safetensors")
    text = shown(capsys, "mine.safetensors", "--diagram", "x.svg")
    assert text.splitlines()[1] == "mine"
    assert "accuracy 50.00 %" in text
    bare = tiny.checkpoint()
    Checkpoint(bare.architecture, bare.input, bare.task, bare.weights).save(here / "bare.safetensors")
    text = shown(capsys, "bare.safetensors", "--no-diagram")
    assert "nothing is known of it" in text
    assert "none are known" in text


def test_a_run_that_is_not_whole_is_shown_as_far_as_it_goes(run, capsys):
    (run / "scores.json").write_text('{"split": "test", "scores": {"accuracy": {"value": "high"}}}')
    (run / "config.yaml").write_text("recipe: [")
    text = shown(capsys, run, "--no-diagram")
    assert "scores.json' cannot be read, so its scores are not shown" in text
    assert "is not YAML" in text
    (run / "scores.json").unlink()
    assert "the run has no scores.json: it has not come to its end" in shown(capsys, run, "--no-diagram")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("nowhere/run", 4, "'nowhere/run' does not exist; expected a plusx checkpoint file"),
        ("nothing.safetensors", 4, "'nothing.safetensors' does not exist"),
        ("empty", 4, "the folder 'empty' holds no weights/best.safetensors"),
        ("text", 4, "'text' is damaged or is no safetensors file"),
        ("runs/照片-1 --classes 4", 2, "--classes is for a model by its name; a trained network has its own"),
    ],
)
def test_what_is_no_trained_network_is_one_sentence(words, code, sentence, run, capsys, here):
    (here / "empty").mkdir()
    (here / "text").write_text("hello, this is no checkpoint at all")
    found, said = failure(capsys, *words.split())
    assert found == code
    assert said.startswith(sentence)


def test_others_weights_are_shown_by_plusx_weights(capsys, here):
    torch.save({"weight": torch.zeros(2)}, here / "module.pth")
    save_file({"weight": torch.zeros(2)}, here / "own.safetensors")
    (here / "from the hub").mkdir()
    (here / "from the hub" / "config.json").write_text("{}")
    for name in ("module.pth", "own.safetensors", "from the hub"):
        code, said = failure(capsys, name)
        assert code == 2
        assert said.endswith(f"no run and no checkpoint of plusx; use plusx weights show {shlex.quote(name)}")
    code, said = failure(capsys, "nowhere.pth")
    assert (code, said) == (4, "'nowhere.pth' does not exist; expected a plusx checkpoint file (.safetensors)")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "shorter side resized, and the central 8x6 cut out"),
        ({"crop_fraction": 0.875}, "resized, and the central 8x6 cut out, 0.875 of the shorter side"),
        ({"fit": "stretch"}, "both sides resized to 8x6"),
    ],
)
def test_how_images_come_to_size_is_said(changes, said):
    assert look_rows(ImageInput(8, 6, 1, (0.5,), (0.25,), **changes)) == [
        ("size", said), ("resizing", "bilinear"), ("mean", "0.5"), ("deviation", "0.25"),
    ]  # fmt: skip


def test_many_classes_are_counted():
    assert listed(tuple("abcdefghijklmno")) == "a, b, c, d, e, f, g, h, i, j, k, l and 3 more"
