"""Real handwriting from a named set on this machine: a few thousand digits are learned in a minute."""

import json
import os
from pathlib import Path

import pytest

from plusx.cli import main


@pytest.mark.data
def test_mnist_is_found_learned_and_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = os.environ.get("PLUSX_TEST_DATA", "")
    if not (Path(root) / "MNIST" / "raw").is_dir():
        pytest.skip("PLUSX_TEST_DATA does not name a folder that holds MNIST/raw")
    words = ["--model", "resnet20", "--data-root", root, "--out", str(tmp_path), "--limit-samples", "3000"]
    assert main(["train", "mnist", *words, "--epochs", "5", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["split"], result["samples"]) == ("test", 3000)
    assert result["scores"]["accuracy"]["value"] >= 0.95
    assert main(["evaluate", result["run"], "mnist", "--data-root", root, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["samples"] == 10_000
    assert again["left_out"] == 0
