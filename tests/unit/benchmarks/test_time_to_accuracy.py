"""A target is met by the mean of all seeds; seconds end with the last weights; what is extrapolated is said so."""

import json
import os
import subprocess
import time

import pytest


@pytest.fixture
def script(benchmark):
    return benchmark("time_to_accuracy")


def test_targets_are_read(script):
    assert script.pairs(["91.25:8", "94:16"]) == [(91.25, 8), (94.0, 16)]
    with pytest.raises(SystemExit, match="'94' is no target"):
        script.pairs(["94"])


def test_the_mean_meets_the_target(script):
    runs = [{"accuracy": value, "seconds": 10.0 * value} for value in (1.0, 2.0, 3.0)]
    found = script.reached(runs, 2.0)
    assert (found["mean"], found["deviation"], found["seconds"], found["slowest"]) == (2.0, 1.0, 20.0, 30.0)
    assert found["met"]
    assert not script.reached(runs, 2.01)["met"]
    assert script.reached(runs[:1], 1.0)["margin"] is None


def test_seconds_end_with_the_last_weights(script, monkeypatch, tmp_path):
    weights = tmp_path / "run" / "weights" / "last.safetensors"
    weights.parent.mkdir(parents=True)
    seen = {}

    def run(command, *, check, capture_output, env):
        seen.update(command=command, env=env)
        weights.write_bytes(b"weights")
        os.utime(weights, (time.time() + 5, time.time() + 5))
        result = {
            "run": str(tmp_path / "run"), "scores": {"accuracy": {"value": 0.5}}, "seconds": {"training": 3.0}
        }  # fmt: skip
        return subprocess.CompletedProcess(command, 0, json.dumps(result).encode(), b"")

    monkeypatch.setattr(script.subprocess, "run", run)
    found = script.trained(["digits"], tmp_path / "caches", tmp_path)
    assert found["accuracy"] == 50.0
    assert 4 < found["seconds"] < 7
    assert seen["env"]["XDG_CACHE_HOME"] == str(tmp_path / "caches" / "cache")
    assert seen["command"][3:5] == ["train", "digits"]


def test_each_seed_is_cold_and_the_first_is_also_warm(script, monkeypatch, capsys):
    asked = []

    def trained(words, caches, out):
        out.mkdir(parents=True)
        asked.append((words[-1], str(caches)))
        return {"accuracy": 90.0, "seconds": 7.0, "training_seconds": 5.0, "weights": "same"}

    monkeypatch.setattr(script, "trained", trained)
    found = script.measured(["cifar10"], 91.0, 4, 3, warm=True)
    assert [seed for seed, _ in asked] == ["0", "0", "1", "2"]
    assert asked[0] == asked[1]
    assert len({caches for _, caches in asked}) == 3
    assert (len(found["runs"]), found["warm"]["same_weights"], found["met"]) == (3, True, False)
    assert "NOT met" in capsys.readouterr().out


def test_what_the_script_is_not_known_to_reach_has_no_seconds(script):
    rows = script.plain_rows("cifar10", [91.0, 94.0], 0.5)
    assert rows[0]["seconds"] == 32_000
    assert rows[1]["seconds"] is None
    assert rows[1]["source"].startswith("no length known")


def test_the_first_steps_are_not_timed(script):
    assert script.step_seconds([0, 9, 10, 11, 12, 13, 14, 15]) == 1
    assert script.step_seconds([0, 3]) == 3
