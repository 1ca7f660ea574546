import copy

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from plusx.device import Device
from plusx.errors import PlusxError
from plusx.evaluation.inference import predict
from plusx.events import result_of
from plusx.training.exact_statistics import average_statistics
from plusx.training.loop import train
from plusx.training.optimization import learning_rate
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe
from plusx.training.step import Diverged


def run(network, recipe, batches=None, *, scores=None, body=lambda progress: None):
    """Train to the end, hand in one score after the other, and return the progress."""
    progress = Progress(network, recipe)
    for _ in train(network, tiny.TASK, batches or tiny.batches(), recipe, progress):
        body(progress)
        if progress.epoch_ended and scores:
            progress.record({"accuracy": scores[progress.epoch - 1]})
    return progress


def weights(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same_bits(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("average_decay", [0.0, 0.9])
def test_a_few_dozen_samples_are_learned_by_heart(average_decay):
    batches = tiny.batches(36, batch_size=12)
    recipe = Recipe(epochs=25, learning_rate=0.1, schedule="one_cycle", average_decay=average_decay)
    progress = run(tiny.network(), recipe, batches)
    held = tiny.batches(36, batch_size=36, training=False)
    predictions = result_of(predict(progress.scored_network, tiny.TASK, held, Device()))
    assert predictions.predicted.tolist() == predictions.targets.tolist()
    assert predictions.confidences.min() > 0.8
    assert progress.history[-1]["train_loss"] < progress.history[0]["train_loss"] / 4
    assert progress.history[-1]["train_accuracy"] == 1.0


def test_it_yields_after_every_step_and_says_where_it_is():
    seen = []
    recipe = Recipe(epochs=2)
    progress = run(
        tiny.network(),
        recipe,
        body=lambda now: seen.append((now.epoch, now.step_in_epoch, now.step, now.epoch_ended)),
    )
    assert seen == [
        (0, 1, 1, False),
        (0, 2, 2, False),
        (1, 0, 3, True),
        (1, 1, 4, False),
        (1, 2, 5, False),
        (2, 0, 6, True),
    ]
    assert progress.finished


def test_the_history_holds_means_over_the_samples_and_the_last_rate():
    recipe = Recipe(epochs=1, schedule="step", learning_rate=1e-9, momentum=0.0, weight_decay=0.0)
    network = tiny.network()
    losses, counts, right = [], [], 0
    probe = copy.deepcopy(network).train()
    batches = tiny.batches(11, batch_size=4)
    for batch in batches.epoch(0):
        outputs = probe(batch.images)
        losses.append(nn.functional.cross_entropy(outputs, batch.targets).item())
        counts.append(len(batch.targets))
        right += (outputs.argmax(1) == batch.targets).sum().item()
    assert counts == [4, 4, 3]
    (row,) = run(network, recipe, batches).history
    assert row["train_loss"] == pytest.approx(np.average(losses, weights=counts), rel=1e-5)
    assert row["train_accuracy"] == pytest.approx(right / 11)
    assert row["learning_rate"] == pytest.approx(1e-10)
    assert (row["epoch"], row["step"]) == (1, 3)


def test_each_step_uses_the_rate_of_its_schedule():
    recipe = Recipe(epochs=2, schedule="one_cycle")
    used = []
    run(tiny.network(), recipe, body=lambda now: used.append({group["lr"] for group in now.optimizer.param_groups}))
    assert used == [{learning_rate(recipe, step, 3)} for step in range(6)]


def test_the_callers_draws_do_not_change_the_run_nor_the_run_the_callers():
    recipe = Recipe(epochs=2, average_decay=0.9)
    quiet = run(tiny.network(dropout=0.5), recipe)
    drawn = []

    def busy(progress):
        drawn.append(torch.rand(2))
        np.random.default_rng().normal()
        progress.network.eval()

    torch.manual_seed(77)
    network = tiny.network(dropout=0.5)
    progress = Progress(network, recipe)
    torch.manual_seed(99)
    for _ in train(network, tiny.TASK, tiny.batches(), recipe, progress):
        busy(progress)
    assert same_bits(weights(quiet.network), weights(network))
    assert same_bits(weights(quiet.scored_network), weights(progress.scored_network))
    torch.manual_seed(99)
    assert torch.equal(torch.stack(drawn), torch.stack([torch.rand(2) for _ in drawn]))


def test_dropout_differs_from_step_to_step():
    """Guards the guard: a random state that is put back but never moved on would pass the test above."""
    masks = []
    network = tiny.network(dropout=0.5)
    network.head.linear[0].register_forward_hook(lambda module, given, out: masks.append(out == 0))
    run(network, Recipe(epochs=1))
    assert not torch.equal(masks[0], masks[1])


def gradient_norms(recipe, monkeypatch):
    """The norm of all gradients as the optimizer sees them, step by step."""
    norms = []
    network = tiny.network()
    progress = Progress(network, recipe)
    real = progress.optimizer.step

    def step():
        norms.append(torch.stack([one.grad.norm() for one in network.parameters()]).norm().item())
        return real()

    monkeypatch.setattr(progress.optimizer, "step", step)
    for _ in train(network, tiny.TASK, tiny.batches(), recipe, progress):
        pass
    return norms


def test_gradients_are_clipped_to_the_norm_of_all_together(monkeypatch):
    free = gradient_norms(Recipe(epochs=1), monkeypatch)
    assert min(free) > 0.05
    clipped = gradient_norms(Recipe(epochs=1, gradient_clip=0.05), monkeypatch)
    assert clipped == pytest.approx([0.05] * 3, rel=1e-3)
    loose = gradient_norms(Recipe(epochs=1, gradient_clip=1e6), monkeypatch)
    assert loose == free


def test_the_average_is_updated_after_every_step_of_the_whole_run():
    recipe = Recipe(epochs=4, learning_rate=0.05, average_decay=0.99)
    network = tiny.network()
    average = network.head.linear.weight.detach().clone()

    def follow(progress):
        decay = min(0.99, (1 + progress.step) / (10 + progress.step))
        average.mul_(decay).add_(progress.network.head.linear.weight.detach(), alpha=1 - decay)

    progress = run(network, recipe, body=follow)
    torch.testing.assert_close(progress.scored_network.head.linear.weight, average)
    assert not torch.allclose(average, network.head.linear.weight, atol=1e-3)


def test_early_stopping_ends_after_as_many_epochs_without_a_better_score():
    scores = [0.5, 0.6, 0.6, 0.55, 0.9, 0.9]
    progress = run(tiny.network(), Recipe(epochs=6, early_stopping=2), scores=scores)
    assert progress.epoch == 4
    assert progress.best_epoch == 2
    assert progress.finished
    assert run(tiny.network(), Recipe(epochs=6, early_stopping=3), scores=scores).epoch == 6


def test_plateau_lowers_the_rate_when_more_than_patience_epochs_brought_nothing():
    recipe = Recipe(epochs=7, schedule="plateau", patience=1, factor=0.5, learning_rate=0.08)
    progress = run(tiny.network(), recipe, scores=[0.5, 0.5, 0.4, 0.4, 0.3, 0.9, 0.9])
    used = [row["learning_rate"] for row in progress.history]
    assert used == pytest.approx([0.08, 0.08, 0.08, 0.04, 0.04, 0.02, 0.02])


@pytest.mark.parametrize("changes", [{"schedule": "plateau"}, {"early_stopping": 3}])
def test_an_epoch_without_scores_is_an_error_where_the_recipe_needs_them(changes):
    with pytest.raises(PlusxError, match=r"epoch 1 ended without scores, but .* call progress.record"):
        run(tiny.network(), Recipe(epochs=2, **changes))


def test_an_epoch_without_scores_is_fine_elsewhere():
    assert run(tiny.network(), Recipe(epochs=2, schedule="cosine")).epoch == 2


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_loss_that_is_not_finite_leaves_the_weights_as_they_were(clip):
    network = tiny.network()
    recipe = Recipe(epochs=2, gradient_clip=clip)
    batches = tiny.batches()
    progress = Progress(network, recipe)
    steps = train(network, tiny.TASK, batches, recipe, progress)
    next(steps)
    before = {name: one.detach().clone() for name, one in network.named_parameters()}
    network.head.linear.register_forward_hook(lambda module, given, out: out * float("nan"))
    words = r"the loss became nan and the gradients' norm nan in step 2 \(epoch 1\) at learning rate"
    with pytest.raises(Diverged, match=words):
        next(steps)
    assert same_bits(before, dict(network.named_parameters()))
    assert progress.step == 1
    assert all(one.grad is None for one in network.parameters())


def test_gradients_that_are_not_finite_are_an_error_when_they_are_clipped():
    network = tiny.network()
    network.head.linear.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(Diverged):
        run(network, Recipe(epochs=1, gradient_clip=1.0))


def test_the_network_trains_whatever_mode_the_caller_left_it_in():
    network = tiny.network()
    before = network.backbone.stem.state_dict()
    before = {name: tensor.clone() for name, tensor in before.items()}
    run(network.eval(), Recipe(epochs=1), body=lambda progress: progress.network.eval())
    after = network.backbone.stem.state_dict()
    tracked = next(name for name in after if name.endswith("num_batches_tracked"))
    assert after[tracked] - before[tracked] == 3


def test_batches_of_one_are_never_seen_by_batch_norm():
    counts = []
    network = tiny.network()
    network.register_forward_pre_hook(lambda module, given: counts.append(len(given[0])))
    run(network, Recipe(epochs=1), tiny.batches(9, batch_size=4))
    assert counts == [4, 5]


def test_waiting_is_a_part_of_the_seconds():
    progress = run(tiny.network(), Recipe(epochs=2))
    assert 0 < progress.waiting < progress.seconds


def test_a_new_progress_is_made_where_none_is_given():
    network = tiny.network()
    recipe = Recipe(epochs=1)
    *_, last = train(network, tiny.TASK, tiny.batches(), recipe)
    assert last.network is network
    assert last.step == 3


def test_steps_run_in_the_devices_precision():
    seen = []
    network = tiny.network()
    network.backbone.register_forward_hook(lambda module, given, out: seen.append(out[-1].dtype))
    recipe = Recipe(epochs=1)
    for _ in train(network, tiny.TASK, tiny.batches(), recipe, device=Device(precision="bfloat16", channels_last=True)):
        pass
    assert set(seen) == {torch.bfloat16}
    assert all(one.dtype is torch.float32 for one in network.parameters())


def test_the_loop_asks_the_task_for_all_losses_and_sums_them():
    class Two(type(tiny.TASK)):
        def losses(self, outputs, targets):
            one = super().losses(outputs, targets)["cross_entropy"]
            return {"cross_entropy": one, "again": 2 * one}

    recipe = Recipe(epochs=1, learning_rate=1e-9)
    single = run(tiny.network(), recipe).history[0]["train_loss"]
    network = tiny.network()
    *_, progress = train(network, Two(tiny.CLASSES), tiny.batches(), recipe)
    assert progress.history[0]["train_loss"] == pytest.approx(3 * single, rel=1e-4)


def resumed_with_fewer_steps(recipe, done):
    """Train for `done` steps of epochs of four, and go on as the first of two ranks, whose epochs have three."""
    network = tiny.network()
    progress = Progress(network, recipe)
    batches = tiny.batches(14, batch_size=4)
    assert len(batches) == 4
    steps = train(network, tiny.TASK, batches, recipe, progress)
    for _ in range(done):
        next(steps)
    progress.network.eval()
    batches.ranks = 2
    assert len(batches) == 3
    return progress, batches, train(network, tiny.TASK, batches, recipe, progress)


@pytest.mark.timeout(30)
def test_an_epoch_that_was_saved_after_what_are_now_all_its_steps_ends():
    recipe = Recipe(epochs=2, schedule="one_cycle")
    progress, _, steps = resumed_with_fewer_steps(recipe, 3)
    means = {name: (value / progress.samples).item() for name, value in progress.sums.items()}
    seconds = progress.seconds
    before = weights(progress.network)
    assert next(steps) is progress
    assert (progress.epoch, progress.step, progress.step_in_epoch, progress.epoch_ended) == (1, 3, 0, True)
    assert same_bits(before, weights(progress.network))
    row = {"epoch": 1, "step": 3, "learning_rate": learning_rate(recipe, 2, 3)}
    assert progress.history == [{**row, **{f"train_{name}": mean for name, mean in means.items()}}]
    assert progress.seconds > seconds
    progress.record({"accuracy": 0.5})
    assert [(now.step, now.epoch_ended) for now in steps] == [(4, False), (5, False), (6, True)]
    assert progress.finished


@pytest.mark.timeout(30)
def test_so_does_the_last_of_all_epochs_with_the_statistics_of_its_weights():
    recipe = Recipe(epochs=1, exact_statistics=2, frozen_norms=False)
    progress, batches, steps = resumed_with_fewer_steps(recipe, 3)
    expected = copy.deepcopy(progress.network)
    average_statistics(expected, batches, recipe, 0, Device())
    next(steps)
    assert same_bits(weights(expected), weights(progress.network))
    assert list(steps) == []
    assert progress.finished


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
def test_with_fewer_steps_an_epoch_the_schedule_stays_at_its_end(schedule):
    recipe = Recipe(epochs=3, schedule=schedule)
    progress, _, steps = resumed_with_fewer_steps(recipe, 10)
    assert next(steps).step == 11
    assert progress.history[-1]["learning_rate"] == learning_rate(recipe, 8, 3)
    assert progress.finished or progress.epoch_ended
