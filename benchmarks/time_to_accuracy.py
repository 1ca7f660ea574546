"""How long `plusx train` takes to a given test accuracy, with a recipe whose length was chosen beforehand.

    python benchmarks/time_to_accuracy.py --data cifar10 --data-root FOLDER --targets 91.25:6 94:16
    python benchmarks/time_to_accuracy.py --data mnist --data-root FOLDER --targets 99.5:4

Each target stands with the epochs of the recipe that are to reach it. The recipe's settings were chosen in runs that
trained on 40,000 or 45,000 of CIFAR-10's images (54,000 of MNIST's) and were scored on the others. CIFAR-10's lengths
above are shorter than those first chosen so (8 and 21 epochs: 93.34 and 94.62 % of the test split, in 278 and 706 s),
to leave room for a slower machine, which those two scores seemed to allow. They were then tried without the test
split: trained on 45,000 images and scored on the other 5,000, which are others for each seed, 16 epochs gave 94.52,
93.50 and 94.36 % (mean 94.13), 6 epochs 92.90 % (one seed). A run trains on all training images (--validation 0),
nothing is chosen on test data within it, and the last weights are scored once on the test split. Its seconds are
those from the start of the process to the moment when the final weights were written: Python's and torch's start,
reading the data, compiling and all else are in them; scoring and the report, which follow, are not.

Each seed's run begins with empty caches: neither the kernels nor anything of torch.compile is compiled yet ("cold").
One more run of the first seed finds what that seed's run compiled ("warm"); whether it ends with the same weights is
said, for whether torch.compile pays may be decided otherwise then.

The plain script (plain.py's ResNet-20, SGD 0.1, batch 128, float32): its seconds a step are measured, its seconds to a
target are these times the steps after which ResNet-20 is known to reach it (PLAIN says from where); they are
extrapolated. With --plain EPOCHS the script is really trained so long, one cycle, and scored.
"""

import argparse
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from accuracy import margin_of
from plain import ResNet20
from torch import nn
from torch.utils.data import DataLoader

from plusx.device import choose_device
from plusx.reporting import environment

RESULTS = Path(__file__).parent / "results"
TRAINING_IMAGES = {"cifar10": 50_000, "mnist": 60_000}
# Steps of 128 images after which ResNet-20 is published or measured to reach an accuracy, with other settings than the
# plain script's.
PLAIN: dict[str, list[tuple[float, int, str]]] = {
    "cifar10": [(91.25, 64_000, "as long as He et al. 2015, table 6, with 91.25 %")],
    "mnist": [(99.5, 10 * 422, "as long as in benchmarks/accuracy.py")],
}
CACHES = {"XDG_CACHE_HOME": "cache", "TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}


def pairs(words: Sequence[str]) -> list[tuple[float, int]]:
    """Read "91.25:8" as a target in percent and the epochs that are to reach it."""
    found: list[tuple[float, int]] = []
    for word in words:
        target, _, epochs = word.partition(":")
        try:
            found.append((float(target), int(epochs)))
        except ValueError as error:
            raise SystemExit(f"{word!r} is no target with its epochs; expected one such as 91.25:8") from error
    return found


def trained(words: Sequence[str], caches: Path, out: Path) -> dict[str, Any]:
    """Run one command and return its accuracy in percent, its seconds and the sum of its last weights.

    Args:
        words: What follows `plusx train`.
        caches: Where everything that is compiled is kept.
        out: Where the run's folder is made.
    """
    places = {name: str(caches / folder) for name, folder in CACHES.items()}
    began, command = time.time(), [sys.executable, "-m", "plusx", "train", *words, "--out", str(out), "--json"]
    done = subprocess.run(command, check=False, capture_output=True, env={**os.environ, **places})
    if done.returncode:
        raise SystemExit(f"plusx train {' '.join(words)} failed: {done.stderr.decode()[-500:]}")
    result = json.loads(done.stdout)
    weights = Path(result["run"]) / "weights" / "last.safetensors"
    return {
        "accuracy": 100 * result["scores"]["accuracy"]["value"],
        "seconds": weights.stat().st_mtime - began,
        "command_seconds": time.time() - began,
        "training_seconds": result["seconds"]["training"],
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }


def reached(runs: Sequence[Mapping[str, Any]], target: float) -> dict[str, Any]:
    """Sum up the runs of one target: mean accuracy and its spread, mean seconds, and whether the mean meets it."""
    values, seconds = [run["accuracy"] for run in runs], [run["seconds"] for run in runs]
    several = len(runs) > 1
    return {
        "mean": mean(values),
        "deviation": stdev(values) if several else 0.0,
        "margin": margin_of(values) if several else None,
        "low": min(values),
        "high": max(values),
        "seconds": mean(seconds),
        "slowest": max(seconds),
        "met": mean(values) >= target,
    }


def measured(command: list[str], target: float, epochs: int, seeds: int, *, warm: bool) -> dict[str, Any]:
    """Train one recipe length with each seed from empty caches, and once more with full ones."""
    words = [*command, "--epochs", str(epochs), "--validation", "0"]
    runs: list[dict[str, Any]] = []
    again: dict[str, Any] | None = None
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as place:
            for cold in (True, False) if seed == 0 and warm else (True,):
                own = [*words, "--seed", str(seed)]
                run = {"seed": seed, **trained(own, Path(place) / "caches", Path(place) / f"runs-{cold}")}
                caches = "cold" if cold else "warm"
                print(
                    f"target {target} %, {epochs} epochs, seed {seed}, {caches} caches: {run['accuracy']:.2f} % in "
                    f"{run['seconds']:.1f} s to the last weights ({run['training_seconds']:.1f} s of training)",
                    flush=True,
                )
                if cold:
                    runs.append(run)
                else:
                    again = {**run, "same_weights": run["weights"] == runs[0]["weights"]}
                shutil.rmtree(Path(place) / f"runs-{cold}")
    found = {"target": target, "epochs": epochs, "runs": runs, "warm": again, **reached(runs, target)}
    print(
        f"target {target} %: mean {found['mean']:.2f} % (standard deviation {found['deviation']:.2f}, {seeds} seeds): "
        f"{'met' if found['met'] else 'NOT met'}, in {found['seconds']:.0f} s (at most {found['slowest']:.0f}), cold"
    )
    return found


def plain_loader(data: str, root: str, *, training: bool) -> DataLoader[Any]:
    """Return the batches as tutorials make them."""
    from torchvision import datasets, transforms

    kind, side = (datasets.CIFAR10, 32) if data == "cifar10" else (datasets.MNIST, 28)
    flips = [transforms.RandomHorizontalFlip()] if data == "cifar10" else []
    varied = [transforms.RandomCrop(side, padding=side // 8), *flips] if training else []
    three = [] if data == "cifar10" else [transforms.Grayscale(3)]
    steps = [*varied, *three, transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.25,) * 3)]
    images = kind(root, train=training, transform=transforms.Compose(steps))
    return DataLoader(images, batch_size=128, shuffle=training, num_workers=2)


def plain(data: str, root: str, epochs: int, seed: int, *, steps: int = 0) -> dict[str, float]:
    """Train the plain script for some epochs of one cycle, or only time some of its steps.

    Returns:
        The median seconds a step; and of a whole training, its seconds and the test accuracy in percent.
    """
    began = time.perf_counter()
    torch.manual_seed(seed)
    place = choose_device().name
    loader, network, criterion = plain_loader(data, root, training=True), ResNet20().to(place), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    total = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=total + 1)
    stamps = [time.perf_counter()]
    for _ in range(epochs):
        network.train()
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(network(images.to(place)), labels.to(place))
            loss.backward()
            optimizer.step()
            schedule.step()
            loss.item()
            stamps.append(time.perf_counter())
            if steps and len(stamps) > steps:
                return {"step_seconds": step_seconds(stamps)}
    seconds = time.perf_counter() - began
    network.eval()
    with torch.no_grad():
        test = plain_loader(data, root, training=False)
        right = sum((network(images.to(place)).argmax(1).cpu() == labels).sum().item() for images, labels in test)
    accuracy = 100 * right / len(test.dataset)  # pyright: ignore[reportArgumentType]
    return {
        "step_seconds": step_seconds(stamps),
        "seconds": seconds,
        "accuracy": accuracy,
        "epochs": epochs,
        "seed": seed,
    }


def step_seconds(stamps: Sequence[float]) -> float:
    """Return the median time between two stamps, the first five left out where there are more."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(stamps)]
    return median(gaps[5:] or gaps)


def plain_rows(data: str, targets: Sequence[float], a_step: float) -> list[dict[str, Any]]:
    """Say for each target how long the plain script would take, or that no length is known that reaches it."""
    rows: list[dict[str, Any]] = []
    for target in targets:
        known = [(steps, source) for accuracy, steps, source in PLAIN[data] if accuracy >= target]
        if known:
            steps, source = min(known)
            rows.append({"target": target, "steps": steps, "seconds": steps * a_step, "source": source})
        else:
            best = max(PLAIN[data])
            rows.append({"target": target, "steps": None, "seconds": None, "source": f"no length known; {best[2]}"})
    return rows


def with_plain(data: str, root: str, targets: Sequence[float], epochs: int, seeds: int, steps: int) -> dict[str, Any]:
    """Measure the plain script: its steps always, whole trainings if epochs are asked for."""
    runs = [plain(data, root, epochs, seed) for seed in range(seeds)] if epochs else []
    for run in runs:
        print(
            f"plain script, {epochs} epochs, seed {run['seed']}: {run['accuracy']:.2f} % in {run['seconds']:.0f} s, "
            "measured"
        )
    a_step = runs[0]["step_seconds"] if runs else plain(data, root, 1, 0, steps=steps)["step_seconds"]
    rows = plain_rows(data, targets, a_step)
    for row in rows:
        took = f"{row['seconds']:.0f} s, extrapolated" if row["seconds"] else "not told"
        print(f"plain script, {row['target']} %: {took} ({1000 * a_step:.0f} ms a step, measured; {row['source']})")
    return {"step_seconds": a_step, "extrapolated": rows, "runs": runs}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=tuple(TRAINING_IMAGES), default="cifar10")
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--model", default="", help="instead of the recipe's own")
    parser.add_argument("--targets", nargs="+", required=True, help="91.25:8 is 91.25 % with 8 epochs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-warm", action="store_true", help="leave the run with warm caches out")
    parser.add_argument("--plain", type=int, default=0, help="epochs for which the plain script is really trained")
    parser.add_argument(
        "--plain-steps", type=int, default=40, help="of the plain script that are timed without --plain"
    )
    parser.add_argument("--limit", type=int, default=0, help="only so many samples of each split, for a trial")
    options = parser.parse_args()
    targets = pairs(options.targets)
    command = [options.data, "--recipe", options.recipe]
    command += ["--model", options.model] if options.model else []
    command += ["--limit-samples", str(options.limit)] if options.limit else []
    place = ["--data-root", options.data_root]
    found = [measured([*command, *place], *pair, options.seeds, warm=not options.no_warm) for pair in targets]
    asked = [target for target, _ in targets]
    rival = with_plain(options.data, options.data_root, asked, options.plain, options.seeds, options.plain_steps)
    result = {
        "data": options.data,
        "command": "plusx train " + " ".join([*command, "--validation", "0"]),
        "targets": found,
        "plain": rival,
        "environment": environment(choose_device()),
        "load": os.getloadavg()[0],
    }
    if options.limit:
        return
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1) + "\n"
    (RESULTS / f"time_to_accuracy-{options.data}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
