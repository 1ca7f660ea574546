"""The command line from its words to its exit code."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest

import plusx
from plusx import assessment, experiment
from plusx.cli import main
from plusx.errors import CheckpointError, DataError, Stopped
from plusx.events import Noted


class Result:
    def to_dict(self):
        return {"run": "runs/digits-1", "split": "test", "samples": 3}


def answering(calls, error=None):
    def work(*args, **kwargs):
        calls.append((args, kwargs))
        yield Noted("working")
        if error:
            raise error
        return Result()

    return work


def failure(capsys, *words):
    """Run a command line that fails; return its exit code and the one line it says."""
    code = main(words)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return code, captured.err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("trane", "no command is called 'trane'; did you mean 'train'?"),
        ("xyz", "no command is called 'xyz'; there are: train, evaluate, predict, show, resume"),
        ("--vrsion", "no option is called '--vrsion'; did you mean '--version'?"),
        ("train digits --modle x", "no option is called '--modle'; did you mean '--model'?"),
        ("train digits -x", "no option is called '-x'; see plusx train --help"),
        ("train digits --epochs x", "--epochs is 'x', but must be a whole number; see plusx train --help"),
        ("train digits --momentum x", "--momentum is 'x', but must be a number; see plusx train --help"),
        ("train digits --flip=x", "--flip is 'x', but must be true or false; see plusx train --help"),
        ("train digits --milestones 0.5,x", "--milestones is '0.5,x', but must be numbers with commas between them"),
        ("train digits --epochs", "--epochs needs a value; see plusx train --help"),
        ("train a b", "'b' is more than 'plusx train' takes; see plusx train --help"),
        ("evaluate", "NETWORK is missing; see plusx evaluate --help"),
        ("train digits --json --json", ""),
        ("train digits --model resnet21", "no model is called 'resnet21'; did you mean 'resnet"),
        ("train digits --recipe smal", "no recipe is called 'smal'; did you mean 'small'?"),
        ("train digits --epochs 0", "epochs is 0, but must be a whole number of at least 1"),
        ("train", "nothing to train on was named"),
        ("train digts", "there is no source 'digts'; did you mean 'digits'?"),
        ("predict runs/x", "no image was named"),
        ("predict runs/x a.png --output a.txt", "the answers cannot be written to 'a.txt'"),
        ("predict runs/x nowhere.png", "there is no file, folder or pattern's match called 'nowhere.png'"),
    ],
)
def test_what_cannot_be_understood_is_one_sentence_and_exit_code_2(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = failure(capsys, *words.split())
    assert code == 2
    assert said.startswith(sentence)


def test_only_what_is_given_is_asked(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(experiment, "run", answering(calls))
    words = "train digits --epochs 3 --no-flip --milestones 0.5,0.7 --crop-scale 0.2 1 --name x --out o --dry-run"
    assert main(words.split()) == 0
    ((asked,), settings) = calls[0]
    assert asked.run.source == "digits"
    assert asked.options == {"epochs": 3, "flip": False, "milestones": (0.5, 0.7), "crop_scale": (0.2, 1.0)}
    assert (settings["name"], str(settings["out"]), settings["dry"]) == ("x", "o", True)
    assert capsys.readouterr().out == "note: working\n"


def test_a_config_file_is_handed_on(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(experiment, "run", answering(calls))
    config = tmp_path / "config.yaml"
    config.write_text("run: {source: mnist}\nrecipe: {epochs: 4}\n")
    assert main(["train", "--config", str(config)]) == 0
    ((asked,), _) = calls[0]
    assert (asked.run.source, asked.config["recipe"], asked.options) == ("mnist", {"epochs": 4}, {})


@pytest.mark.parametrize("words", ["train digits --json", "resume runs/x --json", "evaluate runs/x --json"])
def test_json_is_the_one_value_on_standard_output(words, monkeypatch, capsys):
    for module, name in ((experiment, "run"), (experiment, "resume"), (assessment, "evaluate")):
        monkeypatch.setattr(module, name, answering([]))
    assert main(words.split()) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == Result().to_dict()
    assert captured.err == "note: working\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("bad data"), 3),
        (CheckpointError("bad file"), 4),
        (Stopped(signal.SIGTERM, "stopped by SIGTERM; everything is saved"), 143),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(error, code, monkeypatch, capsys):
    monkeypatch.setattr(experiment, "run", answering([], error))
    assert main(["train", "digits", "--quiet"]) == code
    said = capsys.readouterr().err
    assert said.startswith(f"error: {error or 'stopped by Ctrl-C'}")


@pytest.mark.parametrize(("words", "traces"), [((), False), (("--debug",), True)])
def test_an_unexpected_error_is_a_sentence_and_a_traceback_on_demand(words, traces, monkeypatch, capsys):
    monkeypatch.delenv("PLUSX_DEBUG", raising=False)
    monkeypatch.setattr(experiment, "run", answering([], ZeroDivisionError("by\nzero")))
    assert main(["train", "digits", "--quiet", *words]) == 1
    said = capsys.readouterr().err
    assert "error: unexpected ZeroDivisionError: by zero; this is a bug in plusx, please report it with " in said
    assert ("Traceback" in said) is traces
    assert ("--debug" in said.splitlines()[-1]) is not traces


def test_a_reader_that_left_is_no_error(tmp_path):
    command = f"{sys.executable} -m plusx show --json | true; echo ${{PIPESTATUS[0]}}"
    code = "import time, sys; from plusx.cli import main; time.sleep(0.5); sys.exit(main(['show', '--json']))"
    command = f'{sys.executable} -c "{code}" | true; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("141\n", "")


def test_termination_outside_training_leaves_by_an_exception(monkeypatch):
    def work(*args, **kwargs):
        yield Noted("working")
        os.kill(os.getpid(), signal.SIGTERM)
        yield Noted("never seen")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(experiment, "run", work)
    with pytest.raises(SystemExit) as leaving:
        main(["train", "digits"])
    assert leaving.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == plusx.__version__


def test_a_full_disk_says_what_to_do(monkeypatch, capsys, tmp_path):
    from plusx.storage import writing

    def work(*args, **kwargs):
        yield Noted("working")
        with writing(tmp_path):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(experiment, "run", work)
    assert main(["train", "digits", "--quiet"]) == 5
    assert "no space is left on the disk" in capsys.readouterr().err
