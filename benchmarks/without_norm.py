"""Whether ResNet-110 trains on CIFAR-10 without any norm: with Fixup, with SkipInit, and with neither.

    python benchmarks/without_norm.py --data-root FOLDER

Zhang et al. 2019, arXiv:1901.09321 (Fixup) and De and Smith 2020, arXiv:2002.10444 (SkipInit) say that a residual
network needs no norm if its branches begin at zero. The three runs see the same batches in the same order, 200 steps of
SGD with one learning rate; printed is the loss before training and then the training loss, as the mean of 20 steps
each. A loss of 2.303 is that of guessing.
"""

import argparse
import json
from pathlib import Path
from statistics import mean

import torch

import plusx
from plusx.data import read_dataset
from plusx.data.batches import Batches
from plusx.device import choose_device
from plusx.events import result_of
from plusx.inputs.image import ImageInput
from plusx.reporting import environment
from plusx.tasks.classification import Classification
from plusx.training.loop import train
from plusx.training.recipe import Recipe
from plusx.training.step import Diverged

STEPS, EVERY, BATCH, RATE = 200, 20, 128, 0.05
RESULTS = Path(__file__).parent / "results"
RECIPE = Recipe(
    name="without norm", epochs=1, batch_size=BATCH, learning_rate=RATE, schedule="constant", nesterov=False,
    weight_decay=1e-4, warmup_epochs=0.1,
)  # fmt: skip


def losses(norm: str, data_root: Path) -> tuple[list[float], str]:
    """Train for 200 steps; return the loss of every step, and how it ended."""
    data = result_of(read_dataset("cifar10", data_root=data_root))
    task = Classification(data.classes)
    look = ImageInput(32, 32, 3, (0.491, 0.482, 0.447), (0.247, 0.243, 0.262), flip=True, pad_and_crop=4)
    batches = Batches(
        data.split("train")[: STEPS * BATCH], look, batch_size=BATCH, collate=task.collate, seed=0, training=True
    )
    device = choose_device()
    network = plusx.model("resnet110", classes=data.classes, norm=norm, seed=0)
    device.place(network)
    first = next(iter(batches.epoch(0)))
    with torch.no_grad(), device.autocast():
        found = [task.losses(network(device.place_images(first.images)), first.targets)["cross_entropy"].item()]
    before = 0.0
    try:
        for progress in train(network, task, batches, RECIPE, device=device):
            total = (
                progress.history[-1]["train_loss"] * STEPS * BATCH
                if progress.epoch_ended
                else progress.sums["loss"].item()
            )
            found.append((total - before) / BATCH)
            before = total
    except Diverged as error:
        return found, f"stopped: {error}"
    return found, f"{STEPS} steps, every loss finite"


def main() -> None:
    """Train the three and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="where CIFAR-10 is")
    options = parser.parse_args()
    results = {}
    for norm in ("fixup", "skipinit", "none"):
        found, end = losses(norm, options.data_root)
        results[norm] = {"losses": found, "end": end}
        steps = found[1:]
        means = [mean(steps[start : start + EVERY]) for start in range(0, len(steps), EVERY)]
        words = " ".join(f"{value:.3f}" for value in means)
        print(f"resnet110 --norm {norm}: before training {found[0]:.3f}, then {words or 'nothing'}")
        print(f"    {end}", flush=True)
    text = json.dumps(
        {"steps": STEPS, "every": EVERY, **results, "environment": environment(choose_device())}, indent=1
    )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "without_norm.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
