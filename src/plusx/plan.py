"""Plan: one experiment, decided down to the last number, before anything is trained.

It is what config.yaml and the run's state hold and what the first screen prints; `plusx.request` makes it of what the
user asked for.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from plusx.coercion import coerced_fields
from plusx.errors import UsageError, look_up
from plusx.inputs.image import ImageInput
from plusx.network.architecture import Architecture, shortcut_named
from plusx.network.architectures import ARCHITECTURES
from plusx.tasks.classification import Classification
from plusx.training.recipe import Recipe
from plusx.training.recipes import RECIPES

# The parts of a plan whose fields are options; what the data or the model's name decide are not.
PARTS: dict[str, type[Any]] = {
    "recipe": Recipe,
    "input": ImageInput,
    "task": Classification,
    "architecture": Architecture,
}
COMPILE = {"auto": "where it pays", "on": "always", "off": "never"}
FINETUNE = "finetune"  # the recipe for weights that are trained already
NOT_OPTIONS = {
    "name", "from_data", "model", "input", "task", "architecture", "classes", "paper", "image_size", "channels_in",
    "stem", "block", "depths", "widths", "stem_width", "transition", "attention", "attention_reduction", "groups",
    "width_per_group", "compression", "pooling", "output_scale", "initial_weights", "dims", "published",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """The part of a plan that is about the run itself: its data, its seed, where and how it computes.

    Args:
        source: What is trained on: a named data set, a folder, or a manifest.
        model: The architecture's name; chosen from the data if empty.
        recipe: The recipe's name; chosen from the data if empty, and "finetune" where there are weights.
        weights: Trained weights to start from: a file, a run, or a published name; none if empty.
        teacher: A trained network whose answers are taught to this one: a checkpoint or a run; none if empty.
        seed: Seed of the splits, the weights, the order and the augmentation.
        data_root: Where named data sets are looked for first.
        download: Whether a named data set may be downloaded.
        validation: Share of the samples that validates, where the source names no such split; with 0 none is held
            back from training for that, and the last weights are kept.
        test: Share of the samples that is held out for the final score, where the source names no such split.
        strict: Whether a file that cannot be read is an error.
        limit_samples: At most so many samples of each split; 0 takes all.
        overfit_batches: Train and score on this many fixed batches, without augmentation; 0 is off.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "float32" or "bfloat16".
        compile: Whether training is compiled: "on", "off", or "auto", which measures whether that pays.
        threads: CPU threads; 0 takes all cores.
        workers: Processes that read images that do not fit in memory; -1 takes one a core, at most 8.
        cache: A folder in which decoded training images are kept that do not fit in memory; none if empty. What is cut
            out at random is then cut from at most 1.5 times the final size: finer detail of small crops is lost.
        sync_batch_norm: Whether batch norms of several ranks take their statistics from the whole step, not each from
            its own part.
        save_minutes: Minutes between two saves of the state within an epoch.
    """

    source: str
    model: str = ""
    recipe: str = ""
    weights: str = ""
    teacher: str = ""
    seed: int = 0
    data_root: str = ""
    download: bool = False
    validation: float = 0.1
    test: float = 0.2
    strict: bool = False
    limit_samples: int = 0
    overfit_batches: int = 0
    device: str = "auto"
    precision: str = "auto"
    compile: str = "auto"
    threads: int = 0
    workers: int = -1
    cache: str = ""
    sync_batch_norm: bool = False
    save_minutes: float = 10.0

    def __post_init__(self) -> None:
        """Check names and numbers before any data is read; raises UsageError."""
        if self.model:
            look_up("model", self.model, ARCHITECTURES)
        if self.recipe:
            look_up("recipe", self.recipe, RECIPES)
        for name in ("limit_samples", "overfit_batches", "threads", "seed"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}, but must be 0 or more")
        look_up("way to compile", self.compile, COMPILE)
        if not 0 <= self.validation < 1:
            raise UsageError(f"validation is {self.validation}, but must be a share below 1, or 0 for none")
        if not 0 < self.test < 1:
            raise UsageError(f"test is {self.test}, but must be a share between 0 and 1")
        if self.validation + self.test >= 1:
            raise UsageError(f"validation {self.validation} and test {self.test} leave nothing to train on; lower them")
        if self.save_minutes <= 0:
            raise UsageError(f"save_minutes is {self.save_minutes}, but must be above 0")

    def recipe_or(self, default: str) -> str:
        """Return the recipe's name, that for trained weights where there are some, or else `default`."""
        return self.recipe or (FINETUNE if self.weights else default)


@dataclass(frozen=True)
class Plan:
    """One experiment, decided: what config.yaml holds and what can be run again."""

    run: Run
    architecture: Architecture
    input: ImageInput
    task: Classification
    recipe: Recipe

    def to_dict(self) -> dict[str, Any]:
        """Plain values, part by part, that `Plan.from_dict` and `--config` read."""
        values = dataclasses.asdict(self)
        return _plain({**values, "input": self.input.to_dict()})

    @classmethod
    def from_dict(cls, values: Mapping[str, Mapping[str, Any]]) -> "Plan":
        """Read what `to_dict` gave."""
        return cls(
            run=Run(**values["run"]),
            architecture=Architecture(**coerced("architecture", values["architecture"])),
            input=ImageInput.from_dict(dict(values["input"])),
            task=Classification(**coerced("task", values["task"])),
            recipe=Recipe(**coerced("recipe", values["recipe"])),
        )

    def to_yaml(self) -> str:
        """The text of config.yaml."""
        head = "# plusx train --config FILE trains this again; any line may be left out, options given by hand win.\n"
        return head + yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)


def coerced(part: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Give the values of a part's fields their fields' types, those in a recipe's maps too.

    Raises:
        UsageError: There is no such field, or a value does not fit its type.
    """
    result = coerced_fields(PARTS[part], part, values)
    if part == "recipe":
        result |= {inner: coerced(inner, result[inner]) for inner in PARTS if inner in result}
    if part == "architecture" and "shortcut" in result:
        result["shortcut"] = shortcut_named(result["shortcut"])
    return result


def _plain(value: Any) -> Any:  # noqa: ANN401 - any field's value
    """Tuples as lists and maps as dicts, for YAML and JSON."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
