"""Fine-tuning keeps its promises by the command's own time and the mean; runs on the same photos are not pooled."""


def found(seconds, mean):
    accuracy = {"value": 0.9477, "low": 0.9002, "high": 0.9733}
    runs = [{"samples": 153, "accuracy": accuracy, "seconds": {"training": 1, "command": one}} for one in seconds]
    return {"runs": runs, "mean": mean, "margin": 0.0}


def test_promises_that_are_kept_and_broken_are_told_apart(benchmark):
    checks = benchmark("finetune").checks
    assert checks(found((90.0, 120.0), 93.0))["seconds"] == "each command at most 120 s: yes (90, 120 s)"
    assert checks(found((90.0, 121.0), 93.0))["seconds"] == "each command at most 120 s: NO (90, 121 s)"
    assert checks(found((90.0,), 93.0))["mean"].startswith("mean accuracy at least 93 %: yes")
    assert checks(found((90.0,), 92.9))["mean"].startswith("mean accuracy at least 93 %: NO")


def test_each_run_has_its_own_interval(benchmark):
    said = benchmark("finetune").checks(found((90.0, 90.0), 94.77))["intervals"]
    assert "of 153 photos: 90.02 to 97.33 %, 90.02 to 97.33 %" in said
    assert "not pooled" in said
