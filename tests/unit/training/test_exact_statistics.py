import itertools

import pytest
import tiny
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from plusx.device import Device
from plusx.network import layers
from plusx.training.exact_statistics import average_statistics
from plusx.training.loop import train
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe
from plusx.training.step import TooLarge

RECIPE = Recipe(epochs=2, batch_size=4, exact_statistics=3)


def statistics(network):
    return {name: one.clone() for name, one in network.named_buffers()}


def drifted(network):
    """Running statistics that are not those of the data."""
    for one in network.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.running_mean.fill_(3.0)
            one.running_var.fill_(9.0)
    return network


@pytest.mark.parametrize("layout", [False, True], ids=["channels first", "channels last"])
def test_they_are_those_of_torchs_own_way(layout):
    device = Device(channels_last=layout)
    ours, theirs = (drifted(tiny.network(dropout=0.5)) for _ in range(2))
    batches = tiny.batches(20, batch_size=4, input=tiny.AUGMENTED)
    average_statistics(ours, batches, RECIPE, 1, device)
    chosen = [device.place_images(batch.images) for batch in itertools.islice(batches.epoch(1), 3)]
    update_bn(chosen, theirs)
    expected = statistics(theirs)
    for name, found in statistics(ours).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-5, atol=1e-6)


def test_the_first_norms_are_the_plain_means_over_the_batches():
    network = drifted(tiny.network())
    batches = tiny.batches(12, batch_size=4)
    average_statistics(network, batches, RECIPE, 0, Device())
    outputs = [network.backbone.stem.conv(batch.images) for batch in batches.epoch(0)]
    mean = torch.stack([one.mean((0, 2, 3)) for one in outputs]).mean(0)
    variance = torch.stack([one.transpose(0, 1).flatten(1).var(1) for one in outputs]).mean(0)
    torch.testing.assert_close(network.backbone.stem.norm.running_mean, mean)
    torch.testing.assert_close(network.backbone.stem.norm.running_var, variance)
    assert network.backbone.stem.norm.num_batches_tracked == 3


@pytest.mark.parametrize("training", [True, False])
def test_weights_modes_momenta_and_random_streams_are_as_before(training):
    network = tiny.network(dropout=0.5).train(training)
    network.backbone.stem.eval()
    modes = [one.training for one in network.modules()]
    weights = [one.clone() for one in network.parameters()]
    stream = torch.get_rng_state()
    average_statistics(network, tiny.batches(), RECIPE, 0, Device())
    assert [one.training for one in network.modules()] == modes
    assert all(torch.equal(one, before) for one, before in zip(network.parameters(), weights, strict=True))
    assert {one.momentum for one in network.modules() if isinstance(one, layers.Norm)} == {0.1}
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(one.grad is None for one in network.parameters())


def test_frozen_norms_and_networks_without_any_are_left_alone():
    network = drifted(tiny.network())
    before = statistics(network)
    average_statistics(network, tiny.batches(), RECIPE, 0, Device(), names=())
    assert all(torch.equal(before[name], one) for name, one in statistics(network).items())
    average_statistics(nn.Linear(3, 3), tiny.batches(), RECIPE, 0, Device())  # whose images it could not even take


def test_modes_are_put_back_when_a_batch_fails():
    network = tiny.network().train()
    network.head.register_forward_hook(lambda module, given, out: (_ for _ in ()).throw(ValueError("no")))
    with pytest.raises(ValueError, match="no"):
        average_statistics(network, tiny.batches(), RECIPE, 0, Device())
    assert all(one.training for one in network.modules())
    assert network.backbone.stem.norm.momentum == 0.1


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_training_puts_them_into_the_network_that_is_scored_at_each_epochs_end(average):
    recipe = Recipe(epochs=2, batch_size=4, exact_statistics=2, average_decay=average)
    batches = tiny.batches(12, batch_size=4)
    progress = Progress(tiny.network(), recipe)
    for _ in train(progress.network, tiny.TASK, batches, recipe, progress):
        if not progress.epoch_ended:
            continue
        again = tiny.network()
        again.load_state_dict(progress.scored_network.state_dict())
        average_statistics(again, batches, recipe, progress.epoch - 1, Device())
        expected = statistics(again)
        found = statistics(progress.scored_network)
        assert all(torch.equal(found[name], expected[name]) for name in found)
        progress.record({"accuracy": 0.5})


def test_where_the_last_weights_are_kept_only_they_have_them():
    recipe = Recipe(epochs=2, batch_size=4, exact_statistics=2, keep="last")
    progress = Progress(tiny.network(), recipe)
    tracked = progress.network.backbone.stem.norm
    walk = train(progress.network, tiny.TASK, tiny.batches(), recipe, progress)
    counts = [tracked.num_batches_tracked.item() for _ in walk if progress.epoch_ended]
    assert counts == [3, 2]


class Narrow(nn.Module):
    """Takes no more than some images at once."""

    def __init__(self, network, most):
        super().__init__()
        self.network, self.most, self.seen = network, most, []

    def forward(self, images):
        self.seen.append(len(images))
        if len(images) > self.most:
            raise MemoryError
        return self.network(images)


def test_where_the_memory_is_not_enough_they_are_the_means_over_parts():
    batches, recipe = tiny.batches(16, batch_size=8), Recipe(epochs=1, batch_size=8, exact_statistics=2)
    narrow, whole = Narrow(drifted(tiny.network()), 3), drifted(tiny.network())
    average_statistics(narrow, batches, recipe, 0, Device())
    assert narrow.seen == [8, 4, *[2] * 8]
    average_statistics(
        whole, tiny.batches(16, batch_size=2), Recipe(epochs=1, batch_size=2, exact_statistics=8), 0, Device()
    )
    for name, found in statistics(narrow.network).items():
        torch.testing.assert_close(found, statistics(whole)[name])
    again = Narrow(drifted(tiny.network()), 3)
    average_statistics(again, batches, recipe, 0, Device(), parts=4)
    assert again.seen == [2] * 8


def test_no_memory_for_two_images_is_one_sentence():
    network = Narrow(tiny.network(), 1)
    with pytest.raises(
        TooLarge, match=r"not enough for the norms' statistics \(the memory is used up\); use a smaller"
    ):
        average_statistics(network, tiny.batches(8, batch_size=4), RECIPE, 0, Device())
    assert all(one.momentum == 0.1 for one in network.modules() if isinstance(one, nn.BatchNorm2d))
