"""The suite runs what its data allow, says what it leaves out, and names every benchmark of the README's tables."""

import subprocess

import pytest


@pytest.fixture
def suite(benchmark):
    return benchmark("suite")


@pytest.fixture
def started(suite, monkeypatch):
    """What is run, instead of running it; what begins with "bad" fails."""
    commands = []

    def run(command, *, check):
        commands.append(command[1:])
        return subprocess.CompletedProcess(command, int(command[1].endswith("bad.py")))

    monkeypatch.setattr(suite.subprocess, "run", run)
    return commands


def test_every_script_is_there_and_makes_a_line_of_the_readme(suite, benchmark):
    scripts = {one.words.split()[0] for one in (*suite.SHORT, *suite.LONG)}
    assert all((suite.HERE / script).is_file() for script in scripts)
    lines = {f"{name}.py" for name in benchmark("readme").COMPARISONS} | {"accuracy.py", "finetune.py"}
    assert scripts == lines - {"torture.py"}


def test_what_lacks_its_data_is_left_out_and_said(suite, started, tmp_path, capsys):
    (tmp_path / "MNIST").mkdir()
    benchmarks = (
        suite.Benchmark("one.py", 1),
        suite.Benchmark("two.py --data-root {data}", 2, ("MNIST",)),
        suite.Benchmark("three.py", 3, ("MNIST", "hymenoptera")),
    )
    folders = {"data": str(tmp_path), "runs": "runs", "fastai": "there"}
    assert suite.run(benchmarks, folders) == []
    here = str(suite.HERE)
    assert started == [[f"{here}/one.py"], [f"{here}/two.py", "--data-root", str(tmp_path)]]
    said = capsys.readouterr().out
    assert "two.py --data-root" in said
    assert "about 2 min" in said
    assert "Left out: three.py needs MNIST, hymenoptera" in said
    started.clear()
    suite.run(benchmarks, {**folders, "data": ""})
    assert started == [[f"{here}/one.py"]]


def test_after_one_that_fails_the_others_are_run(suite, started):
    benchmarks = (suite.Benchmark("bad.py", 1), suite.Benchmark("good.py", 1))
    assert suite.run(benchmarks, {"data": ""}) == ["bad.py"]
    assert len(started) == 2
