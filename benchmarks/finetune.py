"""How accurate fine-tuning ResNet-18 on ants and bees is: three seeds, their mean and its 95 % interval.

    python benchmarks/finetune.py FOLDER --weights FILE

FOLDER holds train/ and val/, each with ants/ and bees/. Each run is the command that a user types: val is scored once,
at the end; what validates is cut from train. Each run's seconds are those of the whole command's work. The result goes
to benchmarks/results/finetune-hymenoptera.json, in the form of the results of benchmarks/accuracy.py.
"""

import argparse
import json
from pathlib import Path

from accuracy import RESULTS, measure


def main() -> None:
    """Measure and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--weights", required=True, help="ResNet-18 trained on ImageNet")
    options = parser.parse_args()
    command = [options.folder, "--model", "resnet18", "--weights", options.weights]
    found = measure("finetune-hymenoptera", command)
    longest = max(run["seconds"]["total"] for run in found["runs"])
    print(f"the longest run took {longest:.0f} s from its start to its report")
    found["command"] = f"plusx train hymenoptera --model resnet18 --weights {Path(options.weights).name}"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "finetune-hymenoptera.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
