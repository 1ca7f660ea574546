"""What a run says of itself: its first and last screen, its environment, its sheet of samples and its report."""

import copy
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from plusx import random_streams
from plusx.data import Dataset, Sample
from plusx.data.batches import Batches
from plusx.data.dataset import rejected_words
from plusx.device import Device
from plusx.evaluation.complexity import complexity, layer_table
from plusx.evaluation.evaluate import Evaluation
from plusx.evaluation.pictures import contact_sheet, to_png
from plusx.evaluation.report import Mistake, Picture, ReportData, write_report
from plusx.events import Section
from plusx.network.backbone import Network
from plusx.plan import Plan
from plusx.result import Result
from plusx.run_folder import RunFolder, typed
from plusx.storage import writing
from plusx.training.loop import train
from plusx.training.progress import Progress

PACKAGES = ("plusx", "torch", "torchvision", "numpy", "pillow", "scikit-learn", "safetensors")
SHEET = 32  # augmented samples on the sheet
MISTAKES = 24  # most confident mistakes in the report
TIMED_STEPS = 3
PATIENCE = 5.0  # seconds after which no further step is timed
AUGMENTATIONS = {
    "flip": "mirrored left to right",
    "pad_and_crop": "padded and cropped",
    "random_resized_crop": "randomly cropped and resized",
    "cutout": "cutout",
}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that answers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def environment(device: Device) -> dict[str, str]:
    """What a run was computed with."""
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    return {**versions(), "system": system, "processors": str(os.cpu_count()), "device": device.describe()}


def seconds_per_epoch(plan: Plan, network: Network, batches: Batches, device: Device) -> float:
    """Measure a few training steps on a copy of the network; the run itself is not touched."""
    state = torch.get_rng_state()
    trial = Progress(copy.deepcopy(network), plan.recipe)
    stamps = [time.perf_counter()]
    for _ in train(trial.network, plan.task, batches, plan.recipe, trial, device):
        stamps.append(time.perf_counter())
        if trial.step == TIMED_STEPS or trial.epoch_ended or stamps[-1] - stamps[0] > PATIENCE:
            break
    torch.set_rng_state(state)
    return min(later - earlier for earlier, later in pairwise(stamps)) * len(batches)


def first_screen(
    plan: Plan,
    data: Dataset,
    network: nn.Module,
    batches: Batches,
    device: Device,
    duration: tuple[str, str],
    by_hand: str = "",
) -> list[Section]:
    """Say what will be trained on what, and how, before it begins."""
    recipe, look = plan.recipe, plan.input
    counts = {split: sum(of_class.values()) for split, of_class in data.counts().items()}
    named = {data.test_name if split == "test" else split: count for split, count in counts.items()}
    spread = sorted(data.counts()["train"].values())
    balance = f"{spread[0]:,}" if spread[0] == spread[-1] else f"{spread[0]:,} to {spread[-1]:,}"
    rows = [
        ("source", data.origin),
        ("samples", ", ".join(f"{count:,} {split}" for split, count in named.items())),
        ("classes", f"{len(data.classes):,}: {_listed(data.classes)}"),
        ("a class", f"{balance} training samples"),
    ]
    if data.rejected:
        rows.append(("set aside", rejected_words(data.rejected)))
    cost = complexity(network, (look.channels, look.height, look.width))
    augmentation = [words for name, words in AUGMENTATIONS.items() if getattr(look, name)]
    augmentation += [look.policy] if look.policy != "none" else []
    held = "in memory, a whole batch at a time" if batches.in_memory else f"from files, {batches.workers} workers"
    return [
        Section("Data", tuple(rows)),
        Section(
            "Network",
            (
                ("model", f"{plan.architecture.name} ({plan.architecture.paper})"),
                ("size", f"{cost.parameters:,} parameters, {_million(cost.multiply_adds)} multiply-adds an image"),
                ("input", f"{look.height}x{look.width}, {look.channels} channel{'s' if look.channels > 1 else ''}"),
                ("augmentation", ", ".join(augmentation) or "none"),
            ),
        ),
        Section(
            "Training",
            (
                (
                    "recipe",
                    f"{recipe.name}: {recipe.optimizer}, learning rate {recipe.learning_rate:g}, {recipe.schedule}",
                ),
                ("length", f"{recipe.epochs} epochs of {len(batches):,} steps, batch {recipe.batch_size}"),
                ("device", device.describe()),
                ("batches", held),
                duration,
                ("seed", str(plan.run.seed)),
                *([("by hand", by_hand)] if by_hand else []),
            ),
        ),
    ]


def whole_plan(plan: Plan) -> Section:
    """Every field of a plan, as config.yaml holds it."""
    parts = plan.to_dict()
    parts["task"]["classes"] = f"{len(plan.task.classes)} names"
    rows = [(f"{part}.{name}", str(value)) for part, fields in parts.items() for name, value in fields.items()]
    return Section("Plan", tuple(rows))


def expected_duration(plan: Plan, network: Network, batches: Batches, device: Device) -> tuple[str, str]:
    """Say how long training will take, from the time of a few steps."""
    seconds = seconds_per_epoch(plan, network, batches, device) * plan.recipe.epochs
    return "expected", f"about {_duration(seconds)} of training"


def last_screen(result: Result, progress: Progress) -> Section:
    """Say how good it became, where everything is, and what to do next."""
    rows = score_rows(result.evaluation) if result.evaluation else []
    waiting = progress.waiting / max(progress.seconds, 1e-9)
    rows += [
        (
            "scored on",
            f"{result.samples:,} samples of {result.split}, once, with the weights of epoch {progress.best_epoch}",
        ),
        (
            "training",
            f"{_duration(progress.seconds)}, {100 * waiting:.1f} % waiting for data",
        ),
        ("report", str(result.run / "report.html") if result.run else ""),
        ("next", f"plusx predict {typed(result.run)} IMAGE ..."),
    ]
    return Section("Result", tuple(rows))


def score_rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    """The scores that a person looks at first, each with its interval."""
    rows: list[tuple[str, str]] = []
    for name, words in {"accuracy": "accuracy", "top5_accuracy": "top-5 accuracy", "macro_f1": "macro F1"}.items():
        if name in evaluation.scores:
            score = evaluation.scores[name]
            low, high = 100 * score.low, 100 * score.high
            rows.append((words, f"{100 * score.value:.2f} %, 95 % interval {low:.2f} to {high:.2f} %"))
    error = evaluation.scores["calibration_error"]
    return [
        *rows,
        ("calibration error", f"{error.value:.4f}, 95 % interval {error.low:.4f} to {error.high:.4f}"),
    ]


def write_samples(folder: RunFolder, batches: Batches) -> None:
    """Write samples/augmented.png: what the first training samples of the first epoch look like to the network."""
    with writing(folder.path / "samples"):
        (folder.path / "samples" / "augmented.png").write_bytes(
            contact_sheet([pixels.numpy() for pixels, _ in _augmented(batches)])
        )


def write_run_report(
    folder: RunFolder,
    result: Result,
    data: Dataset,
    progress: Progress,
    training: Batches,
    test: Batches,
    device: Device,
) -> Path:
    """Write report.html."""
    evaluation, plan = result.evaluation, result.plan
    if evaluation is None:
        raise ValueError("a report needs an evaluation")
    sections = first_screen(plan, data, progress.network, training, device, ("time", _duration(progress.seconds)))
    architecture, look = plan.architecture, plan.input
    rows = layer_table(architecture, len(data.classes), (look.height, look.width))
    samples = [
        Picture(to_png(pixels.numpy()), data.classes[sample.target or 0]) for pixels, sample in _augmented(training)
    ]
    headline = (
        f"{architecture.name} on {data.name}: {len(training.samples):,} training images "
        f"of {len(data.classes)} classes, {progress.epoch} epochs, recipe {plan.recipe.name}"
    )
    return write_report(
        folder.path,
        ReportData(
            title=folder.path.name,
            headline=headline,
            evaluation=evaluation,
            sections=tuple(sections),
            history=tuple(progress.history),
            best_epoch=progress.best_epoch,
            samples=tuple(samples),
            mistakes=tuple(_mistake(result, test, index) for index in evaluation.mistakes[:MISTAKES].tolist()),
            layers=tuple(
                (
                    row.stage,
                    "x".join(map(str, row.output_size)),
                    row.blocks,
                    f"{row.parameters:,}",
                    _million(row.multiply_adds),
                )
                for row in rows
            ),
            environment=tuple(environment(device).items()),
            rejected=tuple((one.name, one.reason) for one in data.rejected),
            notes=result.notes,
            commands=(
                ("Train it again", f"plusx train --config {typed(folder.config)}"),
                ("Use it", f"plusx predict {typed(folder.path)} IMAGE ..."),
                ("Score it on other data", f"plusx evaluate {typed(folder.path)} FOLDER"),
            ),
        ),
    )


def _mistake(result: Result, test: Batches, index: int) -> Mistake:
    assert result.evaluation is not None  # noqa: S101 - the caller has just made it
    predictions = result.evaluation.predictions
    look = result.plan.input
    pixels = look.fit_to_size(look.read(test.samples[index].source)).round().clamp(0, 255).to(torch.uint8)
    return Mistake(
        png=to_png(pixels.numpy()),
        true=predictions.classes[predictions.targets[index]],
        predicted=predictions.classes[predictions.predicted[index]],
        probability=float(predictions.confidences[index]),
        name=predictions.names[index],
    )


def _augmented(batches: Batches) -> list[tuple[torch.Tensor, Sample]]:
    """The first samples of the first epoch as the network sees them, before normalization."""
    look, seed = batches.input, batches.seed
    first = random_streams.order(seed, 0, len(batches.samples))[:SHEET]
    numbers = random_streams.uniform(seed, 0, first, look.draws)
    samples = [batches.samples[index] for index in first.tolist()]
    read = look.read if batches.in_memory else look.read_for_training
    return [
        (look.augment(read(sample.source), row), sample)
        for sample, row in zip(samples, np.asarray(numbers), strict=True)
    ]


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _million(count: int) -> str:
    return f"{count / 1e9:.3f} billion" if count >= 1e9 else f"{count / 1e6:.2f} million"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
