import dataclasses
import math

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from plusx.errors import PlusxError, UsageError
from plusx.training.averaging import WeightAverage
from plusx.training.loop import train
from plusx.training.optimization import learning_rate, optimizer_for, parameter_groups
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe

STEPS = 10  # an epoch; ten epochs make 100 steps


def rates(**changes):
    recipe = Recipe(**{"epochs": 10, "learning_rate": 0.4} | changes)
    return [learning_rate(recipe, step, STEPS) for step in range(recipe.epochs * STEPS + 1)]


def test_constant_never_changes():
    assert set(rates(schedule="constant")) == {0.4}


def test_cosine_begins_high_is_halfway_in_the_middle_and_ends_at_the_minimum():
    found = rates(schedule="cosine", minimum_learning_rate=0.02)
    assert found[0] == 0.4
    assert found[50] == pytest.approx((0.4 + 0.02) / 2)
    assert found[25] == pytest.approx(0.02 + 0.38 * (1 + math.cos(math.pi / 4)) / 2)
    assert found[100] == pytest.approx(0.02)
    assert found == sorted(found, reverse=True)


def test_step_multiplies_at_each_milestone_and_not_one_step_earlier():
    found = rates(schedule="step", milestones=(0.5, 0.75), factor=0.1)
    assert found[0] == found[49] == 0.4
    assert found[50] == found[74] == pytest.approx(0.04)
    assert found[75] == found[99] == pytest.approx(0.004)


def test_step_stays_above_the_minimum():
    assert min(rates(schedule="step", factor=0.1, minimum_learning_rate=0.01)) == 0.01


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_a_warm_up_never_takes_more_than_half_of_the_training(schedule):
    found = rates(schedule=schedule, warmup_epochs=30)
    assert found[:50] == sorted(found[:50])
    assert found[50] == 0.4 == max(found)
    assert found[100] == pytest.approx(0)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step", "plateau"])
def test_warm_up_rises_in_equal_steps_to_the_full_rate(schedule):
    found = rates(schedule=schedule, warmup_epochs=0.4)
    assert found[:5] == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4])
    assert max(found) == 0.4


def test_a_warm_up_of_a_part_of_a_step_never_exceeds_the_rate():
    found = rates(schedule="cosine", warmup_epochs=0.25)
    assert found[:3] == pytest.approx([0.4 / 3, 0.8 / 3, 0.4])
    assert max(found) <= 0.4


def test_one_cycle_rises_for_a_quarter_then_falls_in_a_line_to_the_minimum():
    found = rates(schedule="one_cycle", minimum_learning_rate=0.04)
    assert 0.4 / 25 < found[0] < 0.4 / 25 + 0.4 / 25
    assert found[25] == 0.4 == max(found)
    rise, fall = np.diff(found)[:25], -np.diff(found)[25:]
    assert rise == pytest.approx(np.full(25, 0.4 * 24 / 25 / 26))
    assert fall == pytest.approx(np.full(75, 0.36 / 75))
    assert found[100] == pytest.approx(0.04)


def test_one_cycle_rises_as_long_as_the_named_warm_up():
    found = rates(schedule="one_cycle", warmup_epochs=4)
    assert found.index(max(found)) == 40


def test_plateau_multiplies_by_what_the_run_remembers_and_stops_at_the_minimum():
    recipe = Recipe(schedule="plateau", learning_rate=0.4, minimum_learning_rate=0.01)
    assert learning_rate(recipe, 57, STEPS, 1.0) == 0.4
    assert learning_rate(recipe, 57, STEPS, 0.1) == pytest.approx(0.04)
    assert learning_rate(recipe, 57, STEPS, 0.001) == 0.01


def test_weight_decay_spares_norms_and_biases():
    made = tiny.network()
    decayed, spared = parameter_groups(made, Recipe(weight_decay=0.01))
    kinds = {id(parameter): module for module in made.modules() for parameter in module.parameters(recurse=False)}
    assert decayed["weight_decay"] == 0.01
    assert spared["weight_decay"] == 0.0
    assert {type(kinds[id(one)]) for one in decayed["params"]} == {nn.Conv2d, nn.Linear}
    assert {id(made.head.linear.bias)} < {id(one) for one in spared["params"]}
    assert all(isinstance(kinds[id(one)], nn.BatchNorm2d) or one is made.head.linear.bias for one in spared["params"])
    assert len(decayed["params"]) + len(spared["params"]) == len(list(made.parameters()))


def test_the_first_papers_recipe_decays_everything():
    (group,) = parameter_groups(tiny.network(), Recipe(decay_norm_and_bias=True, weight_decay=1e-4))
    assert group["weight_decay"] == 1e-4
    assert len(group["params"]) == len(list(tiny.network().parameters()))


def test_frozen_parameters_are_in_no_group():
    made = tiny.network()
    made.backbone.requires_grad_(requires_grad=False)
    assert sum(len(group["params"]) for group in parameter_groups(made, Recipe())) == 2


def steps_of(recipe, gradients):
    """Where one weight goes from 1 under given gradients."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.ones_(module.weight)
    optimizer = optimizer_for(module, recipe)
    for gradient in gradients:
        module.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
    return module.weight.item()


def test_sgd_is_nesterovs_with_decay_in_the_gradient():
    recipe = Recipe(learning_rate=0.1, momentum=0.9, weight_decay=0.01)
    weight, velocity = 1.0, 0.0
    for gradient in (0.5, -0.2):
        total = gradient + 0.01 * weight
        velocity = 0.9 * velocity + total
        weight -= 0.1 * (total + 0.9 * velocity)
    assert steps_of(recipe, (0.5, -0.2)) == pytest.approx(weight)


def test_sgd_without_nesterov_is_plain_momentum():
    recipe = Recipe(learning_rate=0.1, momentum=0.9, weight_decay=0.0, nesterov=False)
    assert steps_of(recipe, (0.5, -0.2)) == pytest.approx(1 - 0.1 * 0.5 - 0.1 * (0.45 - 0.2))


def test_sgd_without_momentum_asks_for_no_nesterov():
    assert steps_of(Recipe(momentum=0.0, weight_decay=0.0, learning_rate=0.1), (0.5,)) == pytest.approx(0.95)


def test_adamw_decays_apart_from_the_gradient_and_adam_within_it():
    changes = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.5}
    # The first step of Adam is the rate times the gradient's sign, however large the gradient is.
    assert steps_of(Recipe(optimizer="adam", **changes), (3.0,)) == pytest.approx(1 - 0.1)
    assert steps_of(Recipe(optimizer="adamw", **changes), (3.0,)) == pytest.approx(1 - 0.1 * 0.5 - 0.1)


def test_adams_first_beta_is_the_momentum():
    recipe = Recipe(optimizer="adam", learning_rate=0.1, momentum=0.5, weight_decay=0.0)
    mean = (0.5 * 0.5 * 1.0 + 0.5 * -2.0) / (1 - 0.5**2)
    square = (0.999 * 0.001 * 1.0 + 0.001 * 4.0) / (1 - 0.999**2)
    expected = 1 - 0.1 - 0.1 * mean / math.sqrt(square)
    assert steps_of(recipe, (1.0, -2.0)) == pytest.approx(expected, rel=1e-5)


def test_the_average_follows_its_formula():
    network = nn.BatchNorm1d(1)
    average = WeightAverage(network, decay=0.5)
    expected = 1.0
    for step, value in enumerate((2.0, 4.0, -1.0), start=1):
        nn.init.constant_(network.weight, value)
        network.running_mean.fill_(value)
        network.num_batches_tracked.fill_(step * 7)
        average.update(network, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert average.network.weight.item() == pytest.approx(expected)
        assert average.network.num_batches_tracked.item() == step * 7
    assert average.network.running_mean.item() == pytest.approx(expected - (2 / 11) * (3 / 12) * (4 / 13), abs=1e-6)


def test_the_average_reaches_its_full_decay():
    network = nn.Linear(1, 1)
    average = WeightAverage(network, decay=0.9)
    nn.init.zeros_(average.network.weight)
    nn.init.ones_(network.weight)
    average.update(network, 100_000)
    assert average.network.weight.item() == pytest.approx(0.1)


def test_the_average_is_another_network_without_gradients():
    network = tiny.network()
    average = WeightAverage(network, 0.9)
    assert not any(one.requires_grad for one in average.network.parameters())
    assert all(one.requires_grad for one in network.parameters())
    assert not {one.data_ptr() for one in network.parameters()} & {
        one.data_ptr() for one in average.network.parameters()
    }


def test_every_field_of_a_recipe_is_checked():
    for changes, words in [
        ({"epochs": 0}, "epochs is 0, but must be a whole number of at least 1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"momentum": 1.0}, "below 1"),
        ({"average_decay": -0.1}, "average_decay"),
        ({"factor": 1.0}, "factor"),
        ({"weight_decay": -1e-4}, "weight_decay"),
        ({"gradient_clip": -1.0}, "gradient_clip"),
        ({"patience": -1}, "patience"),
        ({"early_stopping": -1}, "early_stopping"),
        ({"warmup_epochs": -1.0}, "warmup_epochs"),
        ({"milestones": (0.75, 0.5)}, "rising"),
        ({"milestones": (0.5, 1.0)}, "between 0 and 1"),
        ({"minimum_learning_rate": 1.0}, "between 0 and learning_rate"),
        ({"optimizer": "adamv"}, "did you mean 'adam"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
    ]:
        with pytest.raises(Exception, match=words) as caught:
            Recipe(**changes)
        assert caught.value.exit_code == 2, changes


def test_a_recipe_changes_in_one_field_only():
    before = Recipe(epochs=7, schedule="step")
    after = dataclasses.replace(before, learning_rate=0.3)
    different = {
        field.name for field in dataclasses.fields(Recipe) if getattr(before, field.name) != getattr(after, field.name)
    }
    assert different == {"learning_rate"}


def norm_biases(network):
    return {id(one.bias) for one in network.modules() if isinstance(one, nn.BatchNorm2d)}


@pytest.mark.parametrize("decays", [False, True])
def test_the_norms_biases_have_a_rate_of_their_own_and_as_much_less_decay(decays):
    made = tiny.network()
    groups = parameter_groups(made, Recipe(weight_decay=0.02, bias_rate=64.0, decay_norm_and_bias=decays))
    quick = [group for group in groups if group["factor"] != 1]
    assert [group["factor"] for group in quick] == [64.0]
    assert {id(one) for group in quick for one in group["params"]} == norm_biases(made)
    assert quick[0]["weight_decay"] == pytest.approx(0.02 / 64 if decays else 0.0)
    assert sum(len(group["params"]) for group in groups) == len(list(made.parameters()))


def test_with_rates_from_stage_to_stage_the_norms_biases_multiply_them():
    made = tiny.network()
    groups = parameter_groups(made, Recipe(bias_rate=8.0, rate_decay=0.5))
    factors = {id(one): group["factor"] for group in groups for one in group["params"]}
    assert factors[id(made.backbone.stem.norm.bias)] == 8 * 0.5**3
    assert factors[id(made.backbone.stem.norm.weight)] == 0.5**3
    assert factors[id(made.head.linear.bias)] == 1


def test_a_step_moves_the_norms_biases_so_many_times_farther():
    moved = {}
    for rate in (1.0, 16.0):
        made = tiny.network()
        recipe = Recipe(bias_rate=rate, learning_rate=0.01, momentum=0.0, weight_decay=0.0, schedule="constant")
        before = {name: one.detach().clone() for name, one in made.named_parameters()}
        next(train(made, tiny.TASK, tiny.batches(), recipe))
        moved[rate] = {name: before[name] - one.detach() for name, one in made.named_parameters()}
    for name, step in moved[1.0].items():
        times = 16 if ".norm" in name and name.endswith("bias") else 1
        torch.testing.assert_close(moved[16.0][name], times * step, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bias_rate": 0.0}, "bias_rate is 0.0, but must be above 0"),
        ({"lookahead_steps": -1}, "lookahead_steps is -1, but must be 0 or more"),
        ({"mixup": -0.1}, "mixup"),
        ({"cutmix": -0.1}, "cutmix"),
        ({"exact_statistics": -1}, "exact_statistics"),
        ({"repeats": 0}, "repeats is 0, but must be a whole number of at least 1"),
        ({"first_size": 0.0}, "first_size is 0.0, but must be above 0 and at most 1"),
        ({"growing": 1.5}, "growing"),
        ({"steps": -1}, "steps"),
        ({"warmup_rate": -1.0}, "warmup_rate"),
        ({"first_size": 0.9, "last_size": 0.8}, "first_size is 0.9, but must be at most last_size 0.8, or 1"),
        ({"keep": "lats"}, "did you mean 'last'"),
        ({"not_finite": "rolback"}, "did you mean 'rollback'"),
    ],
)
def test_the_ingredients_of_a_recipe_are_checked(changes, words):
    with pytest.raises(UsageError, match=words):
        Recipe(**changes)


def test_a_warm_up_may_be_constant():
    """He et al. 2015, section 4.2: about 400 steps at 0.01, for the network of 110 layers."""
    found = rates(schedule="step", warmup_epochs=0.4, warmup_rate=0.01)
    assert found[:5] == [0.01] * 4 + [0.4]
    assert rates(schedule="step", warmup_epochs=0.0, warmup_rate=0.01)[0] == 0.4


def test_the_most_steps_end_the_schedule():
    found = rates(schedule="step", steps=60, milestones=(0.5, 0.75), factor=0.1)
    assert [found.index(rate) for rate in sorted(set(found), reverse=True)] == [0, 30, 45]
    assert rates(schedule="step", steps=1000) == rates(schedule="step")
    assert rates(schedule="cosine", steps=50)[25] == pytest.approx(0.2)


@pytest.mark.parametrize(("steps", "ends"), [(7, [3, 6, 7]), (6, [3, 6]), (2, [2]), (100, [3, 6, 9, 12])])
def test_training_ends_with_the_most_steps_even_within_an_epoch(steps, ends):
    made, recipe = tiny.network(), Recipe(epochs=4, steps=steps, batch_size=4)
    progress = Progress(made, recipe)
    seen = []
    for _ in train(made, tiny.TASK, tiny.batches(), recipe, progress):
        if progress.epoch_ended:
            seen.append(progress.step)
            progress.record({"accuracy": 0.5})
    assert seen == ends == [row["step"] for row in progress.history]
    assert progress.finished
    assert list(train(made, tiny.TASK, tiny.batches(), recipe, progress)) == []


def test_a_last_epoch_cut_short_still_asks_for_its_scores():
    made, recipe = tiny.network(), Recipe(epochs=4, steps=4, batch_size=4, early_stopping=3)
    progress = Progress(made, recipe)
    walk = train(made, tiny.TASK, tiny.batches(), recipe, progress)
    for _ in range(3):
        next(walk)
    progress.record({"accuracy": 0.5})
    assert next(walk).epoch_ended
    with pytest.raises(PlusxError, match="epoch 2 ended without scores"):
        next(walk)
