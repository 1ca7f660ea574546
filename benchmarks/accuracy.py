"""How accurate `plusx train` is on named data: several seeds a command, their mean and its 95 % interval.

    python benchmarks/accuracy.py [digits] [mnist] [cifar10] [--data-root FOLDER]

Each run is the command that a user types; "command" among its seconds is the time from the start of the command to its
end. The results go to benchmarks/results/accuracy-NAME.json with versions and hardware, and
`python benchmarks/readme.py` puts them into the README.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from scipy.stats import t

from plusx.device import choose_device
from plusx.reporting import environment

SEEDS = (0, 1, 2)
MORE_SEEDS = {"digits": tuple(range(12))}  # a run takes seconds, and chooses its weights by 180 images
COMMANDS = {
    "digits": ["digits"],
    "mnist": ["mnist", "--model", "resnet20"],
    "cifar10": ["cifar10", "--model", "resnet20", "--epochs", "10"],
}
RESULTS = Path(__file__).parent / "results"


def margin_of(values: list[float]) -> float:
    """Return half of the 95 % interval of the mean of a few values, by Student's t."""
    return float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5


def measure(name: str, command: list[str], data_root: str = "", seeds: Sequence[int] = SEEDS) -> dict[str, object]:
    """Run one command with each seed and sum up."""
    runs = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as out:
            words = ["train", *command, "--seed", str(seed)]
            place = ["--data-root", data_root] if data_root else []
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "plusx", *words, *place, "--out", out, "--json"],
                check=True,
                stdout=subprocess.PIPE,
            )
            wall = time.perf_counter() - began
        result = json.loads(done.stdout)
        accuracy, seconds = result["scores"]["accuracy"], {**result["seconds"], "command": round(wall, 2)}
        runs.append({"seed": seed, "samples": result["samples"], "accuracy": accuracy, "seconds": seconds})
        low, high, value = (100 * accuracy[key] for key in ("low", "high", "value"))
        within = f"95 % interval {low:.2f} to {high:.2f}"
        took = f"{seconds['training']:.0f} s of training, {wall:.0f} s in all"
        print(
            f"plusx {' '.join(words)}: {value:.2f} % ({within}), {took}",
            flush=True,
        )
    values = [100 * run["accuracy"]["value"] for run in runs]
    margin = margin_of(values)
    print(f"{name}: mean {mean(values):.2f} % ± {margin:.2f} over seeds {', '.join(map(str, seeds))}")
    return {
        "command": "plusx train " + " ".join(command),
        "runs": runs,
        "mean": mean(values),
        "margin": margin,
        "environment": environment(choose_device()),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Measure the named sets and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["digits"], help="digits, mnist, cifar10")
    parser.add_argument("--data-root", default="", help="where MNIST and CIFAR-10 are")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for name in options.names:
        found = measure(name, COMMANDS[name], options.data_root, MORE_SEEDS.get(name, SEEDS))
        text = json.dumps(found, indent=1) + "\n"
        (RESULTS / f"accuracy-{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
