import itertools

import numpy as np
import pytest
import tiny
import torch

from plusx.training.rate_finder import Tried, find_rate, suggestions
from plusx.training.recipe import Recipe

RECIPE = Recipe(batch_size=4, momentum=0.0, weight_decay=0.0, average_decay=0.9, lookahead_steps=2, head_epochs=1)


def drained(work):
    seen = []
    while True:
        try:
            seen.append(next(work))
        except StopIteration as end:
            return seen, end.value


def test_rates_grow_by_one_factor_and_losses_are_those_before_each_step():
    network, batches = tiny.network(), tiny.batches(12, batch_size=4)
    seen, found = drained(find_rate(network, tiny.TASK, batches, RECIPE, lowest=1e-4, highest=1e-2, steps=5))
    assert [one.learning_rate for one in seen] == pytest.approx(np.geomspace(1e-4, 1e-2, 5))
    assert found.tried == tuple(seen)
    twin = tiny.network().train()
    optimizer = torch.optim.SGD(twin.parameters(), lr=1.0)
    mean = 0.0
    endless = (batch for epoch in itertools.count() for batch in batches.epoch(epoch))
    for number, (one, batch) in enumerate(zip(seen, endless, strict=False), start=1):
        optimizer.param_groups[0]["lr"] = one.learning_rate
        loss = torch.nn.functional.cross_entropy(twin(batch.images), batch.targets)
        assert one.loss == pytest.approx(loss.item(), rel=1e-4)
        mean = 0.9 * mean + 0.1 * one.loss
        assert one.smoothed == pytest.approx(mean / (1 - 0.9**number))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_nothing_else_is_touched():
    network, batches = tiny.network(dropout=0.5), tiny.batches(12, batch_size=4)
    before = {name: one.clone() for name, one in network.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    drawn = [torch.rand(1) for _ in find_rate(network, tiny.TASK, batches, RECIPE, steps=2)]
    drawn.append(torch.rand(1))
    assert torch.equal(torch.cat(drawn), expected)
    assert all(torch.equal(before[name], one) for name, one in network.state_dict().items())
    assert all(one.grad is None for one in network.parameters())


def test_it_stops_when_the_loss_explodes():
    seen, found = drained(find_rate(tiny.network(), tiny.TASK, tiny.batches(), RECIPE, lowest=1e-2, highest=1e9))
    assert 10 < len(seen) < 200
    *_, last = seen
    assert last.smoothed > 4 * min(one.smoothed for one in seen) or last.learning_rate > 1
    assert found.tried == tuple(seen)


def test_it_stops_when_the_loss_is_not_finite():
    network = tiny.network()
    calls = itertools.count()
    network.head.register_forward_hook(lambda module, given, out: out * float("nan") if next(calls) == 3 else out)
    seen, _ = drained(find_rate(network, tiny.TASK, tiny.batches(), RECIPE))
    assert len(seen) == 3


def curve(losses):
    return [Tried(10.0 ** (place - 6), loss, loss) for place, loss in enumerate(losses)]


def test_the_suggestions_are_the_steepest_rate_and_a_tenth_of_the_lowest():
    steepest, tenth = suggestions(curve([2.3, 2.3, 2.2, 1.2, 0.8, 0.9, 5.0]))
    assert steepest == pytest.approx(1e-4)
    assert tenth == pytest.approx(1e-3)


@pytest.mark.parametrize("losses", [[], [2.0], [2.0, 2.5, 3.0], [2.0, 2.0], [2.0, 1.99, 1.92, 4.0], [2.0, 2.3, 1.0]])
def test_where_no_loss_falls_clearly_nothing_is_suggested(losses):
    assert suggestions(curve(losses)) == (None, None)


def test_what_falls_again_after_it_rose_plays_no_part():
    steepest, tenth = suggestions(curve([2.3, 2.3, 2.2, 1.2, 0.9, 3.0, 0.5, 0.4]))
    assert (steepest, tenth) == (pytest.approx(1e-4), pytest.approx(1e-3))


def test_a_good_rate_is_found_for_a_network_that_learns():
    _, found = drained(find_rate(tiny.network(), tiny.TASK, tiny.batches(48, batch_size=12), Recipe(batch_size=12)))
    assert 1e-3 < found.steepest < 3
    assert 1e-3 < found.tenth < 1


def test_what_falls_by_chance_at_rates_that_change_nothing_is_not_the_steepest():
    losses = [2.9, 2.1, 2.3, 2.3, 2.3, 2.3, 2.3, 2.3, 2.3, 2.3, 2.3, 2.3, 2.0, 1.5, 1.2, 1.1, 1.3, 2.0, 4.0, 9.0]
    steepest, _ = suggestions(curve(losses))
    assert steepest == pytest.approx(10.0 ** (12 - 6))
