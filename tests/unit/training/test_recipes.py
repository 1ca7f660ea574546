import dataclasses

import pytest
import tiny
import torch

from plusx.data.batches import Batches
from plusx.defaults import DataFacts
from plusx.experiment import network_of
from plusx.network.architectures import ARCHITECTURES
from plusx.request import request, resolve
from plusx.training.loop import train
from plusx.training.optimization import learning_rate
from plusx.training.progress import Progress
from plusx.training.recipes import RECIPES, rate_for
from plusx.training.sizes import side

BARS = DataFacts(16, 1, 12, 12, one_size=True, classes=tiny.CLASSES)
CIFAR = DataFacts(45_000, 3, 32, 32, one_size=True, classes=tuple("abcdefghij"))
PHOTOS = DataFacts(1_281_167, 3, 375, 500, one_size=False, classes=tuple("abcdefghij"))
STEPS = 352  # an epoch of 45,000 images in batches of 128


def plan_for(facts, **options):
    asked = request("bars", options=options)
    return resolve(asked, facts, ((0.4,) * facts.channels, (0.3,) * facts.channels))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_a_step(name):
    plan = plan_for(BARS, recipe=name, model="resnet20", epochs=1, batch_size=8)
    samples = [dataclasses.replace(one, source=tiny.pixels(one.target, 1, 12)) for one in tiny.samples(16)]
    batches = Batches(
        samples, plan.input, batch_size=8, collate=plan.task.collate, training=True, repeats=plan.recipe.repeats,
        sizes=lambda epoch: side(plan.recipe, epoch, 12, 12),
    )  # fmt: skip
    network = network_of(plan)
    progress = Progress(network, plan.recipe)
    before = [one.clone() for one in network.parameters()]
    walk = train(network, plan.task, batches, plan.recipe, progress)
    next(walk)
    next(walk)
    assert progress.samples == 0
    assert progress.history[0]["train_loss"] > 0
    assert any(not torch.equal(one, old) for one, old in zip(network.parameters(), before, strict=True))
    assert not progress.incidents


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_the_name_under_which_it_is_found_and_a_model_that_there_is(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    assert recipe.model in {"", *ARCHITECTURES}
    assert plan_for(PHOTOS if name.startswith(("rsb", "torchvision")) else CIFAR, recipe=name).recipe.name == name


def test_the_papers_recipe_is_the_papers():
    """Rate 0.1, a tenth of it from step 32,000 on and again from 48,000, and the end at 64,000."""
    plan = plan_for(CIFAR, recipe="paper", model="resnet20")
    recipe = plan.recipe
    rates = {step: learning_rate(recipe, step, STEPS) for step in (0, 399, 31_999, 32_000, 47_999, 48_000, 63_999)}
    expected = [0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    assert list(rates.values()) == pytest.approx(expected)
    assert recipe.epochs * STEPS > recipe.steps == 64_000 > (recipe.epochs - 1) * STEPS
    assert (recipe.batch_size, recipe.momentum, recipe.nesterov, recipe.weight_decay) == (128, 0.9, False, 1e-4)
    assert recipe.decay_norm_and_bias
    assert (plan.input.flip, plan.input.pad_and_crop) == (True, 4)
    assert (plan.architecture.shortcut, plan.architecture.initial_weights) == ("zero_pad", "he")
    assert plan.task.label_smoothing == 0


@pytest.mark.parametrize(("model", "warm"), [("resnet56", False), ("resnet110", True), ("resnet1202", True)])
def test_the_papers_deep_networks_begin_with_400_steps_at_a_tenth_of_the_rate(model, warm):
    recipe = plan_for(CIFAR, recipe="paper", model=model).recipe
    assert learning_rate(recipe, 0, STEPS) == learning_rate(recipe, 399, STEPS) == (0.01 if warm else 0.1)
    assert learning_rate(recipe, 400, STEPS) == 0.1


def test_a_warm_up_by_hand_is_for_any_network():
    recipe = plan_for(CIFAR, recipe="paper", model="resnet20", warmup_epochs=2).recipe
    assert [learning_rate(recipe, step, STEPS) for step in (0, 703, 704)] == [0.01, 0.01, 0.1]


def test_epochs_by_hand_shorten_the_papers_recipe():
    recipe = plan_for(CIFAR, recipe="paper", model="resnet20", epochs=4).recipe
    assert [learning_rate(recipe, step * STEPS, STEPS) for step in (1, 2, 3)] == pytest.approx([0.1, 0.01, 0.001])


def test_photos_of_224_pixels_are_trained_on_fewer_where_the_recipe_says_so():
    for name, pixels in (("torchvision-v2", 176), ("rsb-a3", 160), ("rsb-a1", 224)):
        plan = plan_for(PHOTOS, recipe=name, model="resnet50")
        assert plan.input.height == 224
        assert side(plan.recipe, 0, 224, 224) == (pixels, pixels)


def test_the_learning_rate_follows_the_batch_or_its_square_root():
    assert rate_for(RECIPES["torchvision-v2"], 128) == pytest.approx(0.5 / 8)
    assert rate_for(RECIPES["rsb-a1"], 128) == pytest.approx(5e-3 / 4)


def test_what_a_recipe_says_of_networks_is_put_into_them():
    plan = plan_for(CIFAR, recipe="fast")
    assert (plan.architecture.name, plan.architecture.initial_weights) == ("resnet8", "dirac")
    assert plan.architecture.output_scale == pytest.approx(1 / 9)
    assert plan.input.views == "shift"
