import pytest
import tiny
import torch
from torch import nn

from plusx.training.averaging import Lookahead
from plusx.training.loop import train
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe


def test_slow_weights_go_their_share_of_the_way_and_the_fast_ones_go_on_from_there():
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 1.0)
    lookahead = Lookahead(network, steps=3, share=0.25)
    path = []
    for step in range(1, 7):
        with torch.no_grad():
            network.weight += 4.0
        lookahead.update(step)
        path.append(network.weight.item())
    assert path == [5.0, 9.0, 1 + 0.25 * 12, 8.0, 12.0, 4 + 0.25 * 12]
    assert lookahead.slow[0].item() == 7.0


def test_lookahead_that_grows_keeps_all_at_first_and_its_share_at_the_end():
    network = nn.Linear(1, 1, bias=False)
    kept = []
    for done in (0.0, 0.5, 1.0):
        nn.init.constant_(network.weight, 0.0)
        lookahead = Lookahead(network, steps=1, share=0.2, grows=True)
        nn.init.constant_(network.weight, 1.0)
        lookahead.update(1, done)
        kept.append(network.weight.item())
    assert kept == pytest.approx([1.0, 1 - 0.8 / 8, 0.2])


def test_training_tells_lookahead_how_far_it_is():
    seen = []
    recipe = Recipe(epochs=2, batch_size=4, lookahead_steps=1, lookahead_grows=True)
    progress = Progress(tiny.network(), recipe)
    update = progress.lookahead.update
    progress.lookahead.update = lambda step, done: (seen.append((step, done)), update(step, done))
    for _ in train(progress.network, tiny.TASK, tiny.batches(12, batch_size=4), recipe, progress):
        pass
    assert seen == [(step, step / 6) for step in range(1, 7)]


def test_what_is_not_trained_has_no_slow_weights():
    network = tiny.network()
    network.backbone.stem.conv.weight.requires_grad = False
    lookahead = Lookahead(network, 1, 0.5)
    assert len(lookahead.slow) == len(list(network.parameters())) - 1
    before = network.backbone.stem.conv.weight.clone()
    lookahead.update(1)
    assert torch.equal(before, network.backbone.stem.conv.weight)


def test_training_looks_ahead_after_so_many_steps_of_plain_sgd():
    """Two steps of a twin without lookahead, from each point that it reached, give the next one."""
    recipe = Recipe(
        epochs=2, batch_size=4, learning_rate=0.05, momentum=0.0, weight_decay=0.0, schedule="constant",
        lookahead_steps=2, lookahead_share=0.5,
    )  # fmt: skip
    plain = Recipe(epochs=2, batch_size=4, learning_rate=0.05, momentum=0.0, weight_decay=0.0, schedule="constant")
    batches = tiny.batches(12, batch_size=4)
    network, twin = tiny.network(), tiny.network()
    progress, other = Progress(network, recipe), Progress(twin, plain)
    walk = train(twin, tiny.TASK, batches, plain, other)
    slow = [one.detach().clone() for one in twin.parameters()]
    for _ in train(network, tiny.TASK, batches, recipe, progress):
        next(walk)
        with torch.no_grad():
            if progress.step % 2 == 0:
                for start, fast in zip(slow, twin.parameters(), strict=True):
                    start.add_(fast - start, alpha=0.5)
                    fast.copy_(start)
        for found, expected in zip(network.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(found, expected)
    assert progress.step == 6


def test_the_scored_network_is_the_average_of_weights_that_looked_ahead():
    recipe = Recipe(epochs=1, batch_size=4, average_decay=0.9, lookahead_steps=1, lookahead_share=0.5)
    progress = Progress(tiny.network(), recipe)
    start = progress.network.head.linear.weight.detach().clone()
    steps = train(progress.network, tiny.TASK, tiny.batches(), recipe, progress)
    next(steps)
    moved = progress.network.head.linear.weight.detach()
    assert torch.equal(progress.lookahead.slow[-2], moved)
    torch.testing.assert_close(progress.scored_network.head.linear.weight, start + (1 - 2 / 11) * (moved - start))


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_the_share_is_one(share):
    with pytest.raises(Exception, match=r"lookahead_share is .* above 0 and at most 1"):
        Recipe(lookahead_share=share)
