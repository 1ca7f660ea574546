"""How fast a training step of ResNet-20 is (batch 128, 32 px): plusx against the plain script of the tutorials.

    python benchmarks/training_step.py

The rivals are the same network in plain PyTorch style: float32, channels first, torch.optim.SGD with its defaults; and
the best plain settings, bfloat16 autocast with channels_last and fused SGD. All take turns in one process, so a change
of the machine's speed hits all alike. Printed: milliseconds (median, range) and the ratio to the plain script.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from plain import ResNet20
from torch import nn

import plusx
from plusx.data.batches import Batch
from plusx.device import choose_device
from plusx.reporting import environment
from plusx.tasks.classification import Classification
from plusx.training.loop import train
from plusx.training.recipe import Recipe

BATCH, SIDE, CLASSES = 128, 32, 10
ROUNDS, WARM_UP = 30, 5
RESULTS = Path(__file__).parent / "results"


class Same:
    """Batches that are one and the same, so that only the step is timed."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.seed = 0
        self.samples = range(BATCH * (ROUNDS + WARM_UP + 1))

    def __len__(self) -> int:
        return ROUNDS + WARM_UP + 1

    def epoch(self, number: int, start: int = 0):  # noqa: ARG002 - as Batches has it
        """Yield the batch again and again."""
        for _ in range(start, len(self)):
            yield self.batch


def plain(images: torch.Tensor, targets: torch.Tensor, *, best: bool) -> Callable[[], None]:
    """Return one step as a script writes it."""
    network = ResNet20(CLASSES).train()
    if best:
        network, images = network.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=1e-4, fused=True if best else None)
    loss_of = nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=best):
            loss = loss_of(network(images), targets)
        loss.backward()
        optimizer.step()

    return step


def ours(images: torch.Tensor, targets: torch.Tensor) -> Callable[[], None]:
    """Return one step of plusx's own loop."""
    device = choose_device()
    network = plusx.model("resnet20", classes=CLASSES, seed=0)
    device.place(network)
    task = Classification(tuple(map(str, range(CLASSES))))
    batches = Same(Batch(images, targets, None))
    steps = train(network, task, batches, Recipe(epochs=1, weight_decay=1e-4), device=device)
    return lambda: next(steps) and None


def main() -> None:
    """Time all in turn and write what was found."""
    torch.manual_seed(0)
    images, targets = torch.randn(BATCH, 3, SIDE, SIDE), torch.randint(0, CLASSES, (BATCH,))
    rivals = {
        "plain script (float32)": plain(images, targets, best=False),
        "best plain settings (bfloat16, channels_last, fused)": plain(images, targets, best=True),
        "plusx": ours(images, targets),
    }
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(WARM_UP + ROUNDS):
        for name, step in rivals.items():
            began = time.perf_counter()
            step()
            if turn >= WARM_UP:
                seconds[name].append(time.perf_counter() - began)
    base = seconds["plain script (float32)"]
    rows = []
    for name, times in seconds.items():
        ratios = sorted(slow / fast for slow, fast in zip(base, times, strict=True))
        row = {
            "name": name,
            "milliseconds": 1e3 * median(times),
            "fastest": 1e3 * min(times),
            "slowest": 1e3 * max(times),
        }
        row |= {
            "ratio": median(ratios),
            "ratio_low": ratios[len(ratios) // 10],
            "ratio_high": ratios[-len(ratios) // 10],
        }
        rows.append(row)
        print(
            f"{name:55} {row['milliseconds']:7.1f} ms ({row['fastest']:.1f} to {row['slowest']:.1f}), "
            f"{row['ratio']:.2f} times the plain script (80 %: {row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
        )
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"rows": rows, "rounds": ROUNDS, "environment": environment(choose_device())}, indent=1) + "\n"
    (RESULTS / "training_step.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
