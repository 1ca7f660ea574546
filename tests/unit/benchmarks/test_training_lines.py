"""The README's lines on training say the ratio, what was not met, what is extrapolated and what is partial."""

ENVIRONMENT = {"device": "a CPU (cpu, 2 threads)"}


def test_loops_say_the_ratio_and_who_did_not_run(benchmark):
    rows = [
        {"name": "plain script", "images": 500.4, "ratio": 2.0, "ratio_low": 1.9, "ratio_high": 2.1},
        {"name": "plusx", "images": 1000.0, "ratio": 1.0, "ratio_low": 1.0, "ratio_high": 1.0},
    ]
    found = {
        "data": "CIFAR-10", "model": "resnet20", "batch": 128, "rows": rows,
        "failed": ["fastai's Learner: no module"], "environment": ENVIRONMENT,
    }  # fmt: skip
    lines = list(benchmark("training_lines").loops(found))
    what = "resnet20, CIFAR-10, batch 128, images a second: "
    assert lines == [
        (what + "plain script", "500, plusx 2.00 x (1.90-2.10)"),
        (what + "plusx", "1000"),
        (what + "fastai's Learner", "did not run: no module"),
    ]
    on_gpu = {**found, "environment": {"device": "H100 (cuda:0)"}}
    assert "H100 (cuda:0)" in next(benchmark("training_lines").loops(on_gpu))[0]


def test_time_to_accuracy_says_what_was_not_met_and_what_is_extrapolated(benchmark):
    target = {"epochs": 8, "mean": 93.9, "deviation": 0.1, "runs": [1, 2, 3], "seconds": 300.0}
    found = {
        "data": "cifar10",
        "command": "plusx train cifar10",
        "targets": [
            {**target, "target": 91.25, "met": True, "warm": {"seconds": 250.0}},
            {**target, "target": 94.0, "met": False, "warm": None},
        ],
        "plain": {
            "step_seconds": 0.2,
            "extrapolated": [
                {"target": 91.25, "steps": 64_000, "seconds": 12_800.0, "source": "the paper"},
                {"target": 94.0, "seconds": None, "source": "no length known"},
            ],
            "runs": [{"accuracy": 87.0, "seconds": 600.0, "epochs": 10}],
        },
    }
    assert list(benchmark("training_lines").time_to_accuracy(found)) == [
        (
            "91.25 %: `plusx train cifar10 --epochs 8`",
            "93.90 % (SD 0.10, 3 seeds) in 300 s from the command to the last weights, kernels compiled anew, "
            "250 s with warm caches",
        ),
        (
            "94 %: `plusx train cifar10 --epochs 8`",
            "not met: 93.90 % (SD 0.10, 3 seeds) in 300 s from the command to the last weights, kernels compiled anew",
        ),
        ("91.25 %, cifar10: plain script, float32", "3.6 h, extrapolated: 64,000 steps of 200 ms (the paper)"),
        ("94 %, cifar10: plain script, float32", "no length known"),
        ("cifar10: plain script, float32, 10 epochs", "87.00 % (1 seed) in 10 min, measured"),
    ]


def test_data_have_a_ratio_but_for_the_rival(benchmark):
    row = {
        "work": "32 px",
        "name": "plusx",
        "images_a_second": 70_000.4,
        "ratio": 20.0,
        "ratio_low": 19,
        "ratio_high": 21,
    }
    rival = {**row, "name": "torchvision", "images_a_second": 3500.0, "ratio": 1.0}
    assert list(benchmark("training_lines").input_path({"rows": [rival, row]})) == [
        ("32 px, images a second: torchvision", "3,500"),
        ("32 px, images a second: plusx", "70,000, 20.0 x (19.0-21.0)"),
    ]


def test_memory_and_the_papers_run_have_lines(benchmark):
    lines = benchmark("training_lines")
    rows = [
        {"name": "torchvision's loop", "where": "resident", "peak": 4000.0, "ratio": 1.6},
        {"name": "plusx", "where": "gpu", "peak": 2500.0, "ratio": 1.0},
    ]
    assert [much for _, much in lines.peak_memory({"model": "resnet50", "batch": 32, "rows": rows})] == [
        "4,000 MiB, 1.60 x plusx's",
        "2,500 MiB",
    ]
    partial = {"complete": False, "steps": 64_000, "published": 8.75, "curve": [{"step": 100, "test_error": 50.0}]}
    assert [much for _, much in lines.paper(partial)] == ["partial: 50.00 % after 100 steps"]
    assert [much for _, much in lines.paper({**partial, "complete": True, "error": 8.6})] == ["8.60 %"]
    assert list(lines.paper({**partial, "curve": []})) == []


def test_ranks_and_torture_have_lines(benchmark):
    lines = benchmark("training_lines")
    same, other = {"right": 11, "same_bytes": True}, {"right": 11, "same_bytes": False}
    near = {"largest_relative_difference": 4.7e-7, "right": 91, "tolerance": 1e-5, "why": "other order", "met": True}
    far = {**near, "largest_relative_difference": 2e-5, "right": 92, "met": False}
    training = {
        "no norm": {"1": {"right": 90}, "2": near, "3": near},
        "synchronized": {"1": {"right": 90}, "2": near, "3": far},
        "own statistics": {"1": {"right": 90}, "2": {"largest_relative_difference": 0.9, "right": 89}},
        "rounding": 1e-7,
    }
    killed = {"same_bits": True, "resumed": True, "whole": {"right": 93}, "killed": {"right": 93}}
    found = {"samples": 101, "steps": 15, "counts": {"1": same, "2": same, "3": other}, "training": training}
    found["killed"] = killed
    assert [much for _, much in lines.ranks(found)] == [
        "2 of 3",
        "5e-07, 5e-07 of the largest weight; met: at most 1e-05 (other order)",
        "90, 91, 91",
        "5e-07, 2e-05 of the largest weight; NOT met: at most 1e-05 (other order)",
        "90, 91, 92",
        "9e-01 of the largest weight",
        "90, 89",
        "93, 93; the same bits",
    ]
    *_, (_, other_bits) = lines.ranks({**found, "killed": {**killed, "same_bits": False}})
    assert other_bits == "93, 93; NOT the same bits"
    hour = {
        "minutes": 60,
        "wrong": [],
        "kills": {"kills": 312, "kills inside a save, all": 71},
        "matrix, eager": {"passed": 296, "cells": 296},
        "corruptions": {"detected": 1999, "undetected": 1},
        "system calls failed": {"run": 143, "found": 144},
        "full disk": {"full": "stopped", "read-only": "stopped"},
    }
    expected = ["312, 71 of them inside a save", "296 of 296", "1,999 of 2,000", "143 of 144", "2"]
    assert [much for _, much in lines.torture(hour)] == expected
    assert [much for _, much in lines.torture({**hour, "wrong": ["one"]})] == ["FAILED: 1 findings"]
    assert list(lines.torture({"minutes": 4, "wrong": []})) == []
