"""Plan: one experiment, decided down to the last number, before anything is trained.

`resolve` merges *defaults from the data < recipe < --config file < options*, field by field, once. The plan is what
config.yaml and the run's state hold and what the first screen prints.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from plusx.coercion import coerced_fields
from plusx.defaults import DataFacts, defaults_for
from plusx.errors import UsageError, look_up, near_misses
from plusx.inputs.image import ImageInput
from plusx.network.architecture import Architecture, shortcut_named
from plusx.network.architectures import ARCHITECTURES
from plusx.start import architecture_for, kept_of, look_of
from plusx.tasks.classification import Classification
from plusx.training.freezing import frozen_parts
from plusx.training.recipe import RECIPES, Recipe
from plusx.weights.trained import Weights

# The parts of a plan whose fields are options; what the data or the model's name decide are not.
PARTS: dict[str, type[Any]] = {
    "recipe": Recipe,
    "input": ImageInput,
    "task": Classification,
    "architecture": Architecture,
}
FINETUNE = "finetune"  # the recipe for weights that are trained already
NOT_OPTIONS = {
    "name", "from_data", "input", "task", "architecture", "classes", "paper", "image_size", "channels_in",
    "stem", "block", "depths", "widths", "stem_width", "transition", "attention", "attention_reduction", "groups",
    "width_per_group", "compression", "pooling", "initial_weights", "dims", "published",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """The part of a plan that is about the run itself: its data, its seed, where and how it computes.

    Args:
        source: What is trained on: a named data set, a folder, or a manifest.
        model: The architecture's name; chosen from the data if empty.
        recipe: The recipe's name; chosen from the data if empty, and "finetune" where there are weights.
        weights: Trained weights to start from: a file, a run, or a published name; none if empty.
        seed: Seed of the splits, the weights, the order and the augmentation.
        data_root: Where named data sets are looked for first.
        download: Whether a named data set may be downloaded.
        validation: Share of the samples that validates, where the source names no such split.
        test: Share of the samples that is held out for the final score, where the source names no such split.
        strict: Whether a file that cannot be read is an error.
        limit_samples: At most so many samples of each split; 0 takes all.
        overfit_batches: Train and score on this many fixed batches, without augmentation; 0 is off.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "float32" or "bfloat16".
        threads: CPU threads; 0 takes all cores.
        workers: Processes that read images that do not fit in memory; -1 takes one a core, at most 8.
        save_minutes: Minutes between two saves of the state within an epoch.
    """

    source: str
    model: str = ""
    recipe: str = ""
    weights: str = ""
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
    threads: int = 0
    workers: int = -1
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
        for name in ("validation", "test"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, but must be a share between 0 and 1")
        if self.validation + self.test >= 1:
            raise UsageError(f"validation {self.validation} and test {self.test} leave nothing to train on; lower them")
        if self.save_minutes <= 0:
            raise UsageError(f"save_minutes is {self.save_minutes}, but must be above 0")

    def recipe_or(self, default: str) -> str:
        """Return the recipe's name, that for trained weights where there are some, or else `default`."""
        return self.recipe or (FINETUNE if self.weights else default)


@dataclass(frozen=True)
class Request:
    """What the user asked for: the run, and changes by hand to single fields of its parts."""

    run: Run
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def changes(self, part: str) -> dict[str, Any]:
        """Return what the config file and then the options change in one part."""
        chosen = {name: value for name, value in self.options.items() if part_of(name) == part}
        if "image_size" in chosen:
            side = chosen.pop("image_size")
            chosen = {"height": side, "width": side, **chosen}
        return coerced(part, {**self.config.get(part, {}), **chosen})


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


def part_of(option: str) -> str:
    """Return the part whose field an option changes.

    Raises:
        UsageError: No part has such a field; the nearest ones are named.
    """
    if option == "image_size":
        return "input"
    for part, kind in PARTS.items():
        if option in {f.name for f in dataclasses.fields(kind)} - NOT_OPTIONS:
            return part
    known = {f.name: f for kind in PARTS.values() for f in dataclasses.fields(kind) if f.name not in NOT_OPTIONS}
    close = near_misses(option, {**known, **{f.name: f for f in dataclasses.fields(Run)}, "image_size": None})
    raise UsageError(f"no option is called {option!r}; " + (f"did you mean {close[0]!r}?" if close else "see --help"))


def request(source: str = "", *, config: Path | None = None, options: Mapping[str, Any] | None = None) -> Request:
    """Gather what the user asked for and check all that can be checked without the data.

    Args:
        source: What to train on; may be left out where the config file names it.
        config: A config.yaml.
        options: Fields of the run and of its parts that were given by hand.

    Raises:
        UsageError: A name or a value cannot be used.
    """
    from_file = read_config(config) if config else {}
    run_fields = {f.name for f in dataclasses.fields(Run)}
    given = dict(options or {})
    by_hand = {name: given.pop(name) for name in list(given) if name in run_fields}
    parts = kept_of(from_file, by_hand)
    run_values = {**parts.pop("run", {}), **by_hand, **({"source": source} if source else {})}
    if not run_values.get("source"):
        raise UsageError("nothing to train on was named; give a data set, a folder or a manifest: plusx train digits")
    for name, part in (("model", "architecture"), ("recipe", "recipe")):
        if not run_values.get(name):
            run_values[name] = parts.get(part, {}).get("name", "")
    asked = Request(run=Run(**coerced_fields(Run, "run", run_values)), config=parts, options=given)
    for part in PARTS:
        asked.changes(part)
    named = RECIPES.get(asked.run.recipe_or(""), Recipe())
    dataclasses.replace(named, **asked.changes("recipe"))
    return asked


def resolve(
    asked: Request,
    data: DataFacts,
    statistics: tuple[tuple[float, ...], tuple[float, ...]],
    weights: Weights | None = None,
) -> Plan:
    """Decide everything: defaults from the data < weights < recipe < config file < options.

    Args:
        asked: What the user asked for.
        data: What the survey says of the data.
        statistics: Mean and deviation a channel of the training images, in 0..1.
        weights: What training starts from, if anything.

    Raises:
        UsageError: A value cannot be used with this data or these weights.
    """
    own = architecture_for(weights, asked.run.model, asked.changes("architecture"))
    chosen = own or ARCHITECTURES.get(asked.run.model)
    defaults = defaults_for(data, chosen)
    named = RECIPES[asked.run.recipe_or(defaults.recipe)]
    recipe = dataclasses.replace(
        named, **{name: value for name, value in defaults.training.items() if name in named.from_data}
    )
    recipe = dataclasses.replace(recipe, **{**asked.changes("recipe"), "name": named.name})
    by_hand = asked.changes("input")
    look: dict[str, Any] = {
        "mean": statistics[0],
        "deviation": statistics[1],
        **defaults.input,
        **look_of(weights, by_hand.get("channels", data.channels)),
        **recipe.input,
        **by_hand,
    }
    architecture = _architecture(chosen or ARCHITECTURES[defaults.model], look["channels"], recipe, asked)
    frozen_parts(recipe.freeze, len(architecture.depths))
    task: dict[str, Any] = {**recipe.task, **asked.changes("task"), "classes": data.classes}
    run = dataclasses.replace(asked.run, model=architecture.name, recipe=recipe.name)
    return Plan(
        run=run,
        architecture=architecture,
        input=ImageInput(**coerced("input", look)),
        task=Classification(**task),
        recipe=recipe,
    )


def read_config(path: Path) -> dict[str, dict[str, Any]]:
    """Read a config.yaml: a map of parts, each a map of fields, all of which may be left out.

    Raises:
        UsageError: There is no such file, it is not YAML, or it names a part or field that does not exist.
    """
    if not path.is_file():
        raise UsageError(
            f"the config file {str(path)!r} does not exist; a run's folder holds one: runs/NAME/config.yaml"
        )
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"the config file {str(path)!r} is not YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise UsageError(f"the config file {str(path)!r} cannot be read: {error.strerror or error}") from error
    kinds = {"run": Run, **PARTS}
    if not isinstance(content, dict) or not all(isinstance(part, dict) for part in content.values()):
        raise UsageError(f"the config file {str(path)!r} must hold the parts {', '.join(kinds)}, each with its fields")
    for part, fields in content.items():
        names = {f.name: f for f in dataclasses.fields(look_up("part of a config file", str(part), kinds))}
        for name in fields:
            look_up(f"field of {part!r} in {str(path)!r}", str(name), names)
    return content


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


def _architecture(named: Architecture, channels: int, recipe: Recipe, asked: Request) -> Architecture:
    changes = {**recipe.architecture, **asked.changes("architecture")}
    return dataclasses.replace(
        named, **coerced("architecture", {**changes, "channels_in": channels, "name": named.name})
    )


def _plain(value: Any) -> Any:  # noqa: ANN401 - any field's value
    """Tuples as lists and maps as dicts, for YAML and JSON."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
