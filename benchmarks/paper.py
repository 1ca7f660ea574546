"""He et al. 2015's ResNet-20 on CIFAR-10, 64,000 steps, over as many sittings as it takes: its error and its curve.

    python benchmarks/paper.py --data-root FOLDER --out FOLDER [--minutes 30]

The first sitting begins the run, each later one resumes it exactly (`plusx resume`), and after so many minutes a
sitting saves everything and ends. When the run is complete its test error stands beside the paper's 8.75 % (table 6),
and its curve, training and test error over the steps as in the paper's figure 6, is drawn. The test error of every few
epochs is for the figure alone: nothing is chosen by it, and scoring it does not touch the run's random streams. The
recipe keeps 45,000 images for training and 5,000 for validation, as the paper did.

Of figure 6 the paper prints no numbers but the test errors of table 6: what is drawn beside ours is that end value and
the steps, 32,000 and 48,000, at which the rate is divided by ten.
"""

import argparse
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plusx.checkpoint import Checkpoint
from plusx.data.batches import Batches
from plusx.device import choose_device
from plusx.errors import Stopped
from plusx.evaluation.inference import predict, quick_scores
from plusx.events import Advanced, EpochEnded, Event, result_of
from plusx.experiment import resume, run
from plusx.plan import Run
from plusx.preparation import prepare
from plusx.reporting import environment
from plusx.request import request
from plusx.result import Result
from plusx.run_folder import RunFolder

PUBLISHED = 8.75  # percent of the test images, table 6
STEPS, DIVIDED_AT = 64_000, (32_000, 48_000)
NAME = "paper-resnet20"
RESULTS = Path(__file__).parent / "results"


def begin(root: str, out: Path, changes: Mapping[str, Any]) -> Any:
    """Return the run from its first step on."""
    options = {"model": "resnet20", "recipe": "paper", "data_root": root, "save_minutes": 5.0, **changes}
    return run(request("cifar10", options=options), out=out, name=NAME)


def test_batches(root: str, checkpoint: Checkpoint) -> Batches:
    """Return the test images as the network is to see them."""
    prepared = result_of(prepare(Run(source="cifar10", data_root=root), measure=False))
    collate = checkpoint.task.collate
    return Batches(prepared.dataset.split("test"), checkpoint.input, batch_size=250, collate=collate, training=False)


def test_error(weights: Path, root: str, kept: dict[str, Batches]) -> float:
    """Return the share of the test images, in percent, that some weights get wrong."""
    checkpoint, device = Checkpoint.load(weights), choose_device()
    if "test" not in kept:
        kept["test"] = test_batches(root, checkpoint)
    network = device.place(checkpoint.network())
    return 100 * (1 - quick_scores(result_of(predict(network, checkpoint.task, kept["test"], device)))["accuracy"])


def sitting(work: Any, folder: RunFolder, root: str, minutes: float, every: int) -> Result | None:
    """Work on the run for some minutes.

    Returns:
        The result, once the run is complete.
    """
    began, kept, asked = time.monotonic(), dict[str, Batches](), False
    while True:
        try:
            event: Event = next(work)
        except StopIteration as end:
            return end.value
        except Stopped as stopped:
            print(stopped)
            return None
        if isinstance(event, EpochEnded):
            row = {"epoch": event.epoch, **event.scores}
            if event.epoch % every == 0 or event.epoch == event.epochs:
                row["test_error"] = test_error(folder.last, root, kept)
                add_row(folder, row)
            shown = {name: round(value, 4) for name, value in row.items() if name != "seconds"}
            print(f"epoch {event.epoch} of {event.epochs}: {shown}", flush=True)
        between_steps = isinstance(event, Advanced) and event.activity.startswith("epoch ")  # where signals are heeded
        if between_steps and not asked and minutes and time.monotonic() - began > 60 * minutes:
            asked = True
            os.kill(os.getpid(), signal.SIGTERM)  # the run saves everything and ends


def add_row(folder: RunFolder, row: Mapping[str, Any]) -> None:
    """Write a point of the curve."""
    with (folder.path / "curve.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(dict(row)) + "\n")


def curve(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Return the points in order, in percent of errors; of an epoch that was trained twice after a kill, the last."""
    last = {row["epoch"]: row for row in rows}
    return [
        {
            "epoch": epoch,
            "step": last[epoch]["step"],
            "training_error": 100 * (1 - last[epoch]["train_accuracy"]),
            "test_error": last[epoch]["test_error"],
        }
        for epoch in sorted(last)
    ]


def read_curve(folder: RunFolder) -> list[dict[str, float]]:
    """Return the points that were found so far."""
    file = folder.path / "curve.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return curve([json.loads(line) for line in lines])


def summary(points: Sequence[Mapping[str, float]], error: float | None) -> str:
    """Say how far it has come, beside what was published."""
    if error is not None:
        better = "lower" if error <= PUBLISHED else "higher"
        return (
            f"complete: test error {error:.2f} %, published {PUBLISHED} %: {abs(error - PUBLISHED):.2f} points {better}"
        )
    if not points:
        return f"partial: no epoch is scored yet; published after {STEPS:,} steps: {PUBLISHED} %"
    last = points[-1]
    return (
        f"partial, {last['step']:,} of {STEPS:,} steps: training error {last['training_error']:.2f} %, test error "
        f"{last['test_error']:.2f} %; published after all: {PUBLISHED} %"
    )


def draw(points: Sequence[Mapping[str, float]], file: Path) -> None:
    """Draw the curve as figure 6 does: test error bold, training error dashed, 0 to 20 %."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    steps = [point["step"] / 1e4 for point in points]
    axes.plot(steps, [point["test_error"] for point in points], color="C0", linewidth=2, label="test, ours")
    training = [point["training_error"] for point in points]
    axes.plot(steps, training, color="C0", linewidth=1, linestyle="--", label="training, ours")
    axes.axhline(PUBLISHED, color="C3", linewidth=1, label=f"test, published: {PUBLISHED} %")
    for step in DIVIDED_AT:
        axes.axvline(step / 1e4, color="0.8", linewidth=1, zorder=0)
    axes.set(xlabel="steps (1e4)", ylabel="error (%)", xlim=(0, STEPS / 1e4), ylim=(0, 20))
    axes.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def main() -> None:
    """Work on the run for one sitting, and write how far it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--out", required=True, type=Path, help="where the run's folder is, or is made")
    parser.add_argument("--minutes", type=float, default=0.0, help="of this sitting; 0 goes on to the end")
    parser.add_argument("--every", type=int, default=4, help="epochs between two points of the curve")
    parser.add_argument("--epochs", type=int, default=0, help="for a trial")
    parser.add_argument("--limit", type=int, default=0, help="only so many samples of each split, for a trial")
    options = parser.parse_args()
    changes = {"epochs": options.epochs} if options.epochs else {}
    changes |= {"limit_samples": options.limit} if options.limit else {}
    folder = RunFolder(options.out / NAME)
    complete = folder.path / "complete.json"
    trial = bool(changes)
    if not complete.is_file():
        work = resume(folder.path) if folder.config.is_file() else begin(options.data_root, options.out, changes)
        result = sitting(work, folder, options.data_root, options.minutes, options.every)
        if result and result.evaluation:
            accuracy = result.evaluation.scores["accuracy"].to_dict()
            kept = {"accuracy": accuracy, "seconds": result.seconds, "recipe": result.plan.to_dict()["recipe"]}
            kept |= {
                "last_test_error": test_error(folder.last, options.data_root, {}),
                "run": result.plan.to_dict()["run"],
            }
            for place in ("source", "data_root"):
                kept["run"].pop(place)
            complete.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    ended = json.loads(complete.read_text(encoding="utf-8")) if complete.is_file() else {}
    error = 100 * (1 - ended["accuracy"]["value"]) if ended else None
    points = read_curve(folder)
    print(summary(points, error))
    if trial:
        return
    RESULTS.mkdir(exist_ok=True)
    found = {
        "complete": bool(ended),
        "error": error,
        "published": PUBLISHED,
        "steps": STEPS,
        **ended,
        "curve": points,
        "environment": environment(choose_device()),
    }
    (RESULTS / "paper.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if points:
        draw(points, RESULTS / "paper.png")


if __name__ == "__main__":
    main()
