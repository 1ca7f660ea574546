"""The last decisions of a plan: what this device and these data make of it, each with a sentence where it matters."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plusx import launch, ranks
from plusx.data import NAMES
from plusx.data.steps import step_sizes
from plusx.device import Device
from plusx.errors import UsageError
from plusx.evaluation.complexity import survey
from plusx.network.architecture import Architecture
from plusx.network.architectures import stem_warning
from plusx.network.backbone import strides_of
from plusx.plan import NOT_OPTIONS, PARTS, Plan
from plusx.preparation import Prepared, overfitting
from plusx.request import Request, resolve
from plusx.training.recipe import Recipe
from plusx.training.recipes import RECIPES, rate_for
from plusx.training.sizes import side
from plusx.weights.trained import Weights

NO_AUGMENTATION = {
    "flip": False, "pad_and_crop": 0, "random_resized_crop": False, "cutout": 0, "policy": "none", "erase": 0.0,
    "mixup": 0.0, "cutmix": 0.0, "repeats": 1, "first_size": 1.0, "last_size": 1.0,
}  # fmt: skip


def decide(
    asked: Request, prepared: Prepared, device: Device, weights: Weights | None = None
) -> tuple[Prepared, Plan, tuple[str, ...]]:
    """Resolve the plan for these data, weights and device, and mend what the data make impossible.

    Returns:
        The data (where batches are overfitted only these), the plan, and sentences that a person should read.

    Raises:
        UsageError: A value cannot be used with this data.
    """
    notes: list[str] = []
    plan = resolve(asked, prepared.facts, prepared.statistics, weights)
    if asked.run.overfit_batches:
        prepared = overfitting(prepared, asked.run.overfit_batches * plan.recipe.batch_size)
        recipe = {"batch_size": plan.recipe.batch_size, "learning_rate": plan.recipe.learning_rate}
        options = {**recipe, **NO_AUGMENTATION, **asked.options}
        plan = resolve(dataclasses.replace(asked, options=options), prepared.facts, prepared.statistics, weights)
    refuse_small(plan)
    plan = without_choice(plan, prepared)
    places = {name: _absolute(getattr(plan.run, name)) for name in ("source", "data_root", "weights", "teacher")}
    if plan.run.cache:
        places["cache"] = str(Path(plan.run.cache).expanduser().absolute())
    threads = device.threads if ranks.count() == 1 else asked.run.threads  # 0: each rank its share of its own machine
    chosen = {**places, "device": device.name, "precision": device.precision, "threads": threads}
    plan = dataclasses.replace(plan, run=dataclasses.replace(plan.run, **chosen))
    if plan.run.precision == "bfloat16" and device.kind == "cpu" and halves_single_pixels(plan):
        why = (
            f"{plan.architecture.name} halves maps of a single pixel on {'x'.join(map(str, first_size(plan)))} images; "
            "torch's bfloat16 gradients are wrong there on a CPU"
        )
        if asked.run.precision != "auto":
            raise UsageError(f"{why}; use --precision float32 or a larger --image-size")
        notes.append(f"{why}, so float32 is used")
        plan = dataclasses.replace(plan, run=dataclasses.replace(plan.run, precision="float32"))
    if plan.run.workers < 0:
        workers = max(1, min(launch.cores(), 8) // launch.local_ranks())
        plan = dataclasses.replace(plan, run=dataclasses.replace(plan.run, workers=workers))
    notes += rate_note(plan.recipe, asked.changes("recipe"))
    warning = stem_warning(plan.architecture, plan.input.height, plan.input.width)
    if warning:
        notes.append(warning)
    if weights is None and (plan.recipe.head_epochs or plan.recipe.frozen_norms or plan.recipe.freeze != "none"):
        notes.append(
            f"the recipe {plan.recipe.name} leaves parts of the network as they are for a while or for good, but there "
            "are no trained weights in them; give some with --weights, or choose another --recipe"
        )
    samples = prepared.facts.samples
    if plan.recipe.batch_size > samples:
        notes.append(
            f"the batch of {plan.recipe.batch_size} is larger than the {samples} training samples: "
            f"all {samples} make one batch; a smaller --batch-size trains in more steps"
        )
        plan = dataclasses.replace(plan, recipe=dataclasses.replace(plan.recipe, batch_size=samples))
    if samples % plan.recipe.batch_size == 1 and samples > 1:
        notes.append(
            f"the last batch of an epoch would hold one sample, from which batch normalization cannot learn: "
            f"it joins the batch before it ({samples} samples, batches of {plan.recipe.batch_size})"
        )
    return prepared, within_steps(plan, samples), tuple(notes)


def within_steps(plan: Plan, samples: int) -> Plan:
    """Count no more epochs than the recipe's most steps begin."""
    recipe = plan.recipe
    if not recipe.steps:
        return plan
    epochs = math.ceil(recipe.steps / len(step_sizes(samples, recipe.batch_size, ranks.count())))
    return dataclasses.replace(plan, recipe=dataclasses.replace(recipe, epochs=min(recipe.epochs, epochs)))


def rate_note(recipe: Recipe, by_hand: Mapping[str, Any]) -> list[str]:
    """Say which rate belongs to a batch that was given by hand, where the recipe's own rate is for another one."""
    named = RECIPES[recipe.name]
    same = recipe.batch_size == named.batch_size or "batch_size" in named.from_data
    if same or "batch_size" not in by_hand or "learning_rate" in by_hand:
        return []
    return [
        f"the recipe {named.name} has its learning rate of {named.learning_rate:g} for batches of "
        f"{named.batch_size:,}; with {recipe.batch_size:,} its like is --learning-rate "
        f"{rate_for(named, recipe.batch_size):.3g}; and a batch too large for the memory is divided by itself"
    ]


def without_choice(plan: Plan, prepared: Prepared) -> Plan:
    """Keep the last weights where no sample validates.

    Raises:
        UsageError: The recipe needs validation scores.
    """
    recipe = plan.recipe
    if prepared.dataset.split("validation"):
        return plan
    if recipe.schedule == "plateau" or recipe.early_stopping:
        needs = "the plateau schedule" if recipe.schedule == "plateau" else "early stopping"
        raise UsageError(f"no sample validates (--validation 0), but {needs} needs scores; use --validation 0.1")
    return dataclasses.replace(plan, recipe=dataclasses.replace(recipe, keep="last"))


def refuse_small(plan: Plan) -> None:
    """Check that the network can take images of this size, and of those that training begins with.

    Raises:
        UsageError: They are too small; the least side is named.
    """
    look, architecture, first = plan.input, plan.architecture, first_size(plan)
    if takes(architecture, *first):
        return
    if takes(architecture, look.height, look.width):
        name = "first_size" if plan.recipe.first_size < plan.recipe.last_size else "last_size"
        raise UsageError(
            f"training begins with images of {first[0]}x{first[1]} pixels ({name} {getattr(plan.recipe, name):g}), too "
            f"small for {architecture.name}; use a larger --{name.replace('_', '-')}, or 1 for none"
        )
    low, high = min(look.height, look.width), max(look.height, look.width, architecture.image_size)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if takes(architecture, middle, middle) else (middle, high)
    raise UsageError(
        f"images of {look.height}x{look.width} pixels are too small for {architecture.name}, which halves them until "
        f"nothing is left; it needs at least {high}x{high}: use --image-size {high} or another --model"
    )


def first_size(plan: Plan) -> tuple[int, int]:
    """Return the height and width of the first epoch's images, the smallest of all."""
    return side(plan.recipe, 0, plan.input.height, plan.input.width)


def takes(architecture: Architecture, height: int, width: int) -> bool:
    """Whether a network can take images of a size, tried without computing a number."""
    try:
        survey(architecture, 2, (height, width))
    except UsageError:
        return False
    return True


def halves_single_pixels(plan: Plan) -> bool:
    """Whether a stage of stride 2 gets a map that is one pixel high or wide.

    Measured with torch 2.15 on a CPU with AVX512-BF16: the weight gradient of a 3x3 convolution of stride 2 on such a
    map, in bfloat16 and channels_last, depends on memory that nobody wrote, and can be infinite.
    """
    strides = strides_of(plan.architecture)
    return len(strides) > 1 and min(first_size(plan)) <= strides[-2]


def _absolute(place: str) -> str:
    """A folder or a file as it is found from anywhere; a data set's name as it is."""
    path = Path(place).expanduser()
    return str(path.absolute()) if place and place not in NAMES and path.exists() else place


def changes_by_hand(asked: Request, prepared: Prepared, weights: Weights | None = None) -> str:
    """Say which fields the user changed, and what they would have been: "epochs 3 (10)"."""
    given = {name for part in PARTS for name in asked.changes(part)} - NOT_OPTIONS
    # With the same channels on both sides, what follows from them is no difference.
    channels = asked.changes("input").get("channels", prepared.facts.channels)
    bare = dataclasses.replace(asked, config={}, options={"channels": channels})
    without, now = (
        _flat(_mended(resolve(one, prepared.facts, prepared.statistics, weights), prepared)) for one in (bare, asked)
    )
    without["input.channels"] = prepared.facts.channels
    return ", ".join(
        f"{name.split('.')[1]} {now[name]} ({without[name]})"
        for name in now
        if now[name] != without[name] and name.split(".")[1] in given
    )


def _mended(plan: Plan, prepared: Prepared) -> Plan:
    """The plan as `decide` mends it: its batch, its epochs, and the weights that are kept."""
    plan = without_choice(plan, prepared)
    batch = max(2, min(plan.recipe.batch_size, prepared.facts.samples))
    plan = dataclasses.replace(plan, recipe=dataclasses.replace(plan.recipe, batch_size=batch))
    return within_steps(plan, prepared.facts.samples)


def _flat(parts: Plan) -> dict[str, Any]:
    return {f"{part}.{name}": value for part, fields in parts.to_dict().items() for name, value in fields.items()}
