"""Put the measured results into the tables of README.md and README.zh.md.

    python benchmarks/readme.py

The lines of the first table stand between the markers <!-- RESULTS --> and <!-- END -->, those of the second, which
holds plusx against others, between <!-- COMPARED --> and <!-- END COMPARED -->. Both come from the JSON files
of benchmarks/results alone; what was not measured has no line.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import training_lines

HERE = Path(__file__).parent
RESULTS = HERE / "results"
# The header of a table, in the language of the page, stays.
MARKED = r"(<!-- {} -->\n\n\|[^\n]*\n\|[^\n]*\n).*?(\n<!-- {} -->)"
TABLES = {"RESULTS": "END", "COMPARED": "END COMPARED"}

Found = dict[str, Any]


def rows() -> list[str]:
    """Return one line of the first table for each measured command."""
    lines = []
    for file in sorted([*RESULTS.glob("accuracy-*.json"), *RESULTS.glob("finetune-*.json")]):
        found = json.loads(file.read_text(encoding="utf-8"))
        scores = [f"{100 * run['accuracy']['value']:.2f}" for run in found["runs"]]
        few = len(scores) <= 3
        each = ", ".join(scores) if few else f"{min(scores, key=float)}-{max(scores, key=float)}, {len(scores)} seeds"
        seconds = [run["seconds"]["training"] for run in found["runs"]]
        lines.append(
            f"| `{found['command']}` | {each} | {found['mean']:.2f} ± {found['margin']:.2f} "
            f"| {min(seconds):.0f}-{max(seconds):.0f} s | {found['environment']['device']} |"
        )
    return lines


def step(found: Found) -> Iterator[tuple[str, str]]:
    """A training step's time."""
    for row in found["rows"]:
        speed = f"{row['milliseconds']:.0f} ms"
        if row["ratio"] != 1:
            speed += f", {row['ratio']:.2f} x ({row['ratio_low']:.2f}-{row['ratio_high']:.2f})"
        yield (
            f"{row['model']}, a step: {row['name']}",
            speed,
        )


def tutorial(found: Found) -> Iterator[tuple[str, str]]:
    """The tutorial's accuracy and time."""
    for row in found["summary"]:
        yield (
            f"`mnist_resnet`, MNIST, epoch {row['epoch']}: {row['name']}",
            f"{row['mean']:.2f} ± {row['margin']:.2f} %",
        )
    ratio = found["ratio"]
    yield (
        "`mnist_resnet`, MNIST, an epoch: script / plusx",
        f"{ratio['median']:.2f} x ({ratio['low']:.2f}-{ratio['high']:.2f})",
    )


def parity(found: Found) -> Iterator[tuple[str, str]]:
    """How many networks are the published ones."""
    for framework in sorted({pair["framework"] for pair in found["pairs"]}):
        pairs = [pair for pair in found["pairs"] if pair["framework"] == framework]
        same = sum(pair["within_tolerance"] and pair["goes_back"] for pair in pairs)
        largest = max(pair["largest_difference"] for pair in pairs)
        yield f"logits = {framework}, weights copied", f"{same} / {len(pairs)}, max. Δ {largest:.1e}"


def answers(found: Found) -> Iterator[tuple[str, str]]:
    """How often the answers on photos are theirs."""
    for name, each in found.items():
        if name != "environment":
            count = each["images"]
            yield f"{name}, ImageNet, class = torchvision's", f"{count - len(each['differing'])} / {count}"


def without_norm(found: Found) -> Iterator[tuple[str, str]]:
    """How far networks without norm come: the loss before training, and the mean of the last steps."""
    for name, each in found.items():
        if not isinstance(each, dict) or "losses" not in each:
            continue
        what = f"resnet110 `--norm {name}`, CIFAR-10, {found['steps']} steps, loss"
        if each["end"].startswith("stopped"):
            yield what, f"stopped after {len(each['losses']) - 1} steps: not finite"
        else:
            yield what, f"{each['losses'][0]:.2f} → {mean(each['losses'][-found['every'] :]):.2f}"


COMPARISONS: dict[str, Callable[[Found], Iterator[tuple[str, str]]]] = {
    "training_step": step,
    "tutorial": tutorial,
    "parity": parity,
    "imagenet_answers": answers,
    "without_norm": without_norm,
    "input_path": training_lines.input_path,
    "loops": training_lines.loops,
    "time_to_accuracy": training_lines.time_to_accuracy,
    "peak_memory": training_lines.peak_memory,
    "paper": training_lines.paper,
    "ranks": training_lines.ranks,
    "torture": training_lines.torture,
}


def compared() -> list[str]:
    """Return the lines of the second table: what, how much, and the script that measured it."""
    lines = []
    for name, lines_of in COMPARISONS.items():
        for file in sorted([*RESULTS.glob(f"{name}.json"), *RESULTS.glob(f"{name}-*.json")]):
            found = json.loads(file.read_text(encoding="utf-8"))
            lines += [f"| {what} | {much} | `benchmarks/{name}.py` |" for what, much in lines_of(found)]
    return lines


def filled(text: str, tables: dict[str, list[str]], name: str) -> str:
    """Return a page with the lines of its tables."""
    for opening, lines in tables.items():
        marked = re.compile(MARKED.format(opening, TABLES[opening]), re.DOTALL)
        if not marked.search(text):
            raise SystemExit(f"{name} has no lines <!-- {opening} --> and <!-- {TABLES[opening]} --> with a table")
        table = "".join(f"{line}\n" for line in lines)
        text = marked.sub(lambda match, table=table: match[1] + table + match[2], text)
    return text


def main() -> None:
    """Rewrite both tables of both pages."""
    tables = {"RESULTS": rows(), "COMPARED": compared()}
    for name in ("README.md", "README.zh.md"):
        file = HERE.parent / name
        file.write_text(filled(file.read_text(encoding="utf-8"), tables, name), encoding="utf-8")


if __name__ == "__main__":
    main()
