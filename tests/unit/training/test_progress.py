import itertools
import json
import math

import pytest
import tiny
import torch

from plusx.device import Device
from plusx.errors import CheckpointError, PlusxError
from plusx.tensor_file import read_tensors, write_tensors
from plusx.training.loop import train
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe

SCORES = (0.5, 0.4, 0.6)  # the second epoch is worse than the first: with patience 0 the third has a lower rate


def weights(progress):
    found = {f"network.{name}": tensor.clone() for name, tensor in progress.network.state_dict().items()}
    return found | {f"scored.{name}": tensor.clone() for name, tensor in progress.scored_network.state_dict().items()}


def new(recipe, device, seed=0):
    network = tiny.network(seed=seed, dropout=0.3)
    device.place(network)
    return Progress(network, recipe)


def go_on(progress, recipe, device, *, stop_at=None, record=True):
    """Train until step `stop_at`, or to the end."""
    batches = tiny.batches(10, batch_size=4, input=tiny.AUGMENTED)
    for _ in train(progress.network, tiny.TASK, batches, recipe, progress, device):
        if progress.epoch_ended and (record or progress.step != stop_at):
            progress.record({"accuracy": SCORES[progress.epoch - 1]})
        if progress.step == stop_at:
            break
    return progress


RECIPES = [
    Recipe(epochs=3, learning_rate=0.02, optimizer=optimizer, average_decay=average, schedule=schedule, patience=0)
    for optimizer, average, schedule in itertools.product(
        ("sgd", "adam", "adamw"), (0.0, 0.9), ("plateau", "one_cycle")
    )
]
DEVICES = {
    "channels_first": Device(),
    "channels_last": Device(channels_last=True),
    "bfloat16": Device(precision="bfloat16", channels_last=True),
}


def same_history(first, second):
    return first.history == second.history and first.best_score == second.best_score


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda one: f"{one.optimizer}-{one.average_decay:g}-{one.schedule}")
def test_a_run_that_stopped_ends_with_the_bits_of_one_that_did_not(tmp_path, recipe, device):
    unbroken = go_on(new(recipe, device), recipe, device)
    for stop_at in (2, 3, 8):
        stopped = go_on(new(recipe, device), recipe, device, stop_at=stop_at)
        write_tensors(tmp_path / "state", "state", *stopped.state_dict())
        resumed = new(recipe, device, seed=1)
        resumed.load_state_dict(*read_tensors(tmp_path / "state", "state"))
        go_on(resumed, recipe, device)
        then, now = weights(unbroken), weights(resumed)
        assert then.keys() == now.keys()
        assert [name for name in then if not torch.equal(then[name], now[name])] == []
        assert same_history(unbroken, resumed)


def test_the_unbroken_run_is_one_that_a_wrong_resume_could_miss():
    """Guards the guard: the plateau acts, the average lags behind, and other seeds give other weights."""
    recipe, device = RECIPES[2], Device()
    assert (recipe.schedule, recipe.average_decay) == ("plateau", 0.9)
    progress = go_on(new(recipe, device), recipe, device)
    assert progress.plateau_factor == recipe.factor
    found = weights(progress)
    assert not torch.equal(found["network.head.linear.1.weight"], found["scored.head.linear.1.weight"])
    other = weights(go_on(new(recipe, device, seed=1), recipe, device))
    assert not torch.equal(found["network.head.linear.1.weight"], other["network.head.linear.1.weight"])


def test_an_epoch_that_ended_without_its_scores_is_yielded_first_after_a_resume(tmp_path):
    recipe, device = RECIPES[0], Device()
    unbroken = go_on(new(recipe, device), recipe, device)
    stopped = go_on(new(recipe, device), recipe, device, stop_at=3, record=False)
    assert stopped.epoch_ended
    assert not stopped.recorded
    write_tensors(tmp_path / "state", "state", *stopped.state_dict())
    resumed = new(recipe, device, seed=1)
    resumed.load_state_dict(*read_tensors(tmp_path / "state", "state"))
    seen = []
    for _ in train(resumed.network, tiny.TASK, tiny.batches(10, input=tiny.AUGMENTED), recipe, resumed, device):
        seen.append((resumed.step, resumed.epoch_ended))
        if resumed.epoch_ended:
            resumed.record({"accuracy": SCORES[resumed.epoch - 1]})
    assert seen[:2] == [(3, True), (4, False)]
    assert same_history(unbroken, resumed)
    assert all(
        torch.equal(one, two) for one, two in zip(weights(unbroken).values(), weights(resumed).values(), strict=True)
    )


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    recipe, device = RECIPES[0], Device()
    done = go_on(new(recipe, device), recipe, device)
    write_tensors(tmp_path / "state", "state", *done.state_dict())
    resumed = new(recipe, device)
    resumed.load_state_dict(*read_tensors(tmp_path / "state", "state"))
    assert resumed.finished
    assert list(train(resumed.network, tiny.TASK, tiny.batches(10), recipe, resumed)) == []


def test_a_loaded_state_does_not_change_with_the_run_that_goes_on():
    recipe, device = RECIPES[0], Device()
    stopped = go_on(new(recipe, device), recipe, device, stop_at=4)
    values, tensors = stopped.state_dict()
    kept = json.dumps(values), {name: tensor.clone() for name, tensor in tensors.items()}
    resumed = new(recipe, device)
    resumed.load_state_dict(values, tensors)
    go_on(resumed, recipe, device)
    assert json.dumps(values) == kept[0]
    assert all(torch.equal(tensors[name], kept[1][name]) for name in tensors)


def test_the_state_is_plain_values_and_tensors():
    recipe = RECIPES[2]
    values, tensors = go_on(new(recipe, Device()), recipe, Device(), stop_at=4).state_dict()
    assert json.loads(json.dumps(values)) == values
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
    assert {name.split(".")[0] for name in tensors} == {"network", "average", "optimizer", "sums", "random_state"}


@pytest.mark.parametrize(
    "other",
    [
        Recipe(epochs=3, learning_rate=0.02, average_decay=0.9),
        Recipe(epochs=3, learning_rate=0.02, optimizer="adam", average_decay=0.5),
    ],
    ids=["averages", "another optimizer"],
)
def test_the_state_of_another_recipe_is_refused(other):
    recipe, device = Recipe(epochs=3, learning_rate=0.02), Device()
    values, tensors = go_on(new(recipe, device), recipe, device, stop_at=2).state_dict()
    with pytest.raises(CheckpointError, match="does not fit this network and recipe"):
        new(other, device).load_state_dict(values, tensors)


def test_the_state_of_another_network_is_refused():
    recipe, device = RECIPES[0], Device()
    values, tensors = go_on(new(recipe, device), recipe, device, stop_at=2).state_dict()
    with pytest.raises(CheckpointError, match="does not fit this network and recipe"):
        Progress(tiny.network(), recipe).load_state_dict(values, tensors)


def ended(recipe=RECIPES[0]):
    return go_on(new(recipe, Device()), recipe, Device(), stop_at=3, record=False)


def test_scores_are_taken_once_and_only_at_an_epochs_end():
    progress = new(RECIPES[0], Device())
    with pytest.raises(PlusxError, match="no epoch has just ended"):
        progress.record({"accuracy": 1.0})
    progress = ended()
    progress.record({"accuracy": 0.5})
    with pytest.raises(PlusxError, match="no epoch has just ended"):
        progress.record({"accuracy": 0.9})
    assert progress.best_score[0] == 0.5
    middle = go_on(new(RECIPES[0], Device()), RECIPES[0], Device(), stop_at=4)
    with pytest.raises(PlusxError, match="no epoch has just ended"):
        middle.record({"accuracy": 0.9})


def test_the_monitored_score_decides_and_all_go_into_the_history():
    progress = ended()
    progress.record({"loss": 2.0, "accuracy": 0.25}, monitor="accuracy")
    assert progress.best_score[0] == 0.25
    assert progress.improved
    assert progress.history[-1]["loss"] == 2.0
    assert progress.history[-1]["accuracy"] == 0.25


@pytest.mark.parametrize(
    ("scores", "monitor", "tie"),
    [({}, None, None), ({"loss": 1.0}, "accuracy", None), ({"loss": 1.0}, "loss", "other")],
)
def test_scores_without_the_monitored_one_are_refused_and_leave_no_trace(scores, monitor, tie):
    progress = ended()
    with pytest.raises(PlusxError, match="monitor"):
        progress.record(scores, monitor=monitor, tie=tie)
    assert not progress.recorded
    progress.record({"accuracy": 0.5})
    assert progress.best_score[0] == 0.5
    assert "loss" not in progress.history[-1]


def test_a_score_that_is_not_a_number_is_never_the_best_for_long():
    progress = ended()
    progress.record({"accuracy": math.nan})
    progress.epoch, progress.recorded = 2, False
    progress.record({"accuracy": 0.1})
    assert (progress.best_score[0], progress.best_epoch) == (0.1, 2)
    progress.epoch, progress.recorded = 3, False
    progress.record({"accuracy": math.nan})
    assert (progress.best_score[0], progress.best_epoch) == (0.1, 2)


def test_an_equal_score_is_no_improvement():
    progress = ended()
    progress.record({"accuracy": 0.5})
    progress.epoch, progress.recorded = 2, False
    progress.record({"accuracy": 0.5})
    assert progress.best_epoch == 1
    assert not progress.improved
    assert progress.epochs_without_improvement == 1


@pytest.mark.parametrize(
    ("second", "best"),
    [
        ({"accuracy": 0.5, "loss": 0.9}, 2),
        ({"accuracy": 0.5, "loss": 1.0}, 1),
        ({"accuracy": 0.5, "loss": math.nan}, 1),
        ({"accuracy": 0.4, "loss": 0.1}, 1),
        ({"accuracy": 0.6, "loss": 9.0}, 2),
    ],
)
def test_of_two_equal_scores_the_lower_tie_break_is_better(second, best):
    progress = ended()
    progress.record({"accuracy": 0.5, "loss": 1.0}, monitor="accuracy", tie="loss")
    progress.epoch, progress.recorded = 2, False
    progress.record(second, monitor="accuracy", tie="loss")
    assert progress.best_epoch == best


def test_of_two_losses_the_lower_is_better_and_then_the_higher_accuracy():
    progress = ended()
    best = []
    for loss, accuracy in ((0.5, 0.9), (0.4, 0.8), (0.4, 0.85), (0.45, 1.0), (float("nan"), 1.0)):
        progress.epoch_ended, progress.recorded, progress.epoch = True, False, progress.epoch + 1
        progress.record({"loss": loss, "accuracy": accuracy}, monitor="loss", tie="accuracy", lower=True)
        best.append(progress.improved)
    assert best == [True, True, True, False, False]
    assert progress.best_score == [-0.4, 0.85]
