import copy

import pytest
import tiny
import torch
from torch import nn

from plusx.device import Device
from plusx.errors import UsageError
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone, Network
from plusx.tensor_file import read_tensors, write_tensors
from plusx.training.freezing import Freezing, frozen_parts, head_steps, parts_of
from plusx.training.loop import train
from plusx.training.optimization import learning_rate, parameter_groups
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe

STEPS = 3  # an epoch of tiny.batches()
ADAM = {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1}


def trained(recipe, *, network=None, after=lambda progress: None):
    """Train a network and return what it was before, and the progress."""
    network = network or tiny.network()
    before = copy.deepcopy(network)
    progress = Progress(network, recipe)
    for _ in train(network, tiny.TASK, tiny.batches(), recipe, progress):
        after(progress)
        progress.network.eval()  # as scoring does in between
    return before, progress


def same(one, other):
    """Whether two modules hold the same bits, running statistics too."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


@pytest.mark.parametrize("name", ["resnet18", "preresnet20", "densenet40-12", "mnist_resnet", "resnet18d"])
def test_every_parameter_belongs_to_one_part(name):
    torch.manual_seed(0)
    backbone = Backbone(ARCHITECTURES[name])
    network = Network(backbone, tiny.TASK.head(backbone))
    parts = parts_of(network)
    assert len(parts) == len(backbone.stages) + 2
    found = [id(one) for part in parts for module in part for one in module.parameters()]
    assert sorted(found) == sorted(id(one) for one in network.parameters())
    assert parts[0] == [backbone.stem]
    assert parts[-1] == [network.head]
    assert backbone.finish in parts[-2]


def test_another_module_is_all_head():
    module = nn.Linear(2, 2)
    assert parts_of(module) == [[module]]
    Freezing(module, Recipe(freeze="backbone", head_epochs=1)).begin_step(head_alone=True)
    assert module.weight.requires_grad


@pytest.mark.parametrize(("freeze", "count"), [("none", 0), ("stem", 1), ("1", 2), ("4", 5), ("backbone", 5)])
def test_freeze_names_parts_from_the_image_on(freeze, count):
    assert frozen_parts(freeze, 4) == count


def test_more_stages_than_there_are_cannot_be_frozen():
    with pytest.raises(UsageError, match=r"freeze is '5', but the network has a stem and 4 stages; .* from 1 to 4"):
        frozen_parts("5", 4)


@pytest.mark.parametrize("freeze", ["all", "0", "-1", "1.5", ""])
def test_freeze_is_one_of_its_words_or_a_number(freeze):
    with pytest.raises(UsageError, match=r"freeze is .* must be none, stem, backbone, or a number of stages"):
        Recipe(freeze=freeze)


@pytest.mark.parametrize("optimizer", [ADAM, {"optimizer": "sgd", "weight_decay": 0.1}])
@pytest.mark.parametrize("freeze", ["stem", "1", "backbone"])
def test_what_is_frozen_stays_bit_for_bit_and_the_rest_learns(freeze, optimizer):
    recipe = Recipe(epochs=3, average_decay=0.9, freeze=freeze, **optimizer)
    before, progress = trained(recipe)
    for network in (progress.network, progress.scored_network):
        stem, first, last, head = (
            same(one, other)
            for one, other in zip(
                (network.backbone.stem, *network.backbone.stages, network.head),
                (before.backbone.stem, *before.backbone.stages, before.head),
                strict=True,
            )
        )
        assert (stem, first, last, head) == (True, freeze != "stem", freeze == "backbone", False)


def test_nothing_is_computed_backwards_through_what_is_frozen():
    network = tiny.network()
    needs = []
    network.backbone.stages[0].register_forward_hook(lambda module, given, out: needs.append(out.requires_grad))
    network.backbone.stages[1].register_forward_hook(lambda module, given, out: needs.append(out.requires_grad))
    _, progress = trained(Recipe(epochs=1, freeze="1"), network=network)
    assert needs == [False, True] * STEPS
    assert all(one not in progress.optimizer.state for one in network.backbone.stem.parameters())


def test_the_head_is_trained_alone_at_first():
    recipe = Recipe(epochs=4, head_epochs=1, average_decay=0.9, **ADAM)
    alone = []
    network = tiny.network()
    before = copy.deepcopy(network)
    state = []

    def look(progress):
        alone.append(same(progress.network.backbone, before.backbone))
        assert same(progress.scored_network.backbone, before.backbone) is alone[-1]
        state.append(len(progress.optimizer.state))

    trained(recipe, network=network, after=look)
    assert alone == [True] * STEPS + [False] * 3 * STEPS
    assert state == [2] * STEPS + [len(list(network.parameters()))] * 3 * STEPS


def test_what_is_frozen_for_good_stays_so_after_the_head():
    before, progress = trained(Recipe(epochs=4, head_epochs=1, freeze="stem"))
    assert same(progress.network.backbone.stem, before.backbone.stem)
    assert not same(progress.network.backbone.stages[0], before.backbone.stages[0])


@pytest.mark.parametrize(("epochs", "steps"), [(4, 6), (3, 4), (1, 1)])
def test_the_head_has_never_more_than_half_of_all_epochs_alone(epochs, steps):
    assert head_steps(tiny.network(), Recipe(epochs=epochs, head_epochs=2), STEPS) == steps


def test_the_head_has_never_more_than_half_of_all_steps_alone():
    assert head_steps(tiny.network(), Recipe(epochs=4, head_epochs=2, steps=4), STEPS) == 2


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_exact_statistics_leave_what_is_frozen_as_it_is(average):
    recipe = Recipe(epochs=2, freeze="stem", exact_statistics=2, average_decay=average)
    before, progress = trained(recipe)
    stem, stages = (progress.scored_network.backbone.stem, progress.scored_network.backbone.stages)
    assert same(stem, before.backbone.stem)
    assert not same(stages, before.backbone.stages)


@pytest.mark.parametrize("freeze", ["backbone", "2"])
def test_where_nothing_waits_for_the_head_the_schedule_is_the_plain_one(freeze):
    assert head_steps(tiny.network(), Recipe(epochs=4, head_epochs=2, freeze=freeze), STEPS) == 0
    assert head_steps(nn.Linear(2, 2), Recipe(epochs=4, head_epochs=2), STEPS) == 0
    used = [[], []]
    for rates, head_epochs in zip(used, (0, 2), strict=True):
        recipe = Recipe(epochs=4, head_epochs=head_epochs, freeze=freeze, warmup_epochs=1)
        trained(recipe, after=lambda now, rates=rates: rates.append(now.optimizer.param_groups[0]["lr"]))
    assert used[0] == used[1]
    assert len(set(used[0])) > STEPS


def test_frozen_norms_keep_their_statistics_and_learn_their_weights():
    before, progress = trained(Recipe(epochs=2, frozen_norms=True, learning_rate=0.05))
    for (name, one), other in zip(progress.network.named_modules(), before.modules(), strict=True):
        if isinstance(one, nn.BatchNorm2d):
            assert torch.equal(one.running_mean, other.running_mean), name
            assert torch.equal(one.running_var, other.running_var), name
            assert not torch.equal(one.weight, other.weight), name


def test_frozen_scales_stay_while_the_norms_learn_what_they_add():
    before, progress = trained(Recipe(epochs=2, frozen_scales=True, learning_rate=0.05, decay_norm_and_bias=True))
    for (name, one), other in zip(progress.network.named_modules(), before.modules(), strict=True):
        if isinstance(one, nn.BatchNorm2d):
            assert torch.equal(one.weight, other.weight), name
            assert not torch.equal(one.bias, other.bias), name
            assert not torch.equal(one.running_mean, other.running_mean), name


def test_norms_that_are_not_frozen_follow_the_batches():
    before, progress = trained(Recipe(epochs=1))
    norm, other = (network.backbone.stem.norm for network in (progress.network, before))
    assert not torch.equal(norm.running_mean, other.running_mean)


def test_dropout_is_off_where_nothing_is_learned_and_on_elsewhere():
    network = tiny.network(dropout=0.5)
    network.backbone.stem = nn.Sequential(network.backbone.stem, nn.Dropout(0.5))
    modes = []
    network.register_forward_hook(
        lambda module, given, out: modes.append((network.backbone.stem[1].training, network.head.linear[0].training))
    )
    trained(Recipe(epochs=2, head_epochs=1), network=network)
    assert modes == [(False, True)] * STEPS + [(True, True)] * STEPS


def test_each_part_towards_the_image_learns_more_slowly():
    network = tiny.network()
    groups = parameter_groups(network, Recipe(rate_decay=0.5))
    factors = {id(one): group["factor"] for group in groups for one in group["params"]}
    parts = (network.head, network.backbone.stages[1], network.backbone.stages[0], network.backbone.stem)
    for part, factor in zip(parts, (1, 0.5, 0.25, 0.125), strict=True):
        assert {factors[id(one)] for one in part.parameters()} == {factor}
    decays = {group["weight_decay"] for group in groups}
    assert decays == {0.0, Recipe().weight_decay}


def test_each_group_steps_at_its_part_of_the_rate():
    recipe = Recipe(epochs=2, rate_decay=0.5, schedule="constant", learning_rate=0.08)
    used = []
    trained(recipe, after=lambda now: used.append({group["lr"] for group in now.optimizer.param_groups}))
    assert used == [{0.08, 0.04, 0.02, 0.01}] * 6


def test_the_schedule_begins_after_the_head():
    recipe = Recipe(epochs=6, head_epochs=2, warmup_epochs=1, learning_rate=0.4)
    later = Recipe(epochs=4, warmup_epochs=1, learning_rate=0.4)
    found = [learning_rate(recipe, step, 5, alone=10) for step in range(30)]
    assert found[:10] == [0.4] * 10
    assert found[10:] == [learning_rate(later, step, 5) for step in range(20)]


FINETUNE = Recipe(
    epochs=4, head_epochs=1.5, rate_decay=0.6, frozen_norms=True, freeze="stem", average_decay=0.9, **ADAM
)


@pytest.mark.parametrize("stop_at", [1, 4, 5, 6, 9])
def test_a_run_that_stopped_in_either_phase_ends_with_the_same_bits(stop_at, tmp_path):
    def go_on(progress, last=None):
        batches = tiny.batches(10, input=tiny.AUGMENTED)
        for _ in train(progress.network, tiny.TASK, batches, FINETUNE, progress, Device()):
            if progress.epoch_ended:
                progress.record({"accuracy": 0.5})
            if progress.step == last:
                break
        return progress

    def new(seed=0):
        return Progress(tiny.network(dropout=0.3, seed=seed), FINETUNE)

    unbroken = go_on(new())
    write_tensors(tmp_path / "state", "state", *go_on(new(), stop_at).state_dict())
    resumed = new(seed=1)
    resumed.load_state_dict(*read_tensors(tmp_path / "state", "state"))
    go_on(resumed)
    assert same(unbroken.network, resumed.network)
    assert same(unbroken.scored_network, resumed.scored_network)
    assert head_steps(tiny.network(), FINETUNE, STEPS) == 4
