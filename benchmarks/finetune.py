"""How accurate fine-tuning ResNet-18 on ants and bees is: three seeds, their mean and its 95 % interval.

    python benchmarks/finetune.py FOLDER --weights FILE

FOLDER holds train/ and val/, each with ants/ and bees/. Each run is the command that a user types: val is scored once,
at the end; what validates is cut from train. Printed is whether each command took at most 120 seconds from its start to
its end, and whether the mean is at least 93 %. The seeds change what is trained on, not what is scored: all are scored
on the same photos, so each run's binomial interval is given by itself and the runs are not pooled. The result goes to
benchmarks/results/finetune-hymenoptera.json, in the form of the results of benchmarks/accuracy.py.
"""

import argparse
import json
from pathlib import Path

from accuracy import RESULTS, measure

MOST_SECONDS, LEAST_PERCENT = 120, 93


def checks(found: dict) -> dict[str, str]:
    """Say what was promised, whether it was kept, and what the spread of the seeds does not tell."""
    seconds = [run["seconds"]["command"] for run in found["runs"]]
    scores = [run["accuracy"] for run in found["runs"]]
    intervals = ", ".join(f"{100 * one['low']:.2f} to {100 * one['high']:.2f} %" for one in scores)
    kept = "yes" if max(seconds) <= MOST_SECONDS else "NO"
    right = "yes" if found["mean"] >= LEAST_PERCENT else "NO"
    return {
        "seconds": f"each command at most {MOST_SECONDS} s: {kept} ({', '.join(f'{one:.0f}' for one in seconds)} s)",
        "mean": f"mean accuracy at least {LEAST_PERCENT} %: {right} ({found['mean']:.2f} %)",
        "intervals": f"each run's own 95 % interval, of {found['runs'][0]['samples']} photos: {intervals}; the photos "
        f"are the same for every seed, so the runs are not pooled, and the margin over seeds, {found['margin']:.2f}, "
        "says nothing of other photos",
    }


def main() -> None:
    """Measure and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--weights", required=True, help="ResNet-18 trained on ImageNet")
    options = parser.parse_args()
    command = [options.folder, "--model", "resnet18", "--weights", options.weights]
    found = measure("finetune-hymenoptera", command)
    found["checks"] = checks(found)
    for sentence in found["checks"].values():
        print(sentence)
    found["command"] = f"plusx train hymenoptera --model resnet18 --weights {Path(options.weights).name}"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "finetune-hymenoptera.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
