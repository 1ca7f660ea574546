import dataclasses
import json
import math
import typing

import pytest
import yaml

from plusx.api import TrainOptions
from plusx.defaults import DataFacts
from plusx.errors import UsageError
from plusx.inputs.image import ImageInput
from plusx.network.architectures import ARCHITECTURES
from plusx.plan import NOT_OPTIONS, PARTS, Plan, Run
from plusx.request import part_of, read_config, request, resolve
from plusx.training.recipes import RECIPES
from plusx.weights.trained import Weights

DIGITS = DataFacts(1437, 1, 8, 8, one_size=True, classes=("0", "1", "猫"))
PHOTOS = DataFacts(900, 3, 300, 400, one_size=False, classes=("no", "yes"))
FACTS = {"digits": DIGITS, "photos": PHOTOS}

# A value for every option, which none of the defaults above has.
VALUES = {
    "model": "resnet32",
    "recipe": "photos",
    "weights": "trained.safetensors",
    "seed": 7,
    "data_root": "elsewhere",
    "download": True,
    "validation": 0.15,
    "test": 0.25,
    "strict": True,
    "limit_samples": 50,
    "overfit_batches": 2,
    "device": "cuda:3",
    "precision": "bfloat16",
    "threads": 3,
    "workers": 5,
    "cache": "decoded",
    "sync_batch_norm": True,
    "save_minutes": 2.5,
    "teacher": "teacher.safetensors",
    "compile": "on",
    "epochs": 23,
    "steps": 4321,
    "batch_size": 17,
    "optimizer": "adamw",
    "learning_rate": 0.033,
    "momentum": 0.8,
    "nesterov": False,
    "weight_decay": 0.007,
    "decay_norm_and_bias": True,
    "schedule": "plateau",
    "warmup_epochs": 1.5,
    "warmup_rate": 0.004,
    "warmup_blocks": 2,
    "milestones": (0.25, 0.5, 0.9),
    "factor": 0.3,
    "patience": 9,
    "minimum_learning_rate": 0.001,
    "gradient_clip": 2.0,
    "early_stopping": 4,
    "average_decay": 0.97,
    "lookahead_steps": 6,
    "lookahead_share": 0.4,
    "lookahead_grows": True,
    "bias_rate": 8.0,
    "mixup": 0.2,
    "cutmix": 0.9,
    "repeats": 3,
    "first_size": 0.6,
    "last_size": 0.9,
    "growing": 0.7,
    "exact_statistics": 12,
    "keep": "last",
    "not_finite": "skip",
    "monitor": "loss",
    "freeze": "2",
    "head_epochs": 1.5,
    "rate_decay": 0.7,
    "frozen_norms": True,
    "frozen_scales": True,
    "image_size": 96,
    "height": 72,
    "width": 80,
    "channels": 4,
    "mean": (0.31,),
    "deviation": (0.17,),
    "fit": "stretch",
    "crop_fraction": 0.9,
    "interpolation": "bicubic",
    "rounded": True,
    "max_pixels": 12345678,
    "views": "shift",
    "flip": True,
    "alternating_flip": True,
    "pad_and_crop": 3,
    "padding_mode": "reflect",
    "random_resized_crop": True,
    "crop_scale": (0.5, 0.75),
    "cutout": 5,
    "policy": "randaugment",
    "policy_magnitude": 13,
    "erase": 0.35,
    "label_smoothing": 0.05,
    "loss": "binary_cross_entropy",
    "binary_threshold": 0.2,
    "teacher_share": 0.6,
    "teacher_temperature": 3.0,
    "shortcut": "projection_always",
    "zero_init_residual": True,
    "norm": "fixup",
    "dropout": 0.15,
    "stochastic_depth": 0.25,
}
PHOTO_VALUES = VALUES | {
    "recipe": "small",
    "mean": (0.1, 0.2, 0.3),
    "deviation": (0.4, 0.5, 0.6),
    "flip": False,
    "random_resized_crop": False,
}
SINGLE = sorted(set(VALUES) - {"model", "recipe", "weights", "image_size", "channels"})


def plan_for(name="digits", *, config=None, **options):
    facts = FACTS[name]
    channels = options.get("channels", facts.channels)
    asked = request("" if config else name, config=config, options=options)
    return resolve(asked, facts, ((0.5,) * channels, (0.2,) * channels))


def flat(plan):
    return {f"{part}.{name}": value for part, fields in plan.to_dict().items() for name, value in fields.items()}


def changed(before, after):
    old, new = flat(before), flat(after)
    assert old.keys() == new.keys()
    return {name: new[name] for name in new if old[name] != new[name]}


def plain(value):
    return json.loads(json.dumps(value))


def write(folder, **parts):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(parts, allow_unicode=True), encoding="utf-8")
    return path


def test_there_is_a_value_here_for_every_option():
    assert set(VALUES) == set(TrainOptions.__annotations__)


def test_the_options_are_the_fields_of_the_parts():
    expected = {one.name: one.type for one in dataclasses.fields(Run) if one.name != "source"} | {"image_size": int}
    for kind in PARTS.values():
        types = typing.get_type_hints(kind)
        expected |= {one.name: types[one.name] for one in dataclasses.fields(kind) if one.name not in NOT_OPTIONS}
    assert typing.get_type_hints(TrainOptions) == expected


def test_no_two_parts_have_an_option_of_one_name():
    names = [
        one.name
        for kind in (Run, *PARTS.values())
        for one in dataclasses.fields(kind)
        if one.name not in NOT_OPTIONS or kind is Run
    ]
    assert sorted(set(names) - {"recipe"}) == sorted(name for name in names if name != "recipe")


@pytest.mark.parametrize("data", FACTS)
@pytest.mark.parametrize("option", SINGLE)
def test_an_option_changes_its_own_field_and_no_other(data, option):
    value = (VALUES if data == "digits" else PHOTO_VALUES)[option]
    part = "run" if option in {one.name for one in dataclasses.fields(Run)} else part_of(option)
    difference = changed(plan_for(data), plan_for(data, **{option: value}))
    assert difference == {f"{part}.{option}": plain(value)}


@pytest.mark.parametrize("data", FACTS)
def test_the_image_size_is_height_and_width(data):
    assert changed(plan_for(data), plan_for(data, image_size=96)) == {"input.height": 96, "input.width": 96}
    assert changed(plan_for(data), plan_for(data, image_size=96, width=80)) == {"input.height": 96, "input.width": 80}


def test_channels_go_to_input_and_network_alike():
    difference = changed(plan_for("photos"), plan_for("photos", channels=1))
    assert difference == {
        "input.channels": 1,
        "input.mean": [0.5],
        "input.deviation": [0.2],
        "architecture.channels_in": 1,
    }


def test_another_model_changes_the_architecture_only():
    difference = changed(plan_for(), plan_for(model="resnet32"))
    assert difference == {
        "run.model": "resnet32",
        "architecture.name": "resnet32",
        "architecture.depths": [5, 5, 5],
        "architecture.published": ARCHITECTURES["resnet32"].published,
    }


def test_another_recipe_brings_its_fields_and_its_maps():
    plan = plan_for(recipe="photos")
    assert plan.run.recipe == plan.recipe.name == "photos"
    assert plan.recipe.epochs == RECIPES["photos"].epochs
    assert plan.input.random_resized_crop
    assert plan.input.crop_scale == (0.25, 1.0)


def test_every_part_takes_defaults_then_recipe_then_config_then_options(tmp_path, monkeypatch):
    """One field of every part, set at each level in turn; the highest level wins."""
    base = plan_for()
    assert (base.recipe.epochs, base.input.pad_and_crop, base.input.cutout) == (42, 1, 0)
    mine = dataclasses.replace(
        RECIPES["small"],
        name="mine",
        from_data=(),
        epochs=3,
        input={"pad_and_crop": 2, "cutout": 2},
        task={"label_smoothing": 0.2},
        architecture={"shortcut": "projection"},
    )
    monkeypatch.setitem(RECIPES, "mine", mine)

    def levels(plan):
        return (
            plan.recipe.epochs,
            plan.input.pad_and_crop,
            plan.task.label_smoothing,
            plan.architecture.shortcut,
            plan.run.seed,
        )

    assert levels(base) == (42, 1, 0.1, "zero_pad", 0)
    assert levels(plan_for(recipe="mine")) == (3, 2, 0.2, "projection", 0)
    config = write(
        tmp_path,
        run={"source": "digits", "recipe": "mine", "seed": 4},
        recipe={"epochs": 4},
        input={"pad_and_crop": 3},
        task={"label_smoothing": 0.3},
        architecture={"shortcut": "C"},
    )
    by_file = plan_for(config=config)
    assert levels(by_file) == (4, 3, 0.3, "projection_always", 4)
    assert by_file.input.cutout == 2
    by_hand = plan_for(
        config=config, epochs=5, pad_and_crop=0, label_smoothing=0.4, shortcut="zero_pad", seed=5, image_size=16
    )
    assert levels(by_hand) == (5, 0, 0.4, "zero_pad", 5)
    assert (by_hand.input.height, by_hand.input.cutout) == (16, 2)


@pytest.mark.parametrize("data", FACTS)
def test_a_config_of_a_plan_gives_the_plan_again(tmp_path, data):
    values = VALUES if data == "digits" else PHOTO_VALUES
    together = {name: values[name] for name in SINGLE if name != "frozen_scales"}  # which zero_init_residual forbids
    for options in ({}, together, {"frozen_scales": True}):
        plan = plan_for(data, **options)
        path = tmp_path / "config.yaml"
        path.write_text(plan.to_yaml(), encoding="utf-8")
        assert plan_for(data, config=path) == plan
        assert Plan.from_dict(read_config(path)) == plan
        assert Plan.from_dict(plain(plan.to_dict())) == plan


def test_a_config_is_meant_for_people(tmp_path):
    text = plan_for().to_yaml()
    assert text.startswith("# plusx train --config FILE trains this again")
    assert "- 猫" in text
    assert "\nrecipe:\n  name: small\n" in text


def test_any_line_of_a_config_may_be_left_out(tmp_path):
    whole = plan_for().to_dict()
    for part, fields in whole.items():
        for name in fields:
            if (part, name) == ("run", "source"):
                continue
            less = {**whole, part: {key: value for key, value in fields.items() if key != name}}
            assert isinstance(plan_for(config=write(tmp_path, **less)), Plan), (part, name)
        if part != "run":
            assert isinstance(plan_for(config=write(tmp_path, **{**whole, part: {}})), Plan)


def test_a_config_may_name_model_and_recipe_in_their_parts(tmp_path):
    parts = {"run": {"source": "digits"}, "architecture": {"name": "resnet32"}, "recipe": {"name": "photos"}}
    plan = plan_for(config=write(tmp_path, **parts))
    assert plan == plan_for(model="resnet32", recipe="photos")


def test_a_model_or_recipe_by_hand_replaces_the_configs_whole_part(tmp_path):
    config = write(tmp_path, **plan_for(shortcut="B", epochs=99, learning_rate=0.9).to_dict())
    plan = plan_for(config=config, model="resnet32")
    assert (plan.architecture.depths, plan.architecture.shortcut) == ((5, 5, 5), "zero_pad")
    assert plan.recipe.epochs == 99
    plan = plan_for(config=config, recipe="photos")
    assert plan.recipe == RECIPES["photos"]
    assert plan.architecture.shortcut == "projection"


def test_classes_are_those_of_the_data_whatever_a_config_says(tmp_path):
    plan = plan_for(config=write(tmp_path, run={"source": "x"}, task={"classes": ["a", "b"]}))
    assert plan.task.classes == DIGITS.classes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epoch": 3}, r"no option is called 'epoch'; did you mean 'epochs'\?"),
        ({"learning-rate": 3}, r"no option is called 'learning-rate'; did you mean 'learning_rate'\?"),
        ({"sede": 3}, r"did you mean 'seed'\?"),
        ({"imagesize": 3}, r"did you mean 'image_size'\?"),
        ({"qqq": 3}, r"no option is called 'qqq'; see --help"),
        ({"paper": "x"}, r"no option is called 'paper'"),
        ({"classes": ("a", "b")}, r"no option is called 'classes'"),
        ({"model": "resnet21"}, r"no model is called 'resnet21'; did you mean .*'resnet20'"),
        ({"recipe": "smal"}, r"no recipe is called 'smal'; did you mean 'small'"),
        ({"optimizer": "sdg"}, r"no optimizer is called 'sdg'; did you mean 'sgd'"),
        ({"schedule": "cosin"}, r"no schedule is called 'cosin'; did you mean 'cosine'"),
        ({"shortcut": "E"}, r"no shortcut is called 'E'"),
        ({"epochs": 0}, r"epochs is 0, but must be a whole number of at least 1"),
        ({"epochs": 2.5}, r"recipe.epochs is 2.5, but must be a whole number"),
        ({"epochs": math.inf}, r"recipe.epochs is inf, but must be a whole number"),
        ({"epochs": True}, r"recipe.epochs is True, but must be a whole number"),
        ({"learning_rate": True}, r"recipe.learning_rate is True, but must be a number"),
        ({"learning_rate": "fast"}, r"recipe.learning_rate is 'fast', but must be a number"),
        ({"nesterov": 1}, r"recipe.nesterov is 1, but must be true or false"),
        ({"nesterov": "false"}, r"recipe.nesterov is 'false', but must be true or false"),
        ({"milestones": 0.5}, r"recipe.milestones is 0.5, but must be a list of values"),
        ({"milestones": (0.5, "late")}, r"recipe.milestones is 'late', but must be a number"),
        ({"crop_scale": (0.5,)}, r"input.crop_scale is \(0.5,\), but must be a list of 2 values"),
        ({"image_size": "big"}, r"input.height is 'big', but must be a whole number"),
        ({"optimizer": 3}, r"recipe.optimizer is 3, but must be a text"),
        ({"batch_size": -1}, r"batch_size is -1"),
        ({"seed": -1}, r"seed is -1, but must be 0 or more"),
        ({"limit_samples": -1}, r"limit_samples is -1"),
        ({"validation": 1.0}, r"validation is 1.0, but must be a share below 1"),
        ({"validation": 0.6, "test": 0.4}, r"leave nothing to train on"),
        ({"save_minutes": 0}, r"save_minutes is 0.0, but must be above 0"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_any_data_is_read(options, words):
    with pytest.raises(UsageError, match=words):
        request("digits", options=options)


def test_no_source_is_one_sentence():
    with pytest.raises(UsageError, match="nothing to train on was named; give a data set"):
        request("")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run: [1, 2", "is not YAML"),
        ("- a\n- b", "must hold the parts run, recipe, input, task, architecture, each with its fields"),
        ("run: digits", "must hold the parts"),
        ("just text", "must hold the parts"),
        ("recipes: {epochs: 3}", "no part of a config file is called 'recipes'; did you mean 'recipe'"),
        ("on: {epochs: 3}", "no part of a config file is called 'True'"),
        ("recipe: {epoch: 3}", "no field of 'recipe' in .* is called 'epoch'; did you mean 'epochs'"),
        ("recipe: {1: 3}", "no field of 'recipe' in .* is called '1'"),
        ("recipe: {epochs: many}", "recipe.epochs is 'many', but must be a whole number"),
        ("recipe: {epochs: 0}", "epochs is 0"),
        ("recipe: {milestones: 0.5}", "recipe.milestones is 0.5, but must be a list"),
        ("recipe: {input: 3}", "recipe.input is 3, but must be a map"),
        ("recipe: {input: {flop: true}}", "no field of 'input' is called 'flop'; did you mean 'flip'"),
        ("recipe: {input: {flip: 3}}", "input.flip is 3, but must be true or false"),
        ("run: {model: resnet21}", "no model is called 'resnet21'"),
        ("run: {seed: null}", "run.seed is None, but must be a whole number"),
        ("architecture: {name: resnet21}", "no model is called 'resnet21'"),
        ("architecture: {shortcut: E}", "no shortcut is called 'E'"),
    ],
)
def test_a_mistake_in_a_config_is_one_sentence(tmp_path, text, words):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        request("digits", config=tmp_path / "config.yaml")
    assert "\n" not in str(caught.value)


def test_a_config_that_is_not_there_or_not_text_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match=r"does not exist; a run's folder holds one: runs/NAME/config.yaml"):
        request("digits", config=tmp_path / "none.yaml")
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not YAML"):
        read_config(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_text("")
    assert read_config(tmp_path / "config.yaml") == {}


def test_a_config_of_yaml_cannot_run_code(tmp_path):
    (tmp_path / "config.yaml").write_text(f"run: !!python/object/apply:os.mkdir ['{tmp_path}/sprung']")
    with pytest.raises(UsageError, match="is not YAML"):
        read_config(tmp_path / "config.yaml")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("option", "given", "meant"),
    [
        ("learning_rate", "1e-3", 1e-3),
        ("learning_rate", 1, 1.0),
        ("epochs", "12", 12),
        ("epochs", "1e1", 10),
        ("epochs", 12.0, 12),
        ("seed", "9007199254740993", 9007199254740993),
        ("milestones", ["0.5", 0.75], (0.5, 0.75)),
        ("shortcut", "c", "projection_always"),
    ],
)
def test_values_get_the_type_of_their_field(option, given, meant):
    plan = plan_for(**{option: given})
    held = plan.run if option == "seed" else getattr(plan, part_of(option))
    found = getattr(held, option)
    assert found == meant
    assert type(found) is type(meant)


def test_a_plan_tells_the_names_that_were_chosen_from_the_data():
    assert (plan_for().run.model, plan_for().run.recipe) == ("resnet20", "small")
    assert (plan_for("photos").run.model, plan_for("photos").run.recipe) == ("resnet18", "photos")


def test_to_dict_is_plain():
    values = plan_for("photos").to_dict()
    assert plain(values) == values
    assert list(values) == ["run", "architecture", "input", "task", "recipe"]


LOOK = ImageInput(40, 48, 3, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), fit="stretch", crop_fraction=0.8)
WEIGHTS = Weights(
    "some.pth", "a state dict", {}, dataclasses.replace(ARCHITECTURES["resnet32"], dropout=0.25), None, LOOK
)


def with_weights(name="photos", config=None, **options):
    asked = request(name, config=config, options={"weights": "some.pth", **options})
    return resolve(asked, FACTS[name], ((0.5,) * FACTS[name].channels,) * 2, WEIGHTS)


def test_weights_bring_their_architecture_preprocessing_and_recipe():
    plan = with_weights()
    assert plan.architecture == WEIGHTS.architecture
    assert (plan.run.model, plan.run.recipe, plan.recipe.name) == ("resnet32", "finetune", "finetune")
    look = plan.input
    assert (look.height, look.width, look.mean, look.deviation) == (40, 48, LOOK.mean, LOOK.deviation)
    assert (look.fit, look.crop_fraction) == ("stretch", 0.8)
    assert look.random_resized_crop


def test_recipe_config_and_options_win_over_weights(tmp_path, monkeypatch):
    recipe = dataclasses.replace(RECIPES["finetune"], input={"crop_fraction": 0.7, "fit": "crop", "height": 33})
    monkeypatch.setitem(RECIPES, "finetune", recipe)
    plan = with_weights(config=write(tmp_path, input={"fit": "stretch", "height": 35}), height=37)
    assert (plan.input.crop_fraction, plan.input.fit, plan.input.height, plan.input.width) == (0.7, "stretch", 37, 48)


def test_another_recipe_may_be_named_with_weights():
    assert with_weights(recipe="photos").recipe == plan_for("photos", recipe="photos").recipe


def test_weights_of_color_images_are_given_gray_ones():
    plan = with_weights("digits")
    assert plan.architecture.channels_in == plan.input.channels == 1
    assert plan.input.mean == pytest.approx((0.2,))


def test_a_network_cannot_be_frozen_beyond_its_stages():
    with pytest.raises(
        UsageError, match=r"expected none, stem, backbone, or a number of stages \(they and the stem\) from 1 to 3"
    ):
        with_weights(freeze="4")


def test_a_config_with_other_weights_takes_their_network_and_look(tmp_path):
    old = plan_for("photos", model="resnet20", mean=(0.9, 0.9, 0.9), image_size=96, dropout=0.5, cutout=3)
    plan = with_weights(config=write(tmp_path, **old.to_dict()))
    assert plan.architecture == WEIGHTS.architecture
    assert (plan.input.mean, plan.input.height) == (LOOK.mean, LOOK.height)
    assert (plan.input.cutout, plan.recipe) == (3, old.recipe)


def test_a_recipe_by_hand_undoes_what_the_configs_recipe_set_in_the_input(tmp_path):
    config = write(tmp_path, **plan_for("photos", recipe="tutorial").to_dict())
    assert plan_for("photos", config=config, recipe="photos").input.random_resized_crop
    assert not plan_for("photos", config=config).input.random_resized_crop


def test_another_norm_than_that_of_the_weights_is_refused():
    with pytest.raises(UsageError, match="are of resnet32 with norm batch, but norm none was asked for; leave --norm"):
        with_weights(norm="none")
    assert with_weights(dropout=0.75).architecture.dropout == 0.75
