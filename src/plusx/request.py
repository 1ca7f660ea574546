"""What the user asks for, and how it becomes a plan.

`resolve` merges *defaults from the data < weights < recipe < --config file < options*, field by field, once.
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
from plusx.network.architecture import Architecture
from plusx.network.architectures import ARCHITECTURES
from plusx.plan import NOT_OPTIONS, PARTS, Plan, Run, coerced
from plusx.start import architecture_for, kept_of, look_of
from plusx.tasks.classification import Classification
from plusx.training.freezing import frozen_parts
from plusx.training.recipe import Recipe
from plusx.training.recipes import RECIPES
from plusx.weights.trained import Weights


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
    made_for = RECIPES[asked.run.recipe].model if asked.run.recipe else ""
    chosen = own or ARCHITECTURES.get(asked.run.model or made_for)
    defaults = defaults_for(data, chosen)
    named = RECIPES[asked.run.recipe_or(defaults.recipe)]
    recipe = dataclasses.replace(
        named, **{name: value for name, value in defaults.training.items() if name in named.from_data}
    )
    own_values, by_hand = asked.changes("recipe"), asked.changes("input")
    if sum((chosen or ARCHITECTURES[defaults.model]).depths) < own_values.get("warmup_blocks", recipe.warmup_blocks):
        recipe = dataclasses.replace(recipe, warmup_epochs=0.0)
    recipe = dataclasses.replace(recipe, **{**own_values, "name": named.name})
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
    if recipe.frozen_scales and architecture.zero_init_residual and weights is None:
        raise UsageError("with zero_init_residual and frozen_scales no branch would ever learn; leave one of them out")
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


def _architecture(named: Architecture, channels: int, recipe: Recipe, asked: Request) -> Architecture:
    changes = {**recipe.architecture, **asked.changes("architecture")}
    return dataclasses.replace(
        named, **coerced("architecture", {**changes, "channels_in": channels, "name": named.name})
    )
