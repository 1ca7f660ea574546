"""Whether several processes do what one does: evaluation counts, training, and the end of a run whose rank is killed.

    python benchmarks/ranks.py

All on the digits in the box, 353 samples (a prime) to train on and to test, one thread a process, float32, started by
torchrun. Printed, and written to results/ranks.json:

    counts      the same weights scored by 1, 2 and 3 processes: samples, right answers, and whether predictions.csv
                has the same bytes
    training    on 1, 2 and 3 processes, without any norm, with synchronized batch norms (equal up to the rounding of
                sums in another order), and with each rank's own statistics: weights after a few steps, with a
                tolerance, and right answers in the end; for comparison, how far two kernels for batch norms, plusx's
                and torch's, get from one another in as many steps of one process
    killed      a run on 2 processes of which one gets SIGKILL in the middle, under torchrun --max-restarts 3, against
                the unbroken run: the bits of the weights, and the score
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from plusx.checkpoint import Checkpoint
from plusx.run_folder import RunFolder

RESULTS = Path(__file__).parent / "results"
SAMPLES = 353  # a prime number of test images, and as many to train on
TRAIN = (
    "train", "digits", "--limit-samples", str(SAMPLES), "--batch-size", "20", "--threads", "1",
    "--precision", "float32", "--compile", "off", "--quiet",
)  # fmt: skip
LENGTH = ("--epochs", "8")
STEPS = 15  # after which weights are compared: rounding grows from step to step, with norms faster, so at a low rate
SHORT = (*LENGTH, "--learning-rate", "0.01")
NO_NORM = ("--epochs", "32", "--learning-rate", "0.2", "--gradient-clip", "1")  # in LENGTH it hardly learns
KINDS = {  # of norms: their option, how the weights that are compared are trained, and how those that are scored
    "no norm": (("--norm", "fixup"), NO_NORM, NO_NORM),
    "synchronized": (("--sync-batch-norm",), SHORT, LENGTH),
    "own statistics": ((), SHORT, LENGTH),
}
# Of the largest difference of a tensor's weights, as a part of its largest weight: 20 and 30 times what was measured
# (5e-7 and 3e-6), because another number of cores adds up in yet another order.
TOLERANCES = {
    "no norm": (1e-5, "float32 sums in another order, and room for other numbers of cores"),
    "synchronized": (1e-4, "float32 sums and norms' statistics in another order, and room for other numbers of cores"),
}


def command(ranks: int, *words: str, restarts: int = 0) -> list[str]:
    """The command line that runs plusx on so many processes."""
    torchrun = [
        "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", f"--max-restarts={restarts}",
    ]  # fmt: skip
    return [sys.executable, *torchrun, "-m", "plusx", *words]


def run(ranks: int, *words: str) -> None:
    """Run plusx on so many processes to its end."""
    done = subprocess.run(command(ranks, *words), env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} on {ranks} ranks ended with {done.returncode}:\n{done.stderr}")


def environment() -> dict[str, str]:
    """The environment of the processes: all of them are on this machine."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def predictions(path: Path) -> dict[str, Any]:
    """What predictions.csv says: how many samples, and how many of them right."""
    with (path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {"samples": len(rows), "different": len({row["path"] for row in rows}), "right": right(rows)}


def right(rows: list[dict[str, str]]) -> int:
    """How many rows have the right class."""
    return sum(row["true_class"] == row["predicted"] for row in rows)


def weights(path: Path) -> dict[str, torch.Tensor]:
    """A run's last weights."""
    return dict(Checkpoint.load(RunFolder(path).last).weights)


def difference(one: Path, other: Path) -> float:
    """The largest difference of two runs' weights, as a part of the largest weight of its tensor."""
    ours, theirs = weights(one), weights(other)
    pairs = [(ours[name].double(), theirs[name].double()) for name in ours]
    return max(((a - b).abs().max() / b.abs().max().clamp(min=1e-12)).item() for a, b in pairs)


def counts(out: Path) -> dict[str, Any]:
    """Score one run's weights on 1, 2 and 3 processes."""
    run(1, *TRAIN, *LENGTH, "--out", str(out), "--name", "scored")
    first = (out / "scored" / "predictions.csv").read_bytes()
    found = {"1": {**predictions(out / "scored"), "same_bytes": True}}
    for ranks in (2, 3):
        copy = out / f"scored-{ranks}"
        shutil.copytree(out / "scored", copy)
        (copy / "predictions.csv").unlink()
        run(ranks, "resume", str(copy), "--anyway", "--quiet")  # a finished run is scored again
        same = (copy / "predictions.csv").read_bytes() == first
        found[str(ranks)] = {**predictions(copy), "same_bytes": same}
    for ranks, row in found.items():
        print(f"counts    {ranks} ranks: {row}", flush=True)
    return found


def training(out: Path) -> dict[str, Any]:
    """Train on 1, 2 and 3 processes: a few steps, whose weights are compared, and to the end, whose scores are."""
    found: dict[str, Any] = {}
    for kind, (words, short, whole) in KINDS.items():
        for ranks in (1, 2, 3):
            name = f"{kind.replace(' ', '-')}-{ranks}"
            run(ranks, *TRAIN, *words, *short, "--steps", str(STEPS), "--out", str(out), "--name", name)
            run(ranks, *TRAIN, *words, *whole, "--out", str(out), "--name", f"{name}-end")
            apart = difference(out / name, out / f"{kind.replace(' ', '-')}-1")
            end = predictions(out / f"{name}-end")
            row = {"largest_relative_difference": apart, "right": end["right"], "samples": end["samples"]}
            said = f"{apart:.2g} from one after {STEPS} steps"
            if kind in TOLERANCES:
                tolerance, why = TOLERANCES[kind]
                row |= {"tolerance": tolerance, "why": why, "met": apart <= tolerance}
                said += f" ({'met' if row['met'] else 'NOT met'}: at most {tolerance:g}, {why})"
            found.setdefault(kind, {})[str(ranks)] = row
            print(
                f"training  {kind}, {ranks} ranks: {said}; in the end {end['right']} of {end['samples']} right",
                flush=True,
            )
    alone = difference(out / "own-statistics-1", out / "synchronized-1")
    print(f"training  batch norms, 1 rank, two kernels: {alone:.2g} from one another", flush=True)
    return {**found, "one process, two kernels": alone}


def killed(out: Path) -> dict[str, Any]:
    """Kill a rank in the middle of a run, and compare its end with that of the unbroken run."""
    words = (*TRAIN, *LENGTH, "--save-minutes", "0.0001", "--out", str(out))
    run(2, *words, "--name", "whole")
    process = subprocess.Popen(
        command(2, *words, "--name", "killed", restarts=3), env=environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    states = out / "killed" / "state"
    while not [path for path in states.glob("0*.safetensors") if int(path.stem) >= 8]:
        if process.poll() is not None:
            raise SystemExit(f"the run ended before a rank could be killed:\n{process.communicate()[1]}")
        time.sleep(0.01)
    ranks = [int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    os.kill(ranks[-1], signal.SIGKILL)
    _, said = process.communicate()
    whole, broken = weights(out / "whole"), weights(out / "killed")
    found = {
        "exit_code": process.returncode,
        "resumed": "resuming" in (out / "killed" / "log.txt").read_text(encoding="utf-8"),
        "runs": sorted(path.name for path in out.iterdir() if path.name.startswith("killed")),
        "same_bits": all(torch.equal(whole[name], broken[name]) for name in whole),
        "whole": predictions(out / "whole"),
        "killed": predictions(out / "killed"),
        "said": [line for line in said.splitlines() if line.startswith("error:")],
    }
    print(f"killed    {found}", flush=True)
    return found


def main() -> None:
    """Measure all, print it, and write it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        result = {
            "versions": {name: version(name) for name in ("torch", "numpy", "plusx")},
            "samples": SAMPLES,
            "steps": STEPS,
            "counts": counts(out),
            "training": training(out),
            "killed": killed(out),
        }
    (RESULTS / "ranks.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
