"""Plans drawn at random: options change their own fields, and config files say the same as options."""

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from plusx.defaults import DataFacts
from plusx.network.architectures import ARCHITECTURES
from plusx.plan import Plan
from plusx.request import part_of, request, resolve
from plusx.training.recipe import KEPT, MONITORS, NOT_FINITE, OPTIMIZERS, SCHEDULES, Recipe
from plusx.training.recipes import RECIPES

share = st.floats(0.01, 0.99)
RUN = {
    "seed": st.integers(0, 2**64),
    "limit_samples": st.integers(0, 10**6),
    "strict": st.booleans(),
    "validation": st.floats(0.01, 0.4),
    "test": st.floats(0.01, 0.4),
    "save_minutes": st.floats(0.1, 1e4),
}
PARTS = {
    "epochs": st.integers(10, 1000),
    "batch_size": st.integers(2, 4096),
    "optimizer": st.sampled_from(list(OPTIMIZERS)),
    "schedule": st.sampled_from(list(SCHEDULES)),
    "learning_rate": st.floats(0.01, 100),
    "momentum": st.floats(0, 0.999),
    "nesterov": st.booleans(),
    "weight_decay": st.floats(0, 1),
    "warmup_epochs": st.floats(0, 10),
    "milestones": st.lists(share, max_size=4, unique=True).map(lambda found: tuple(sorted(found))),
    "minimum_learning_rate": st.floats(0, 0.001),
    "average_decay": st.floats(0, 0.9999),
    "lookahead_steps": st.integers(0, 50),
    "mixup": st.floats(0, 4),
    "cutmix": st.floats(0, 4),
    "repeats": st.integers(1, 4),
    "first_size": st.floats(0.1, 0.7),
    "keep": st.sampled_from([*KEPT]),
    "not_finite": st.sampled_from([*NOT_FINITE]),
    "freeze": st.sampled_from(["none", "stem", "1", "backbone"]),
    "head_epochs": st.floats(0, 10),
    "rate_decay": st.floats(0.01, 1),
    "frozen_norms": st.booleans(),
    "frozen_scales": st.booleans(),
    "monitor": st.sampled_from([*MONITORS]),
    "height": st.integers(33, 512),
    "width": st.integers(33, 512),
    "flip": st.booleans(),
    "cutout": st.integers(0, 8),
    "crop_scale": st.tuples(st.floats(0.01, 0.5), st.floats(0.5, 1)),
    "policy": st.sampled_from(["none", "randaugment", "trivialaugment"]),
    "label_smoothing": st.floats(0, 0.99),
    "shortcut": st.sampled_from(["zero_pad", "projection", "projection_always"]),
    "norm": st.sampled_from(["batch", "none", "fixup", "skipinit"]),
    "dropout": st.floats(0, 0.99),
    "stochastic_depth": st.floats(0, 0.99),
}
some_options = st.fixed_dictionaries({}, optional={**RUN, **PARTS})
# Line breaks and other controls aside, which YAML has its own opinion of, a class may be called anything.
names = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=8)
data = st.builds(
    DataFacts,
    samples=st.integers(1, 10**6),
    channels=st.sampled_from([1, 3]),
    height=st.integers(8, 5000),
    width=st.integers(8, 5000),
    one_size=st.booleans(),
    classes=st.lists(names, min_size=2, max_size=5, unique=True).map(tuple),
)


def chosen_from(models: list[str]) -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries({}, optional={"model": st.sampled_from(models), "recipe": st.sampled_from([*RECIPES])})


# A network without shortcuts allows neither every norm nor stochastic depth.
any_choice = chosen_from([*ARCHITECTURES]).filter(
    lambda chosen: (
        not (
            RECIPES.get(chosen.get("recipe", ""), Recipe()).architecture.get("stochastic_depth")
            and ARCHITECTURES.get(chosen.get("model", ""), ARCHITECTURES["resnet18"]).shortcut == "none"
        )
    )
)
choice = chosen_from([name for name, one in ARCHITECTURES.items() if one.shortcut != "none"])


def plan_of(facts: DataFacts, options: dict[str, Any], config: dict[str, Any] | None = None) -> Plan:
    statistics = ((0.25,) * facts.channels, (0.125,) * facts.channels)
    if config is None:
        return resolve(request("somewhere", options=options), facts, statistics)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
        return resolve(request("somewhere", config=path, options=options), facts, statistics)


def as_config(options: dict[str, Any]) -> dict[str, Any]:
    """The same wishes as a config file's parts."""
    parts: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        part = "run" if name in RUN or name in ("model", "recipe") else part_of(name)
        parts.setdefault(part, {})[name] = list(value) if isinstance(value, tuple) else value
    return parts


def flat(plan: Plan) -> dict[tuple[str, str], Any]:
    return {(part, name): value for part, fields in plan.to_dict().items() for name, value in fields.items()}


@settings(max_examples=60, deadline=None)
@given(data, choice, some_options)
def test_options_change_their_fields_and_no_others(facts, chosen, options):
    before, after = flat(plan_of(facts, chosen)), flat(plan_of(facts, {**chosen, **options}))
    owners = {("run" if name in RUN else part_of(name), name): value for name, value in options.items()}
    for place, value in after.items():
        wanted = owners.get(place, before[place])
        assert value == (list(wanted) if isinstance(wanted, tuple) else wanted), place


@settings(max_examples=60, deadline=None)
@given(data, choice, some_options)
def test_a_config_file_says_the_same_as_options(facts, chosen, options):
    wishes = {**chosen, **options}
    assert plan_of(facts, {}, as_config(wishes)) == plan_of(facts, wishes)


@settings(max_examples=60, deadline=None)
@given(data, choice, some_options, some_options)
def test_options_win_over_a_config_file(facts, chosen, written, by_hand):
    both = plan_of(facts, by_hand, as_config({**chosen, **written}))
    assert both == plan_of(facts, {**chosen, **written, **by_hand})


@settings(max_examples=60, deadline=None)
@given(data, choice, some_options)
def test_a_plan_comes_back_from_its_config_file(facts, chosen, options):
    plan = plan_of(facts, {**chosen, **options})
    assert plan_of(facts, {}, yaml.safe_load(plan.to_yaml())) == plan
    assert Plan.from_dict(yaml.safe_load(plan.to_yaml())) == plan


@settings(max_examples=100, deadline=None)
@given(data, any_choice)
def test_every_data_set_has_a_plan_that_can_be_trained(facts, chosen):
    plan = plan_of(facts, chosen)
    assert isinstance(plan.recipe, Recipe)
    assert plan.input.channels == plan.architecture.channels_in == facts.channels
    assert plan.task.classes == facts.classes
    assert 1 <= plan.input.height <= 5000
    if "pad_and_crop" not in plan.recipe.input:  # what a recipe states is its own
        assert plan.input.pad_and_crop <= max(1, min(plan.input.height, plan.input.width) / 8 + 0.5)
