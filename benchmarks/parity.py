"""Whether our networks are the published ones: the logits of each beside torchvision's or timm's, weights copied.

    python benchmarks/parity.py

For every pair both get the same random weights, norm statistics and images, in evaluation mode. Printed: both names,
the parameters, the largest absolute difference of two logits, whether torch.testing.assert_close accepts it with its
defaults, and whether our weights written under their keys are theirs again, every key of them.
"""

import json
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
warnings.simplefilter("ignore")

from network_pairs import IMAGES, PAIRS, compare  # noqa: E402 - found by the line above

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Compare all pairs, print the table and write it; exit with 1 if a pair differs."""
    rows = []
    print(f"{'ours':<20}{'theirs':<79}{'parameters':>12}{'difference':>12}  within  back")
    for pair in PAIRS:
        found = compare(pair)
        row = {
            "ours": pair.ours,
            "framework": pair.framework,
            "theirs": pair.theirs,
            "parameters": found.parameters,
            "largest_difference": found.largest_difference,
            "spread_of_logits": found.theirs.std().item(),
            "within_tolerance": found.within_tolerance,
            "goes_back": found.goes_back,
        }
        rows.append(row)
        within, back = ("yes" if right else "NO" for right in (found.within_tolerance, found.goes_back))
        name = f"{pair.framework} {pair.theirs}"
        numbers = f"{found.parameters:>12,}{found.largest_difference:>12.2g}"
        print(f"{pair.ours:<20}{name:<79}{numbers}  {within:<6}  {back}", flush=True)
    versions = {name: version(name) for name in ("torch", "torchvision", "timm", "plusx")}
    tolerance = {"relative": 1.3e-6, "absolute": 1e-5}
    result = {"versions": versions, "images": IMAGES, "tolerance": tolerance, "pairs": rows}
    (RESULTS / "parity.json").write_text(json.dumps(result, indent=2) + "\n")
    good = sum(row["within_tolerance"] and row["goes_back"] for row in rows)
    largest = max(row["largest_difference"] for row in rows)
    print(f"{good} of {len(rows)} pairs are the same networks; the largest difference of all is {largest:.2g}")
    sys.exit(good < len(rows))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
