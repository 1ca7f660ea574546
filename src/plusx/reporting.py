"""What a run says of itself: its first and last screen, and its environment."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from torch import nn

from plusx import kernels
from plusx.data import Dataset
from plusx.data.batches import Batches
from plusx.data.dataset import counted, rejected_words
from plusx.device import Device
from plusx.evaluation.complexity import complexity
from plusx.evaluation.evaluate import Evaluation
from plusx.events import Section
from plusx.inputs.views import VIEWS
from plusx.plan import Plan
from plusx.result import Result
from plusx.run_folder import typed
from plusx.start import Start
from plusx.training.freezing import frozen_parts, head_steps
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe

PACKAGES = ("plusx", "torch", "torchvision", "numpy", "pillow", "scikit-learn", "safetensors")
MIXTURES = ("mixup", "cutmix")
AUGMENTATIONS = {
    "flip": "mirrored left to right",
    "pad_and_crop": "padded and cropped",
    "random_resized_crop": "randomly cropped and resized",
    "cutout": "cutout",
    "erase": "randomly erased",
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
    own = {"kernels": kernels.identity()} if device.kind == "cpu" else {}
    return {**versions(), "system": system, "processors": str(os.cpu_count()), "device": device.describe(), **own}


def first_screen(
    plan: Plan,
    data: Dataset,
    network: nn.Module,
    batches: Batches,
    device: Device,
    duration: tuple[str, str],
    by_hand: str = "",
    start: Start | None = None,
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
    augmentation += [name for name in MIXTURES if getattr(recipe, name)]
    views = [("views", f"each answer is averaged over {VIEWS[look.views]}")] if look.views != "one" else []
    place = "the cache" if batches.cached else "files"
    held = "in memory, a whole batch at a time" if batches.in_memory else f"from {place}, {batches.workers} workers"
    return [
        Section("Data", tuple(rows)),
        *([Section("Weights", start.rows())] if start else []),
        Section(
            "Network",
            (
                ("model", f"{plan.architecture.name} ({plan.architecture.paper})"),
                ("size", f"{cost.parameters:,} parameters, {in_millions(cost.multiply_adds)} multiply-adds an image"),
                ("input", f"{look.height}x{look.width}, {look.channels} channel{'s' if look.channels > 1 else ''}"),
                ("augmentation", ", ".join(augmentation) or "none"),
                *views,
            ),
        ),
        Section(
            "Training",
            (
                (
                    "recipe",
                    f"{recipe.name}: {recipe.optimizer}, learning rate {recipe.learning_rate:g}, {recipe.schedule}",
                ),
                *_frozen(plan, network, len(batches)),
                ("length", _length(recipe, len(batches))),
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


def last_screen(result: Result, progress: Progress) -> Section:
    """Say how good it became, where everything is, and what to do next."""
    rows = score_rows(result.evaluation) if result.evaluation else []
    waiting = progress.waiting / max(progress.seconds, 1e-9)
    rows += [
        (
            "scored on",
            f"{result.samples:,} samples of {result.split}, once, with the weights of epoch {progress.kept_epoch}",
        ),
        (
            "training",
            f"{in_words(progress.seconds)}, {100 * waiting:.1f} % waiting for data",
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


def _length(recipe: Recipe, steps: int) -> str:
    epochs = f"{recipe.epochs:,} {'epoch' if recipe.epochs == 1 else 'epochs'}"
    most = f", {counted(recipe.steps, 'step')} at most" if recipe.steps else ""
    return f"{epochs} of {counted(steps, 'step')}{most}, batch {recipe.batch_size}"


def _frozen(plan: Plan, network: nn.Module, steps: int) -> list[tuple[str, str]]:
    """Say what is not trained, or later, or more slowly; nothing where all is trained alike."""
    recipe, stages = plan.recipe, len(plan.architecture.depths)
    parts = frozen_parts(recipe.freeze, stages)
    named = {0: "", 1: "the stem", 2: "the stem and stage 1", 1 + stages: "all but the head"}
    said = [f"{named.get(parts, f'the stem and stages 1 to {parts - 1}')}, for the whole run"] if parts else []
    alone = head_steps(network, recipe, steps) / steps
    if alone:
        said.append(f"all but the head for the first {'epoch' if alone == 1 else f'{alone:.3g} epochs'}")
    if recipe.frozen_norms:
        said.append("the norms' statistics")
    if recipe.frozen_scales:
        said.append("the norms' scales")
    rates = [("rates", f"each part towards the image {recipe.rate_decay:g} times the one after it")]
    return [*([("frozen", "; ".join(said))] if said else []), *(rates if recipe.rate_decay < 1 else [])]


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def in_millions(count: int) -> str:
    """Write a large number: "41.28 million"."""
    return f"{count / 1e9:.3f} billion" if count >= 1e9 else f"{count / 1e6:.2f} million"


def in_words(seconds: float) -> str:
    """Write a length of time: "47 s", "12 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
