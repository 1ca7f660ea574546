import pytest
import tiny
import torch
from finished import plan_of

from plusx import timing
from plusx.device import Device
from plusx.training.step import Diverged


def test_measuring_the_speed_leaves_no_trace():
    made = tiny.network(dropout=0.5)
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    seconds = timing.seconds_per_epoch(plan_of(), made, tiny.batches(), Device())
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(before[name], tensor) for name, tensor in made.state_dict().items())
    assert made.training
    assert all(one.grad is None for one in made.parameters())
    assert 0 < seconds < 30


def test_measuring_the_speed_takes_few_steps(monkeypatch):
    steps = []
    real = timing.train

    def counted(*given):
        for progress in real(*given):
            steps.append(progress.step)
            yield progress

    monkeypatch.setattr(timing, "train", counted)
    timing.seconds_per_epoch(plan_of(), tiny.network(), tiny.batches(40, batch_size=2), Device())
    assert steps == [1, 2, 3]
    steps.clear()
    timing.seconds_per_epoch(plan_of(), tiny.network(), tiny.batches(4, batch_size=2), Device())
    assert steps == [1, 2]


def test_a_rate_that_diverges_at_once_is_told_before_the_run_begins():
    made = tiny.network()
    torch.nn.init.constant_(made.head.linear.weight, float("nan"))
    with pytest.raises(Diverged):
        timing.seconds_per_epoch(plan_of(), made, tiny.batches(), Device())


def test_where_compiling_fails_training_is_not_compiled(monkeypatch):
    def fails(network):
        raise RuntimeError("Failed to find a C++ compiler\nand more")

    monkeypatch.setattr("plusx.training.loop.compiled", fails)
    given = (plan_of(epochs=1000), tiny.network(), tiny.batches(), Device(), 9.0)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert timing.compilation_pays(*given) == (
        False,
        9.0,
        "torch.compile does not work here (RuntimeError: Failed to find a C++ compiler): training is not compiled",
    )
    assert torch.equal(torch.rand(2), expected)


def test_a_limit_on_the_steps_makes_training_short(monkeypatch):
    monkeypatch.setattr(timing, "_seconds", lambda *_: pytest.fail("a step was made"))
    batches = tiny.batches(12, batch_size=4)
    assert timing.epochs_of(plan_of(epochs=1000, steps=6).recipe, batches) == 2
    timing.compilation_pays(plan_of(epochs=1000, steps=6), tiny.network(), batches, Device(), 9.0)


def test_short_training_is_not_compiled_and_nothing_is_tried(monkeypatch):
    monkeypatch.setattr(timing, "train", lambda *_: pytest.fail("a step was made"))
    assert timing.compilation_pays(plan_of(epochs=10), tiny.network(), tiny.batches(), Device(), 59.0) == (
        False, 59.0, "",
    )  # fmt: skip


@pytest.mark.parametrize(("step", "pays"), [(0.01, True), (0.5, False)])
def test_long_training_is_compiled_where_that_is_measured_to_pay(monkeypatch, step, pays):
    seen = []

    def seconds(*given):
        seen.append(given[3].compiled)
        return [40.0, step, step]

    monkeypatch.setattr(timing, "_seconds", seconds)
    batches = tiny.batches(12, batch_size=4)
    answer, seconds, said = timing.compilation_pays(plan_of(epochs=1000), tiny.network(), batches, Device(), 0.9)
    assert (answer, seen) == (pays, [True])
    assert seconds == pytest.approx(3 * step if pays else 0.9)
    assert said == (
        "compiling takes 40 s and makes a step 30.00 times as fast: training is compiled"
        if pays
        else "compiling takes 40 s and makes a step 0.60 times as fast: training is not compiled"
    )


def test_a_teacher_takes_its_time_too():
    asked = []

    def teach(images, targets):
        asked.append(len(images))
        return targets

    timing.seconds_per_epoch(plan_of(), tiny.network(), tiny.batches(40, batch_size=2), Device(), teach)
    assert asked == [2] * timing.TIMED_STEPS
