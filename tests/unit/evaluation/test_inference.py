import dataclasses

import numpy as np
import pytest
import tiny
import torch

from plusx.data import Sample
from plusx.data.batches import Batches
from plusx.device import Device
from plusx.evaluation.evaluate import UNKNOWN, Predictions
from plusx.evaluation.inference import exact_float32, outputs_of, predict, quick_scores
from plusx.events import Advanced, result_of


def answers(network, *, batch_size=4, count=10, device=None, samples=None):
    batches = Batches(
        samples or tiny.samples(count), tiny.INPUT, batch_size=batch_size, collate=tiny.TASK.collate, training=False
    )
    return result_of(predict(network, tiny.TASK, batches, device or Device()))


def test_rows_are_the_networks_probabilities_in_the_order_of_the_samples():
    network = tiny.checkpoint().network()
    found = answers(network)
    images = torch.stack([tiny.INPUT.prepare(tiny.INPUT.read(sample.source)) for sample in tiny.samples(10)])
    expected = network(images).softmax(1).detach().numpy()
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert found.names == tuple(f"{place:03}" for place in range(10))
    assert found.targets.tolist() == [0, 1, 2] * 3 + [0]
    assert found.classes == tiny.CLASSES
    assert np.ptp(found.probabilities[:, 0]) > 0.01


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_the_batch_size_changes_nothing_but_rounding(batch_size):
    network = tiny.checkpoint().network()
    np.testing.assert_allclose(
        answers(network, batch_size=batch_size).probabilities, answers(network).probabilities, atol=1e-6
    )


@pytest.mark.parametrize("training", [True, False])
def test_the_networks_mode_is_put_back_and_its_statistics_are_not_touched(training):
    network = tiny.checkpoint().network().train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    answers(network)
    assert network.training is training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_the_mode_is_put_back_when_the_work_is_left_in_the_middle():
    network = tiny.network().train()
    work = predict(network, tiny.TASK, tiny.batches(training=False), Device())
    next(work)
    assert not network.training
    work.close()
    assert network.training


def test_answers_are_float32_whatever_precision_trained_the_network():
    network = tiny.checkpoint().network()
    lower = dataclasses.replace(Device(), precision="bfloat16")
    assert np.array_equal(answers(network, device=lower).probabilities, answers(network).probabilities)


def precisions():
    backends = torch.backends
    parts = (backends.cudnn.conv, backends.cuda.matmul, backends.mkldnn.conv, backends.mkldnn.matmul)
    return [part.fp32_precision for part in parts]


@pytest.mark.parametrize("chosen", ["highest", "high", "medium"])
def test_exact_float32_rounds_nothing_and_leaves_what_was_chosen_before(chosen):
    try:
        torch.set_float32_matmul_precision(chosen)
        before = precisions()
        with exact_float32():
            assert precisions() == ["ieee"] * 4
        assert precisions() == before
        with pytest.raises(KeyError), exact_float32():
            raise KeyError
        assert precisions() == before
        assert torch.get_float32_matmul_precision() == chosen
    finally:
        torch.set_float32_matmul_precision("highest")


def test_outputs_are_exact_within_a_programs_own_autocast_and_the_caller_is_left_alone():
    class Seen(torch.nn.Module):
        def forward(self, images):
            assert precisions() == ["ieee"] * 4
            assert not torch.is_autocast_enabled("cpu")
            assert torch.is_inference_mode_enabled()
            return images.flatten(1)[:, :3]

    before = precisions()
    with torch.autocast("cpu", torch.bfloat16):
        assert outputs_of(Seen(), torch.ones(2, 1, 8, 8), Device(precision="bfloat16")).dtype == torch.float32
        list(predict(Seen(), tiny.TASK, tiny.batches(training=False), Device(precision="bfloat16")))
        assert torch.is_autocast_enabled("cpu")
    assert precisions() == before


def test_what_the_memory_does_not_hold_is_answered_in_halves():
    seen = []

    class Small(torch.nn.Module):
        def forward(self, images):
            seen.append(len(images))
            if len(images) > 2:
                raise RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory")
            return images.flatten(1)[:, :3]

    images = torch.arange(5 * 64.0).reshape(5, 1, 8, 8)
    assert torch.equal(outputs_of(Small(), images, Device()), images.flatten(1)[:, :3])
    assert seen == [5, 3, 2, 1, 2]


def test_other_errors_and_a_single_image_too_large_are_told():
    def fails(images):
        raise RuntimeError(words)

    for words, count in (("out of memory", 1), ("expected scalar type", 4)):
        with pytest.raises(RuntimeError, match=words):
            outputs_of(fails, torch.ones(count, 1, 8, 8), Device())


def test_progress_counts_what_is_read_and_then_the_samples():
    batches = tiny.batches(10, training=False)
    work = predict(tiny.network(), tiny.TASK, batches, Device(), "validation")
    reading = [Advanced("reading images", done, 10) for done in range(1, 11)]
    scoring = [Advanced("validation", done, 10) for done in (4, 8, 10)]
    assert list(work) == reading + scoring
    assert list(predict(tiny.network(), tiny.TASK, batches, Device(), "validation")) == scoring


def test_samples_without_a_class_are_answered_and_marked():
    samples = [Sample("one", tiny.pixels(0, 0), None), Sample("two", tiny.pixels(1, 1), 1)]
    assert answers(tiny.network(), samples=samples).targets.tolist() == [UNKNOWN, 1]


def test_no_samples_give_no_rows():
    batches = Batches([], tiny.INPUT, batch_size=4, collate=tiny.TASK.collate, training=False)
    found = result_of(predict(tiny.network(), tiny.TASK, batches, Device()))
    assert found.probabilities.shape == (0, 3)


def test_quick_scores_are_accuracy_and_mean_cross_entropy():
    rows = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.0, 0.0, 1.0]], np.float32)
    scores = quick_scores(Predictions(tuple("abcd"), np.array([0, 2, 2, 2]), rows, tiny.CLASSES))
    assert scores["accuracy"] == 0.75
    assert scores["loss"] == pytest.approx(-np.log([0.5, 0.1, 0.4, 1.0]).mean(), rel=1e-6)


def test_a_class_of_no_probability_costs_much_and_not_infinitely():
    rows = np.array([[1.0, 0.0, 0.0]], np.float32)
    assert 50 < quick_scores(Predictions(("a",), np.array([1]), rows, tiny.CLASSES))["loss"] < 100
