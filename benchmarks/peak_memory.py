"""Peak memory of training ResNet-50 on photos of 224 pixels, batch 32: plusx against torchvision's loop.

    python benchmarks/peak_memory.py [--photos FOLDER] [--model resnet50] [--batch 32] [--steps 3] [--rounds 2]

Each loop (rivals.py) trains a few steps in a fresh process, one after the other, round by round. Printed is the
largest resident set that the training process had (VmHWM; Python and torch are in it), with what its data workers held
of their own besides, and on an NVIDIA GPU the most memory that torch gave out there; and how many times as much it is
as plusx's. Without --photos the images are JPEGs made here.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from loops import OURS, told, versions
from rivals import photos_in
from turns import Rival, leave_cleanly, store

from plusx.device import choose_device
from plusx.reporting import environment

HERE = Path(__file__).parent
RESULTS = HERE / "results"
LOOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "torchvision's loop, float32": ("torchvision", {}),
    "torchvision's loop, bfloat16 autocast": ("torchvision", {"autocast": True}),
    OURS: ("plusx", {}),
}


def rows_of(found: Mapping[str, Sequence[Mapping[str, float]]], ours: str = OURS) -> list[dict[str, Any]]:
    """Sum up: the median of each loop's peaks in MiB, their range, and how many times as much as ours that is.

    Args:
        found: The last answer of each process of each loop: resident, workers, on a GPU gpu.
        ours: Which of them the others are divided by.
    """
    decisive = "gpu" if all("gpu" in one for answers in found.values() for one in answers) else "resident"
    rows: list[dict[str, Any]] = []
    for name, answers in found.items():
        peaks = [one[decisive] for one in answers]
        row: dict[str, Any] = {"name": name, "where": decisive, "peak": median(peaks), "rounds": len(peaks)}
        row |= {"low": min(peaks), "high": max(peaks), "workers": median(one.get("workers", 0.0) for one in answers)}
        if found.get(ours):
            row["ratio"] = row["peak"] / median(one[decisive] for one in found[ours])
        rows.append(row)
    return rows


def measured(base: dict[str, Any], steps: int, rounds: int) -> tuple[dict[str, list[dict[str, float]]], list[str]]:
    """Let every loop train a few steps in a fresh process, round by round; say which failed, and how."""
    found: dict[str, list[dict[str, float]]] = {}
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as logs:
        for number in range(rounds):
            for name, (loop, own) in LOOPS.items():
                command = [sys.executable, str(HERE / "rivals.py"), loop, told(base, own)]
                rival = Rival(name, command, Path(logs) / "log.txt")
                try:
                    answer = rival.take() and rival.take(steps)
                finally:
                    rival.close()
                if answer is None:
                    failed.append(f"{name}: {rival.error}")
                    print(f"{name}, round {number + 1}: left out: {rival.error}", flush=True)
                else:
                    found.setdefault(name, []).append(answer)
                    print(f"{name}, round {number + 1}: {answer['resident']:.0f} MiB resident", flush=True)
    return found, failed


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", default="", help="a folder with one folder of photos for each class")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    leave_cleanly()
    with photos_in(options.photos, least=40 * options.batch) as (root, what):
        base = {"data": "photos", "root": str(root), "model": options.model, "batch": options.batch}
        base |= {"workers": options.workers, "options": (("compile", "off"),)}
        found, failed = measured(base, options.steps, options.rounds)
    rows = rows_of(found)
    for row in rows:
        times = f", {row['ratio']:.2f} times plusx's" if "ratio" in row and row["name"] != OURS else ""
        print(
            f"{row['name']:40} {row['peak']:7.0f} MiB {row['where']} ({row['low']:.0f} to {row['high']:.0f}), "
            f"its workers {row['workers']:.0f} MiB{times}"
        )
    result = {
        "data": what,
        "model": options.model,
        "batch": options.batch,
        "rows": rows,
        "failed": failed,
        "rivals": versions(""),
        "environment": environment(choose_device()),
        "load": os.getloadavg()[0],
    }
    store(RESULTS / "peak_memory.json", result)
    if failed:
        raise SystemExit("; ".join(failed))


if __name__ == "__main__":
    main()
