"""The README's tables come from the results that there are, and cope with those that there are not."""

import json

import pytest

PAGE = """before
<!-- RESULTS -->

| command | mean |
|---|---|
| old | 1 |

<!-- END -->
between
<!-- COMPARED -->

| what | result | made by |
|---|---|---|

<!-- END COMPARED -->
after
"""


@pytest.fixture
def readme(benchmark, tmp_path, monkeypatch):
    found = benchmark("readme")
    monkeypatch.setattr(found, "RESULTS", tmp_path)
    return found


def test_nothing_measured_leaves_empty_tables(readme):
    assert readme.rows() == readme.compared() == []
    text = readme.filled(PAGE, {"RESULTS": [], "COMPARED": []}, "page")
    assert text == PAGE.replace("| old | 1 |\n", "")
    assert readme.filled(text, {"RESULTS": ["| old | 1 |"], "COMPARED": []}, "page") == PAGE


def test_a_page_without_markers_is_said(readme):
    with pytest.raises(SystemExit, match="page has no lines <!-- COMPARED -->"):
        readme.filled(PAGE.replace("END COMPARED", ""), {"COMPARED": []}, "page")


def test_fine_tuning_has_a_line_as_accuracy_has(readme, tmp_path):
    runs = [{"accuracy": {"value": value}, "seconds": {"training": 9 + value}} for value in (0.5, 0.75)]
    found = {"command": "plusx train x", "runs": runs, "mean": 62.5, "margin": 1.0, "environment": {"device": "cpu"}}
    for name in ("finetune-hymenoptera", "accuracy-digits"):
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
    assert readme.rows() == ["| `plusx train x` | 50.00, 75.00 | 62.50 ± 1.00 | 10-10 s | cpu |"] * 2


def test_many_seeds_are_said_by_their_range(readme, tmp_path):
    runs = [{"accuracy": {"value": value}, "seconds": {"training": 9}} for value in (0.995, 0.9, 1.0, 0.95)]
    found = {"command": "plusx train x", "runs": runs, "mean": 96.1, "margin": 1.0, "environment": {"device": "cpu"}}
    (tmp_path / "accuracy-digits.json").write_text(json.dumps(found))
    assert readme.rows() == ["| `plusx train x` | 90.00-100.00, 4 seeds | 96.10 ± 1.00 | 9-9 s | cpu |"]


RESULTS = {
    "training_step": {"rows": [
        {"model": "A", "name": "plain", "milliseconds": 100.0, "ratio": 1.0},
        {"model": "A", "name": "plusx", "milliseconds": 50.0, "ratio": 2.0, "ratio_low": 1.9, "ratio_high": 2.1},
    ]},
    "tutorial": {
        "summary": [{"epoch": 1, "name": "plusx", "mean": 98.5, "margin": 0.1}],
        "ratio": {"median": 3.0, "low": 2.5, "high": 3.5},
    },
    "parity": {"pairs": [
        {"framework": "timm", "within_tolerance": True, "goes_back": good, "largest_difference": 1e-6}
        for good in (True, False)
    ]},
    "imagenet_answers": {"resnet18": {"images": 250, "differing": [{}]}, "environment": {"torch": "2"}},
    "without_norm": {
        "steps": 3, "every": 2, "environment": {"a": "b"},
        "fixup": {"losses": [2.3, 2.0, 1.6, 1.4], "end": "3 steps, every loss finite"},
        "none": {"losses": [2.3], "end": "stopped: the loss became nan"},
    },
}  # fmt: skip
EXPECTED = {
    "training_step": ["100 ms", "50 ms, 2.00 x (1.90-2.10)"],
    "tutorial": ["98.50 ± 0.10 %", "3.00 x (2.50-3.50)"],
    "parity": ["1 / 2, max. Δ 1.0e-06"],
    "imagenet_answers": ["249 / 250"],
    "without_norm": ["2.30 → 1.50", "stopped after 0 steps: not finite"],
}


@pytest.mark.parametrize("name", RESULTS)
def test_each_comparison_has_its_lines(name, readme, tmp_path):
    (tmp_path / f"{name}.json").write_text(json.dumps(RESULTS[name]))
    lines = [line.strip("| ").split(" | ") for line in readme.compared()]
    assert [line[1] for line in lines] == EXPECTED[name]
    assert {line[2] for line in lines} == {f"`benchmarks/{name}.py`"}
