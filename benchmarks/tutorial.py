"""The tutorial recipe against the tutorial's own script: test accuracy after each epoch, and seconds an epoch.

    python benchmarks/tutorial.py --data-root FOLDER [--epochs 2] [--limit 6000]

`plusx train mnist --model mnist_resnet --recipe tutorial` and benchmarks/tutorial_script.py take turns, epoch by epoch,
in one process, with each of three seeds. Both train on the same images and are tested on the test split after every
epoch: an epoch's seconds are those of training and test together; what is done once, before it (data are found and
loaded, the network is made and tested), is counted apart. The script trains on all 60,000 images. A run of plusx keeps
a tenth of them for validation, by which it lowers the rate and chooses the best epoch; here that tenth is trained on as
well, so that both see all of them. Neither looks at the test images to choose anything: no epoch is chosen, and both
lower the rate by a training loss, the script by its last batch's, plusx by the epoch's mean.

Printed, and written to benchmarks/results/tutorial.json: mean accuracy and its 95 % interval after each epoch, and the
ratio of seconds (median, range).
"""

import argparse
import itertools
import json
import os
import time
from collections.abc import Iterator
from statistics import mean, median

from accuracy import RESULTS, SEEDS, margin_of
from tutorial_script import script

from plusx.data.batches import Batches
from plusx.decisions import decide
from plusx.device import choose_device
from plusx.evaluation.inference import predict, quick_scores
from plusx.events import result_of
from plusx.experiment import network_of
from plusx.preparation import prepare
from plusx.reporting import environment
from plusx.request import request
from plusx.training.loop import train
from plusx.training.progress import Progress

COMMAND = "plusx train mnist --model mnist_resnet --recipe tutorial"
RIVALS = ("script", "plusx")


def ours(root: str, epochs: int, seed: int, limit: int = 0) -> Iterator[float]:
    """Train as the command does, on the validation images too; yield the test accuracy before and after each epoch."""
    options = {"model": "mnist_resnet", "recipe": "tutorial", "seed": seed, "data_root": root, "epochs": epochs}
    asked = request("mnist", options=options)
    prepared = result_of(prepare(asked.run))
    device = choose_device()
    prepared, plan, _ = decide(asked, prepared, device)
    network = network_of(plan)
    device.place(network)
    data = prepared.dataset
    training, testing = [*data.split("train"), *data.split("validation")], data.split("test")
    if limit:
        training, testing = training[:limit], testing[: limit // 6]
    settings = {"batch_size": plan.recipe.batch_size, "collate": plan.task.collate, "seed": seed}
    batches = Batches(training, plan.input, training=True, **settings)
    test = Batches(testing, plan.input, training=False, **settings)
    result_of(batches.load())
    progress = Progress(network, plan.recipe)
    yield 100 * quick_scores(result_of(predict(network, plan.task, test, device)))["accuracy"]
    for _ in train(network, plan.task, batches, plan.recipe, progress, device):
        if progress.epoch_ended:
            scores = quick_scores(result_of(predict(progress.scored_network, plan.task, test, device)))
            progress.record({"train_loss": progress.history[-1]["train_loss"]}, lower=True)  # not by the test split
            yield 100 * scores["accuracy"]


def measured(root: str, epochs: int, limit: int) -> list[dict[str, object]]:
    """Let both take turns, and return a row an epoch: who, seed, epoch (0 is the set-up), accuracy, seconds."""
    rows: list[dict[str, object]] = []
    for seed in SEEDS:
        runs = {"script": script(root, epochs, seed, limit), "plusx": ours(root, epochs, seed, limit)}
        for name, run in runs.items():
            began = time.perf_counter()
            accuracy = next(run)
            seconds = time.perf_counter() - began
            rows.append({"name": name, "seed": seed, "epoch": 0, "accuracy": accuracy, "seconds": seconds})
            print(f"seed {seed}, ready,   {name:6}: {accuracy:.2f} % in {seconds:.1f} s", flush=True)
        for epoch in range(1, epochs + 1):
            for name in RIVALS if (seed + epoch) % 2 else RIVALS[::-1]:
                began = time.perf_counter()
                accuracy = next(runs[name])
                seconds = time.perf_counter() - began
                rows.append({"name": name, "seed": seed, "epoch": epoch, "accuracy": accuracy, "seconds": seconds})
                print(f"seed {seed}, epoch {epoch}, {name:6}: {accuracy:.2f} % in {seconds:.1f} s", flush=True)
    return rows


def main() -> None:
    """Measure, sum up and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default="", help="the folder that holds MNIST/raw")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--limit", type=int, default=0, help="only so many training images, for a trial")
    options = parser.parse_args()
    rows = measured(options.data_root, options.epochs, options.limit)
    summary = []
    for epoch, name in itertools.product(range(1, options.epochs + 1), RIVALS):
        found = [float(row["accuracy"]) for row in rows if (row["epoch"], row["name"]) == (epoch, name)]
        summary.append({"epoch": epoch, "name": name, "mean": mean(found), "margin": margin_of(found)})
        print(
            f"after epoch {epoch}, {name:6}: mean {mean(found):.2f} % ± {margin_of(found):.2f} over {len(SEEDS)} seeds"
        )
    seconds = {name: [float(row["seconds"]) for row in rows if row["name"] == name and row["epoch"]] for name in RIVALS}
    ready = {
        name: median(float(row["seconds"]) for row in rows if row["name"] == name and not row["epoch"])
        for name in RIVALS
    }
    ratios = [slow / fast for slow, fast in zip(seconds["script"], seconds["plusx"], strict=True)]
    print(
        f"seconds an epoch: script {median(seconds['script']):.1f}, plusx {median(seconds['plusx']):.1f}; "
        f"plusx is {median(ratios):.2f} times faster (range {min(ratios):.2f} to {max(ratios):.2f})"
    )
    print(f"seconds before the first epoch: script {ready['script']:.1f}, plusx {ready['plusx']:.1f}")
    if options.limit:
        return
    RESULTS.mkdir(exist_ok=True)
    ratio = {"median": median(ratios), "low": min(ratios), "high": max(ratios)}
    result = {"command": COMMAND, "rows": rows, "summary": summary, "ratio": ratio, "ready": ready}
    result |= {"environment": environment(choose_device()), "load": os.getloadavg()[0]}
    (RESULTS / "tutorial.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
