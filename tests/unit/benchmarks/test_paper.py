"""The paper's run is said to be partial until it is complete, and an epoch trained twice is one point."""

import pytest

from plusx.training.recipes import RECIPES


@pytest.fixture
def paper(benchmark):
    return benchmark("paper")


def test_the_run_is_as_long_as_the_papers(paper):
    recipe = RECIPES["paper"]
    assert recipe.steps == paper.STEPS
    assert tuple(share * paper.STEPS for share in recipe.milestones) == paper.DIVIDED_AT


def test_an_epoch_that_was_trained_twice_is_one_point(paper):
    rows = [
        {"epoch": 2, "step": 16, "train_accuracy": 0.5, "test_error": 40.0},
        {"epoch": 1, "step": 8, "train_accuracy": 0.25, "test_error": 60.0},
        {"epoch": 2, "step": 16, "train_accuracy": 0.5, "test_error": 41.0},
    ]
    assert paper.curve(rows) == [
        {"epoch": 1, "step": 8, "training_error": 75.0, "test_error": 60.0},
        {"epoch": 2, "step": 16, "training_error": 50.0, "test_error": 41.0},
    ]


def test_partial_is_said(paper):
    point = {"epoch": 2, "step": 1600, "training_error": 50.0, "test_error": 41.0}
    assert "no epoch is scored" in paper.summary([], None)
    assert paper.summary([point], None).startswith("partial, 1,600 of 64,000 steps")
    assert paper.summary([point], 8.5).endswith("0.25 points lower")
    assert paper.summary([point], 9.0).endswith("0.25 points higher")


def test_the_curve_is_drawn(paper, tmp_path):
    points = [{"epoch": 1, "step": 1600, "training_error": 50.0, "test_error": 41.0}]
    paper.draw(points, tmp_path / "paper.png")
    assert (tmp_path / "paper.png").read_bytes().startswith(b"\x89PNG")


def test_a_sitting_ends_between_two_steps(paper, monkeypatch):
    killed = []
    monkeypatch.setattr(paper.os, "kill", lambda *words: killed.append(words))
    seen = []

    def work():
        for event in (paper.Advanced("reading images", 1, 2), paper.Advanced("epoch 1/2", 1, 8), "more"):
            seen.append(event)
            yield event
        raise paper.Stopped(15, "stopped by SIGTERM")

    assert paper.sitting(work(), paper.RunFolder(paper.Path("run")), "", 1e-9, 1) is None
    assert len(killed) == 1
    assert len(seen) == 3
