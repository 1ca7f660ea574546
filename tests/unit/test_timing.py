import functools

import pytest
import ranked_work
import tiny
import torch
from finished import network as network_of_20_layers
from finished import plan_of
from ranked import on_ranks

from plusx import timing
from plusx.device import Device
from plusx.errors import DataError
from plusx.training.recipe import Recipe
from plusx.training.step import Diverged

LONG = (plan_of(epochs=1000, batch_size=4), tiny.network(), tiny.batches(), Device(), 9.0)
"""A training that takes hours, as `compilation_pays` is told of it."""


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


@pytest.mark.parametrize(
    ("error", "why"),
    [
        ("Failed to find a C++ compiler\nand more", "RuntimeError: Failed to find a C++ compiler"),
        ("[enforce fail] can't allocate memory", "its step, which is not divided, needs more memory than there is"),
    ],
)
def test_where_compiling_fails_training_is_not_compiled(monkeypatch, error, why):
    def fails(network):
        raise RuntimeError(error)

    monkeypatch.setattr(timing, "compiled", fails)
    monkeypatch.setattr(timing, "train", lambda *_: pytest.fail("a step was timed"))
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert timing.compilation_pays(*LONG) == (
        False,
        9.0,
        f"torch.compile does not work here ({why}): training is not compiled",
    )
    assert torch.equal(torch.rand(2), expected)


def test_an_error_with_a_sentence_of_its_own_is_not_one_of_the_compiler(monkeypatch):
    def unreadable(*_):
        raise DataError("'003' cannot be read")

    monkeypatch.setattr(LONG[2], "epoch", unreadable)
    with pytest.raises(DataError):
        timing.compilation_pays(*LONG)


@pytest.mark.parametrize("failing", [0, 1])
def test_where_compiling_fails_on_one_rank_all_agree_not_to_compile(failing):
    """Ranks that compute a step meanwhile would take what the failed one says next for an answer to what they ask."""
    said = "(RuntimeError: Failed to find a C++ compiler): training is not compiled"
    decided = (False, 9.0, f"torch.compile does not work on rank {failing} {said}")
    assert on_ranks(2, ranked_work.judged, failing) == [decided, decided]


def test_the_whole_of_what_is_timed_and_trained_is_compiled_once(monkeypatch):
    graphs = []

    def backend(graph, given):
        graphs.append(len(given))
        return graph

    torch.compiler.reset()  # what was compiled of other networks counts
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    plan, _, batches, *rest = LONG
    network = tiny.network().eval()  # a step trains it in whatever mode it was left
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pays, seconds, said = timing.compilation_pays(plan, network, batches, *rest)
    assert (pays, seconds < 1) == (True, True)
    assert said.startswith("compiling takes ")
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(one.grad is None for one in network.parameters())
    made = tiny.network(seed=1)
    next(timing.train(made, tiny.TASK, batches, Recipe(batch_size=4), device=Device(compiled=True)))
    assert len(graphs) == 1


@pytest.mark.parametrize(
    ("device", "own", "batch_size", "tried"),
    [
        (Device(precision="bfloat16"), True, 16, False),
        (Device(precision="bfloat16"), True, 15, True),
        (Device(precision="bfloat16"), False, 16, True),
        (Device(precision="float32"), True, 16, True),
        (Device("cuda", precision="bfloat16"), True, 16, True),
    ],
)
def test_compiling_is_not_tried_where_convolutions_are_plusx_s_own(monkeypatch, device, own, batch_size, tried):
    seen = []
    monkeypatch.setattr(timing.library, "convolves", lambda: own)
    monkeypatch.setattr(timing, "_compiled_once", lambda *_: (seen.append("tried"), (1.0, "no"))[1])
    plan = plan_of(epochs=1000, batch_size=batch_size)
    pays, seconds, said = timing.compilation_pays(plan, *LONG[1:3], device, 9.0)
    assert (pays, seconds, bool(seen)) == (False, 9.0, tried)
    own_words = "plusx's own convolutions are faster than compiled code (--compile on compiles nevertheless)"
    assert said == f"{'no' if tried else own_words}: training is not compiled"


def test_nor_where_norms_wait_for_other_ranks(monkeypatch):
    monkeypatch.setattr(timing.together, "norms_wait", lambda network: True)
    monkeypatch.setattr(timing, "_compiled_once", lambda *_: pytest.fail("compiling was tried"))
    said = "compiled code would stop at every synchronized norm: training is not compiled"
    assert timing.compilation_pays(*LONG) == (False, 9.0, said)


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


def test_the_deeper_the_network_the_longer_is_training_that_is_worth_a_trial(monkeypatch):
    monkeypatch.setattr(timing, "_compiled_once", lambda *_: (1.0, "tried"))
    deep = network_of_20_layers()
    assert len([one for one in deep.modules() if isinstance(one, (torch.nn.Conv2d, torch.nn.Linear))]) == 20
    monkeypatch.setattr(timing, "WORTH_TRYING", 599.0)
    for seconds, said in ((0.599, ""), (0.601, "tried: training is not compiled")):
        assert timing.compilation_pays(LONG[0], deep, *LONG[2:4], seconds) == (False, seconds, said)


@pytest.mark.parametrize(("step", "pays"), [(0.01, True), (0.5, False)])
def test_long_training_is_compiled_where_that_is_measured_to_pay(monkeypatch, step, pays):
    seen = []

    def seconds(*given):
        seen.append(given[3].compiled)
        return [2 * step, step, step]

    monkeypatch.setattr(timing, "_compiled_once", lambda *_: (40.0, ""))
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
