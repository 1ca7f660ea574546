"""How fast a training step is: plusx against the plain script of the tutorials and against torch's best plain settings.

    python benchmarks/training_step.py                              ResNet-20, 32 px, batch 128
    python benchmarks/training_step.py --model resnet50 --batch 16  ResNet-50, 224 px

The rivals are the same network in plain PyTorch style: float32, channels first, torch.optim.SGD with its defaults; and
torch's best plain settings, bfloat16 autocast with channels_last and fused SGD, eager and with torch.compile's defaults
(on a GPU with CUDA graphs). plusx takes its own loop, eager (its kernels) and compiled. All compute on the GPU if there
is one. Each has a process of its own, as its users would have, and is frozen while it is not its turn (turns.py); the
order rotates, so a change of the machine's speed hits all alike. Printed: milliseconds (median, range), images a
second, and the ratio to each rival.
"""

import argparse
import contextlib
import dataclasses
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NoReturn

import numpy as np
import torch
import torchvision
from plain import ResNet20
from torch import nn
from turns import Rival, Turn, leave_cleanly, store

import plusx
from plusx import kernels
from plusx.data.batches import Batch
from plusx.device import choose_device
from plusx.reporting import environment
from plusx.tasks.classification import Classification
from plusx.training.loop import train
from plusx.training.recipe import Recipe

RESULTS = Path(__file__).parent / "results"
WARM_UP = 5
MOST_STEPS = 10**6
PLAIN, BEST, BEST_COMPILED = "plain script (float32)", "best plain settings", "best plain settings, compiled"
OURS, OURS_COMPILED = "plusx", "plusx, compiled"
NAMES = (PLAIN, BEST, BEST_COMPILED, OURS, OURS_COMPILED)


@dataclasses.dataclass(frozen=True)
class Work:
    """What a step is about."""

    title: str
    side: int
    batch: int
    classes: int
    rounds: int
    steps: int  # of a round
    plain: Callable[[int], nn.Module]


WORKS = {
    "resnet20": Work("ResNet-20", 32, 128, 10, 25, 4, ResNet20),
    "resnet50": Work(
        "ResNet-50", 224, 16, 1000, 10, 2, lambda classes: torchvision.models.resnet50(num_classes=classes)
    ),
}


class Same:
    """Batches that are one and the same, so that only the step is timed."""

    seed = 0

    def __init__(self, batch: Batch, steps: int) -> None:
        self.batch, self.steps = batch, steps
        self.samples = range(batch.total * steps)

    def __len__(self) -> int:
        return self.steps

    def epoch(self, number: int, start: int = 0):  # noqa: ARG002 - as Batches has it
        """Yield the batch again and again."""
        for _ in range(start, len(self)):
            yield self.batch


def plain(work: Work, images: torch.Tensor, targets: torch.Tensor, *, best: bool, compiled: bool) -> Callable[[], None]:
    """Return one step as a script writes it."""
    device = choose_device()
    network, images, targets = (
        work.plain(work.classes).train().to(device.name),
        images.to(device.name),
        targets.to(device.name),
    )
    if best:
        network, images = network.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=1e-4, fused=True if best else None)
    loss_of = nn.CrossEntropyLoss()
    mode = "reduce-overhead" if device.kind == "cuda" else "default"
    answer = torch.compile(network, mode=mode) if compiled else network

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.kind, torch.bfloat16, enabled=best):
            loss = loss_of(answer(images), targets)
        loss.backward()
        optimizer.step()

    return step


def ours(work: Work, name: str, images: torch.Tensor, targets: torch.Tensor, *, compiled: bool) -> Callable[[], None]:
    """Return one step of plusx's own loop."""
    device = dataclasses.replace(choose_device(), compiled=compiled)
    network = plusx.model(name, classes=work.classes, seed=0)
    device.place(network)
    task = Classification(tuple(map(str, range(work.classes))))
    batch = Batch(images, targets, np.arange(len(images)), len(images))
    batches = Same(batch, MOST_STEPS)
    recipe = Recipe(epochs=1, batch_size=len(images), weight_decay=1e-4)
    steps = train(network, task, batches, recipe, device=device)
    return lambda: next(steps) and None


def step_of(work: Work, name: str, rival: str) -> Callable[[], None]:
    """Return one step of a rival."""
    torch.manual_seed(0)
    images = torch.randn(work.batch, 3, work.side, work.side)
    targets = torch.randint(0, work.classes, (work.batch,))
    compiled = rival in (BEST_COMPILED, OURS_COMPILED)
    if rival in (OURS, OURS_COMPILED):
        return ours(work, name, images, targets, compiled=compiled)
    return plain(work, images, targets, best=rival != PLAIN, compiled=compiled)


def train_alone(work: Work, name: str, rival: str) -> NoReturn:
    """Be a rival's process: make steps, in turns."""
    turn = Turn()
    step = step_of(work, name, rival)
    while True:
        step()
        turn(work.batch)


def measured(work: Work, name: str, left_out: list[str]) -> dict[str, list[float]]:
    """Return the seconds of each rival's steps, taken in turns."""
    leave_cleanly()
    with contextlib.ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rivals: list[Rival] = []
        for each in NAMES:
            if each not in left_out:
                command = [sys.executable, __file__, "--model", name, "--batch", str(work.batch), "--alone", each]
                rivals.append(Rival(each, command, logs / f"{len(rivals)}.txt"))
                stack.callback(rivals[-1].close)
        seconds: dict[str, list[float]] = {rival.name: [] for rival in rivals}
        for rival in rivals:
            if not (rival.take() and rival.take(WARM_UP)):
                raise SystemExit(f"{rival.name} failed: {rival.error}")
        for turn in range(work.rounds):
            first = turn % len(rivals)
            for rival in [*rivals[first:], *rivals[:first]]:
                rival.take(1)  # not counted: what it had in the caches and in memory is there again
                answer = rival.take(work.steps)
                if not answer:
                    raise SystemExit(f"{rival.name} failed: {rival.error}")
                seconds[rival.name].append(answer["seconds"] / work.steps)
    return seconds


def ratios(slow: list[float], fast: list[float], prefix: str) -> dict[str, float]:
    """Return how many times faster one is: the median, and the middle 80 %, over the turns."""
    found = sorted(one / other for one, other in zip(slow, fast, strict=True))
    return {
        prefix: median(found),
        f"{prefix}_low": found[len(found) // 10],
        f"{prefix}_high": found[-1 - len(found) // 10],
    }


def rows(work: Work, seconds: dict[str, list[float]]) -> list[dict[str, str | float]]:
    """Return and print what was found, one row a rival."""
    title = f"{work.title}, {work.side} px, batch {work.batch}"
    print(title)
    found = []
    for name, times in seconds.items():
        row = {"model": title, "name": name, "milliseconds": 1e3 * median(times), "rounds": len(times)}
        row |= {"fastest": 1e3 * min(times), "slowest": 1e3 * max(times), "images": work.batch / median(times)}
        line = f"{name:32} {row['milliseconds']:7.1f} ms ({row['fastest']:.1f}-{row['slowest']:.1f}),"
        line += f" {row['images']:6.0f} images/s"
        for rival, prefix in ((PLAIN, "ratio"), (BEST, "ratio_best"), (BEST_COMPILED, "ratio_best_compiled")):
            if rival in seconds and name != rival:
                row |= (ratio := ratios(seconds[rival], times, prefix))
                low, high = ratio[f"{prefix}_low"], ratio[f"{prefix}_high"]
                line += f", {ratio[prefix]:.2f} ({low:.2f}-{high:.2f}) x {rival}"
        row.setdefault("ratio", 1.0)
        print(line)
        found.append(row)
    return found


def main() -> None:
    """Time all in turn and write what was found."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", choices=WORKS, default="resnet20")
    options.add_argument("--batch", type=int, help="images a step")
    options.add_argument("--rounds", type=int, help="how often all take their turn")
    options.add_argument("--without", nargs="*", choices=NAMES, default=[], help="rivals to leave out")
    options.add_argument("--alone", choices=NAMES, help=argparse.SUPPRESS)  # this is that rival's process
    chosen = options.parse_args()
    work = WORKS[chosen.model]
    work = dataclasses.replace(work, batch=chosen.batch or work.batch, rounds=chosen.rounds or work.rounds)
    if chosen.alone:
        train_alone(work, chosen.model, chosen.alone)
    print(f"kernels: {kernels.describe()}")
    found = rows(work, measured(work, chosen.model, chosen.without))
    result = {"rows": found, "environment": environment(choose_device()), "load": os.getloadavg()[0]}
    store(RESULTS / f"training_step-{chosen.model}.json", result)


if __name__ == "__main__":
    main()
