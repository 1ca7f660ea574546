"""Steps that meet too little memory, or numbers that are not finite: the memory and the numbers are simulated here."""

import subprocess
import sys
import textwrap

import pytest
import tiny
import torch

from plusx.device import Device
from plusx.tensor_file import read_tensors, write_tensors
from plusx.training.loop import train
from plusx.training.progress import Progress
from plusx.training.recipe import Recipe
from plusx.training.step import MOST_ROLLBACKS, MOST_SKIPPED_IN_ROW, Diverged, TooLarge, part_places

CPU_WORDS = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to ..."
NORMED = tiny.ARCHITECTURE
WITHOUT_NORM = tiny.Architecture(
    "tiny", "no paper", "small", "basic", (1, 1), (4, 8), "projection", channels_in=1, image_size=8, norm="none"
)


def state_of(progress):
    """All that a later step depends on."""
    values, tensors = progress.state_dict()
    kept = {name: values[name] for name in ("epoch", "step", "step_in_epoch", "samples", "micro_batches")}
    return kept, {name: tensor.clone() for name, tensor in tensors.items()}


def differing(first, second):
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def limited(progress, largest, error, *, late=False):
    """Make the memory not enough for more than `largest` images, at the first layer or only in the backward pass."""

    def refuse(module, given, out):
        if len(out) > largest and torch.is_grad_enabled():
            raise error

    def refuse_gradient(module, given, out):
        if len(given[0]) > largest and out.requires_grad:
            out.register_hook(lambda gradient: (_ for _ in ()).throw(error))

    if late:
        progress.network.backbone.stem.register_forward_hook(refuse_gradient)
    else:
        progress.network.head.register_forward_hook(refuse)  # by then norms have moved and dropout has drawn


def trained(progress, recipe, batches, steps=None):
    for _ in train(progress.network, tiny.TASK, batches, recipe, progress):
        if progress.epoch_ended and not progress.recorded:
            progress.record({"accuracy": 0.5})
        if progress.step == steps:
            break
    return progress


def new(recipe, architecture=NORMED, dropout=0.3, seed=0):
    return Progress(tiny.network(seed=seed, dropout=dropout, architecture=architecture), recipe)


MIXING = Recipe(epochs=2, batch_size=8, learning_rate=0.05, mixup=0.4, cutmix=1.0, average_decay=0.9, lookahead_steps=2)


@pytest.mark.parametrize("late", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried"), RuntimeError(CPU_WORDS)])
def test_a_failed_attempt_leaves_no_trace(error, late):
    """The run equals, bit for bit, one that began with the micro-batches that the memory allowed."""
    batches = tiny.batches(20, batch_size=8, input=tiny.AUGMENTED)
    met = new(MIXING)
    limited(met, 2, error, late=late)
    trained(met, MIXING, batches)
    known = new(MIXING)
    known.micro_batches = 4
    trained(known, MIXING, batches)
    (values, tensors), (expected, wanted) = state_of(met), state_of(known)
    assert values == expected
    assert differing(tensors, wanted) == []
    assert [one.split(":")[0] for one in met.incidents] == ["step 1", "step 1"]
    assert "each batch is computed in 4 parts from now on; batch normalization uses" in met.incidents[1]


def test_memory_that_lacks_in_the_middle_changes_what_follows_only():
    batches = tiny.batches(20, batch_size=8)
    recipe = Recipe(epochs=2, batch_size=8, learning_rate=0.05)
    met, known = new(recipe), new(recipe)
    trained(met, recipe, batches, steps=4)
    trained(known, recipe, batches, steps=4)
    limited(met, 4, torch.OutOfMemoryError("out of memory"))
    known.micro_batches = 2
    trained(met, recipe, batches)
    trained(known, recipe, batches)
    assert differing(state_of(met)[1], state_of(known)[1]) == []
    assert len(met.incidents) == 1
    assert met.incidents[0].startswith("step 5:")


def gradient(micro_batches, architecture, count=10):
    recipe = Recipe(epochs=1, batch_size=count, learning_rate=1.0, momentum=0.0, weight_decay=0.0, schedule="constant")
    progress = new(recipe, architecture, dropout=0.0)
    progress.network.double()
    progress.micro_batches = micro_batches
    before = torch.cat([one.detach().flatten().clone() for one in progress.network.parameters()])
    batches = tiny.batches(count, batch_size=count)
    for batch in batches.epoch():
        assert batch.images.shape[0] == count
    progress.network.register_forward_pre_hook(lambda module, given: (given[0].double(),))
    trained(progress, recipe, batches)
    after = torch.cat([one.detach().flatten() for one in progress.network.parameters()])
    return before - after, progress.history[0]["train_loss"]


def test_without_batch_norm_the_mean_gradient_is_that_of_the_whole_batch():
    """In parts of unequal size too: ten samples in four parts."""
    whole, loss = gradient(1, WITHOUT_NORM)
    parts, loss_of_parts = gradient(4, WITHOUT_NORM)
    assert whole.norm() > 0.01
    torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-8)  # the loss itself is computed in float32
    assert loss_of_parts == pytest.approx(loss, rel=1e-6)


def test_with_batch_norm_the_statistics_are_those_of_the_parts():
    whole, _ = gradient(1, NORMED)
    parts, _ = gradient(4, NORMED)
    assert not torch.allclose(parts, whole, rtol=1e-3)


def test_a_step_that_no_part_makes_small_enough_is_an_error_and_changes_nothing():
    recipe = Recipe(epochs=1, batch_size=8)
    progress = new(recipe)
    limited(progress, 1, RuntimeError(CPU_WORDS))
    before = {name: one.clone() for name, one in progress.network.state_dict().items()}
    with pytest.raises(TooLarge, match=r"even in parts of 2 images .*can't allocate.*use a smaller --batch-size"):
        trained(progress, recipe, tiny.batches(8, batch_size=8))
    assert differing(before, progress.network.state_dict()) == []
    assert progress.step == 0
    assert all(one.grad is None for one in progress.network.parameters())


def test_an_optimizer_that_lacks_memory_stops_with_a_sentence(monkeypatch):
    progress = new(Recipe(epochs=1, batch_size=4))

    def lacking(*_):
        raise RuntimeError(CPU_WORDS)

    monkeypatch.setattr(progress.optimizer, "step", lacking)
    with pytest.raises(TooLarge, match=r"for the optimizer's own numbers \(.*\), however few images .*; use a smaller"):
        trained(progress, progress.recipe, tiny.batches(8, batch_size=4))
    assert progress.step == 0


def test_other_errors_are_not_taken_for_lack_of_memory():
    progress = new(Recipe(batch_size=8))
    limited(progress, 1, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        trained(progress, Recipe(batch_size=8), tiny.batches(8, batch_size=8))
    assert progress.micro_batches == 1


@pytest.mark.parametrize(
    ("samples", "parts", "sizes"),
    [(8, 1, [8]), (8, 4, [2] * 4), (13, 4, [3, 3, 3, 4]), (9, 4, [2, 2, 2, 3]), (5, 8, [2, 3]), (2, 4, [2])],
)
def test_parts_hold_two_samples_at_least_and_all_of_them_once(samples, parts, sizes):
    places = part_places(samples, parts)
    assert [len(range(samples)[place]) for place in places] == sizes
    assert [one for place in places for one in range(samples)[place]] == list(range(samples))


def test_the_compiled_network_answers_whole_batches_only():
    """Each new size would be compiled anew."""
    sizes = {"whole": [], "own": []}
    recipe = Recipe(epochs=1, batch_size=4)
    progress = new(recipe)

    def compiled(network):
        def answer(images):
            sizes["whole"].append(len(images))
            return network(images)

        return answer

    progress.network.register_forward_pre_hook(lambda module, given: sizes["own"].append(len(given[0])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plusx.training.loop.compiled", compiled)
        device = Device(compiled=True)
        for _ in train(progress.network, tiny.TASK, tiny.batches(11, batch_size=4), recipe, progress, device):
            pass
    assert sizes == {"whole": [4, 4], "own": [4, 4, 3]}


# What is not finite: the outputs become NaN in chosen steps, before anything else of the step is known.


def poisoned(progress, steps):
    """Make the outputs NaN in these steps, counted from 0 over all attempts; norms have moved by then."""
    tries = iter(range(1_000_000))
    progress.network.head.register_forward_hook(
        lambda module, given, out: out * float("nan") if module.training and next(tries) in steps else out
    )


def policy(**changes):
    return Recipe(**{"epochs": 2, "batch_size": 4, "learning_rate": 0.05, "average_decay": 0.9} | changes)


def test_a_step_that_is_skipped_changes_nothing_but_its_number():
    recipe = policy(not_finite="skip", lookahead_steps=2)
    progress = new(recipe)
    poisoned(progress, {2})
    batches = tiny.batches(20, batch_size=4)
    states = []
    for _ in train(progress.network, tiny.TASK, batches, recipe, progress):
        states.append(state_of(progress))
        if progress.step == 4:
            break
    (before, tensors), (after, same) = states[1], states[2]
    assert differing(tensors, same) == []
    assert (before["step"], after["step"], after["step_in_epoch"]) == (2, 3, 3)
    assert before["samples"] == after["samples"] == 8
    assert (progress.skipped, progress.skipped_in_row) == (1, 0)
    (incident,) = progress.incidents
    assert incident.startswith("the loss became nan and the gradients' norm nan in step 3 (epoch 1)")
    assert incident.endswith("the step is left out")
    assert differing(states[2][1], states[3][1]) != []


@pytest.mark.parametrize("skipped", [{0}, {4}, {0, 1, 2, 3, 4}])
def test_an_epoch_of_which_steps_were_skipped_ends_like_any_other(skipped):
    recipe = policy(not_finite="skip")
    progress = new(recipe)
    poisoned(progress, skipped)
    trained(progress, recipe, tiny.batches(20, batch_size=4))
    assert [row["step"] for row in progress.history] == [5, 10]
    assert ("train_loss" in progress.history[0]) is (len(skipped) < 5)
    assert progress.skipped == len(skipped)


def test_too_many_skipped_in_a_row_stop_the_training():
    recipe = policy(not_finite="skip", epochs=9)
    progress = new(recipe)
    poisoned(progress, set(range(3, 100)))
    words = rf"{MOST_SKIPPED_IN_ROW + 1} of 14 steps were not finite, the last {MOST_SKIPPED_IN_ROW + 1} in a row"
    with pytest.raises(Diverged, match=words):
        trained(progress, recipe, tiny.batches(20, batch_size=4))
    assert len(progress.incidents) == MOST_SKIPPED_IN_ROW


def test_too_many_skipped_altogether_stop_the_training():
    recipe = policy(not_finite="skip", epochs=20)
    progress = new(recipe)
    poisoned(progress, set(range(0, 100, 2)))
    with pytest.raises(Diverged, match="11 of 21 steps were not finite, the last 1 in a row"):
        trained(progress, recipe, tiny.batches(20, batch_size=4))


def test_rollback_returns_to_the_beginning_of_the_epoch_at_half_the_rate():
    recipe = policy(not_finite="rollback", schedule="constant", lookahead_steps=3)
    batches = tiny.batches(20, batch_size=4, input=tiny.AUGMENTED)
    progress, other = new(recipe), new(recipe)
    poisoned(progress, {7})  # the third step of the second epoch
    seen = []
    for _ in train(progress.network, tiny.TASK, batches, recipe, progress):
        seen.append((progress.step, progress.optimizer.param_groups[0]["lr"]))
        if progress.epoch_ended:
            progress.record({"accuracy": 0.5})
    assert seen == [(step, 0.05) for step in range(1, 8)] + [(step, 0.025) for step in range(6, 11)]
    assert (progress.rollbacks, progress.skipped) == (1, 0)
    assert progress.incidents[0].endswith(
        "back to the beginning of epoch 2, from now on at 0.5 times the learning rate"
    )
    assert [row["epoch"] for row in progress.history] == [1, 2]
    # The same bits as a run that took the lower rate from there on, of itself.
    trained(other, recipe, batches, steps=5)
    other.rollbacks = 1
    trained(other, recipe, batches)
    assert differing(state_of(progress)[1], state_of(other)[1]) == []


def test_rollback_in_the_first_epoch_does_not_end_it():
    recipe = policy(not_finite="rollback")
    progress = new(recipe)
    poisoned(progress, {2})
    trained(progress, recipe, tiny.batches(20, batch_size=4))
    assert [row["step"] for row in progress.history] == [5, 10]
    assert progress.rollbacks == 1


def test_rollback_gives_up_after_some_times():
    recipe = policy(not_finite="rollback")
    progress = new(recipe)
    poisoned(progress, set(range(2, 100)))
    with pytest.raises(Diverged, match=f"after going back {MOST_ROLLBACKS} times; use a lower --learning-rate"):
        trained(progress, recipe, tiny.batches(20, batch_size=4))
    assert progress.rollbacks == MOST_ROLLBACKS


def test_stopping_names_the_way_out():
    recipe = policy(not_finite="stop")
    progress = new(recipe)
    trained(progress, recipe, tiny.batches(20, batch_size=4), steps=2)
    before = state_of(progress)[1]
    poisoned(progress, {0})
    with pytest.raises(Diverged, match=r"in step 3 .*use a lower --learning-rate.*--not-finite skip or rollback"):
        trained(progress, recipe, tiny.batches(20, batch_size=4))
    assert differing(before, state_of(progress)[1]) == []


def test_images_that_are_not_finite_are_named():
    recipe = policy(not_finite="skip", epochs=1)
    progress = new(recipe)

    def spoil(module, given):
        if progress.step == 1:
            given[0].fill_(float("inf"))

    progress.network.register_forward_pre_hook(spoil)
    trained(progress, recipe, tiny.batches(20, batch_size=4))
    assert progress.incidents[0].startswith("images that are not finite numbers came in step 2")


@pytest.mark.parametrize("kind", ["skip", "rollback"])
@pytest.mark.parametrize("stop_at", [6, 7, 8, 9])
def test_a_run_stopped_around_an_incident_ends_with_the_same_bits(tmp_path, kind, stop_at):
    """Poison depends on the data here, as it does in life: a resumed run meets it where the unbroken one did."""
    recipe = policy(not_finite=kind, lookahead_steps=2, epochs=3)
    batches = tiny.batches(20, batch_size=4, input=tiny.AUGMENTED)

    def poison_seventh(progress):
        progress.network.head.register_forward_hook(
            lambda module, given, out: (
                out * float("nan") if module.training and progress.step == 7 and not progress.rollbacks else out
            )
        )
        return progress

    unbroken = trained(poison_seventh(new(recipe)), recipe, batches)
    stopped = poison_seventh(new(recipe))
    for count, _ in enumerate(train(stopped.network, tiny.TASK, batches, recipe, stopped), start=1):
        if stopped.epoch_ended:
            stopped.record({"accuracy": 0.5})
        if count == stop_at:
            break
    write_tensors(tmp_path / "state", "state", *stopped.state_dict())
    resumed = poison_seventh(new(recipe, seed=1))
    resumed.load_state_dict(*read_tensors(tmp_path / "state", "state"))
    trained(resumed, recipe, batches)
    assert len(unbroken.incidents) == 1
    assert resumed.incidents == unbroken.incidents
    assert (resumed.skipped, resumed.rollbacks) == (unbroken.skipped, unbroken.rollbacks)
    assert differing(state_of(resumed)[1], state_of(unbroken)[1]) == []


def test_micro_batches_are_kept_with_the_state(tmp_path):
    recipe = Recipe(epochs=2, batch_size=8, learning_rate=0.05)
    batches = tiny.batches(20, batch_size=8)
    unbroken, stopped = new(recipe), new(recipe)
    for progress in (unbroken, stopped):
        limited(progress, 4, torch.OutOfMemoryError("out of memory"))
    trained(unbroken, recipe, batches)
    trained(stopped, recipe, batches, steps=2)
    write_tensors(tmp_path / "state", "state", *stopped.state_dict())
    resumed = new(recipe, seed=1)
    resumed.load_state_dict(*read_tensors(tmp_path / "state", "state"))
    trained(resumed, recipe, batches)
    assert differing(state_of(resumed)[1], state_of(unbroken)[1]) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on a process's data is the kernel's")
def test_a_process_with_too_little_memory_trains_in_parts():
    """The allocator's own error, on a machine that has less than the whole batch needs."""
    script = textwrap.dedent(
        """
        import numpy as np, torch
        from plusx import memory
        from plusx.data import Sample
        from plusx.data.batches import Batches
        from plusx.inputs.image import ImageInput
        from plusx.network.architecture import Architecture
        from plusx.network.backbone import Backbone, Network
        from plusx.tasks.classification import Classification
        from plusx.training.loop import train
        from plusx.training.progress import Progress
        from plusx.training.recipe import Recipe
        torch.set_num_threads(1)
        task, recipe = Classification(("a", "b")), Recipe(epochs=1, batch_size=64)
        bars = Architecture("bars", "none", "small", "basic", (1,), (32,), "zero_pad", channels_in=1)
        network = Network(backbone := Backbone(bars), task.head(backbone))
        samples = [Sample(str(n), np.full((64, 64), n, np.uint8), n % 2) for n in range(64)]
        options = {"batch_size": 64, "collate": task.collate, "training": True}
        batches = Batches(samples, ImageInput(64, 64, 1, (0.4,), (0.3,)), **options)
        network(torch.zeros(2, 1, 64, 64)).sum().backward()
        network.zero_grad()
        memory.available = lambda: 160 * 2**20
        progress = Progress(network, recipe)
        with memory.bounded():
            for _ in train(network, task, batches, recipe, progress):
                pass
        print(progress.micro_batches, progress.step)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-600:]
    parts, steps = map(int, done.stdout.split())
    assert parts > 1
    assert steps == 1
