import dataclasses
import math

import pytest
import tiny
import torch
from timm.loss import BinaryCrossEntropy

from plusx.errors import DataError, UsageError
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone
from plusx.tasks import TASKS
from plusx.tasks.classification import Classification, ClassificationHead
from plusx.tasks.task import Taught


def test_the_head_is_the_mean_of_the_last_feature_map_and_one_linear_layer():
    network = tiny.network()
    features = [torch.randn(2, 4, 5, 7), torch.randn(2, 8, 3, 2)]
    expected = features[-1].mean((2, 3)) @ network.head.linear.weight.T + network.head.linear.bias
    torch.testing.assert_close(network.head(features), expected)
    assert network.head(features).shape == (2, 3)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_the_head_pools_as_it_is_told_in_any_number_of_axes(pooling, dims):
    head = ClassificationHead(4, 3, pooling)
    features = [torch.zeros(1), torch.randn(2, 4, *(5, 3, 2)[:dims])]
    axes = tuple(range(2, 2 + dims))
    pooled = features[-1].mean(axes) if pooling == "mean" else features[-1].amax(axes)
    torch.testing.assert_close(head(features), pooled @ head.linear.weight.T + head.linear.bias)


def test_a_backbones_head_pools_as_its_architecture_says():
    for name in ("resnet9", "resnet20"):
        with torch.device("meta"):
            backbone = Backbone(ARCHITECTURES[name])
            assert tiny.TASK.head(backbone).pooling == ARCHITECTURES[name].pooling
    assert ARCHITECTURES["resnet9"].pooling == "max"


def test_the_loss_is_the_mean_cross_entropy_in_nats():
    outputs = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    losses = tiny.TASK.losses(outputs, torch.tensor([0, 1]))
    assert list(losses) == ["cross_entropy"]
    assert losses["cross_entropy"].item() == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2)


def test_label_smoothing_spreads_its_share_over_all_classes():
    task = Classification(("a", "b", "c", "d"), label_smoothing=0.2)
    logs = torch.log(torch.tensor([[0.7, 0.1, 0.15, 0.05]]))
    target = torch.tensor([0.85, 0.05, 0.05, 0.05])
    loss = task.losses(logs, torch.tensor([0]))["cross_entropy"]
    assert loss.item() == pytest.approx(-(target * logs[0]).sum().item())


def test_the_loss_is_computed_in_float32_whatever_the_network_gives():
    outputs = torch.tensor([[8.0, -8.0, 0.03]], dtype=torch.bfloat16)
    loss = tiny.TASK.losses(outputs, torch.tensor([0]))["cross_entropy"]
    assert loss.dtype is torch.float32
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-16) + math.exp(float(outputs[0, 2]) - 8)), rel=1e-3)


def test_the_followed_measure_is_the_share_of_right_answers():
    outputs = torch.tensor([[3.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 5.0, 1.0], [1.0, 0.0, 0.0]], requires_grad=True)
    accuracy = tiny.TASK.measures(outputs, torch.tensor([0, 1, 1, 0]))["accuracy"]
    assert accuracy.item() == 0.75
    assert not accuracy.requires_grad


def test_decoding_names_the_most_probable_class_and_the_probability_of_all():
    outputs = torch.log(torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])) + 7
    first, second = tiny.TASK.decode(outputs)
    assert (first.class_name, second.class_name) == ("low", "上")
    assert first.probability == pytest.approx(0.5)
    assert list(first.probabilities) == list(tiny.CLASSES)
    assert sum(second.probabilities.values()) == pytest.approx(1)
    assert second.probabilities["middle"] == pytest.approx(0.3)


def test_probabilities_survive_huge_outputs():
    rows = tiny.TASK.probabilities(torch.tensor([[1000.0, 0.0, -1000.0]], dtype=torch.bfloat16))
    assert rows.dtype is torch.float32
    assert rows.tolist() == [[1.0, 0.0, 0.0]]


def test_of_equally_probable_classes_the_first_is_named():
    assert tiny.TASK.decode(torch.zeros(1, 3))[0].class_name == "上"


def test_targets_become_one_tensor():
    collated = tiny.TASK.collate([2, 0, 1])
    assert collated.dtype is torch.int64
    assert collated.tolist() == [2, 0, 1]


def test_decode_of_no_samples_is_empty():
    assert tiny.TASK.decode(torch.zeros(0, 3)) == []


@pytest.mark.parametrize(
    ("classes", "words"), [((), "there are no classes"), (("cat",), "there is only one class, 'cat'; .* at least two")]
)
def test_fewer_than_two_classes_are_refused(classes, words):
    with pytest.raises(DataError, match=words):
        Classification(classes)


@pytest.mark.parametrize("share", [-0.1, 1.0, math.nan])
def test_label_smoothing_is_a_share(share):
    with pytest.raises(UsageError, match="label_smoothing"):
        Classification(("a", "b"), label_smoothing=share)


def test_every_task_is_found_under_its_kind():
    assert all(task.kind == name for name, task in TASKS.items())


FOUR = ("a", "b", "c", "d")


@pytest.mark.parametrize("threshold", [0.0, 0.2])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_is_timms(smoothing, threshold):
    task = Classification(FOUR, label_smoothing=smoothing, loss="binary_cross_entropy", binary_threshold=threshold)
    outputs, targets = torch.randn(6, 4), torch.tensor([0, 3, 1, 2, 2, 0])
    theirs = BinaryCrossEntropy(smoothing=smoothing, target_threshold=threshold or None)
    losses = task.losses(outputs, targets)
    assert list(losses) == ["binary_cross_entropy"]
    torch.testing.assert_close(losses["binary_cross_entropy"], theirs(outputs, targets))


def test_binary_cross_entropy_of_blended_targets_counts_what_is_above_the_threshold_as_there():
    """timm smooths the targets before it blends them, so that with both the order plays no part: it is linear."""
    outputs = torch.randn(2, 4)
    shares = torch.tensor([[0.7, 0.3, 0.0, 0.0], [0.0, 0.9, 0.1, 0.0]])
    soft = Classification(FOUR, loss="binary_cross_entropy").losses(outputs, shares)
    hard = Classification(FOUR, loss="binary_cross_entropy", binary_threshold=0.2).losses(outputs, shares)
    torch.testing.assert_close(soft["binary_cross_entropy"], BinaryCrossEntropy(smoothing=0.0)(outputs, shares))
    there = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    sure, odds = outputs.sigmoid().log(), (-outputs).sigmoid().log()
    torch.testing.assert_close(hard["binary_cross_entropy"], -(there * sure + (1 - there) * odds).mean())


def test_smoothing_and_blending_give_the_same_in_either_order():
    """torch smooths within its cross-entropy; what is blended from smoothed targets is the same."""
    task = Classification(FOUR, label_smoothing=0.1)
    outputs, one, other = torch.randn(3, 4), torch.tensor([0, 1, 2]), torch.tensor([3, 1, 0])
    blended = task.blended(one, other, 0.3)
    smooth = 0.9 * torch.lerp(torch.eye(4)[other], torch.eye(4)[one], 0.3) + 0.1 / 4
    expected = -(smooth * outputs.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(task.losses(outputs, blended)["cross_entropy"], expected)


def test_blended_targets_are_shares_of_the_classes():
    task = Classification(FOUR)
    once = task.blended(torch.tensor([0, 1]), torch.tensor([2, 1]), 0.75)
    torch.testing.assert_close(once, torch.tensor([[0.75, 0.0, 0.25, 0.0], [0.0, 1.0, 0.0, 0.0]]))
    twice = task.blended(once, torch.tensor([3, 3]), 0.5)
    torch.testing.assert_close(twice[0], torch.tensor([0.375, 0.0, 0.125, 0.5]))


def test_of_blended_targets_the_larger_share_is_what_is_right():
    shares = torch.tensor([[0.4, 0.6, 0.0], [0.8, 0.2, 0.0], [0.0, 0.3, 0.7]])
    outputs = torch.tensor([[0.0, 2.0, 1.0], [0.0, 2.0, 1.0], [0.0, 1.0, 2.0]])
    assert tiny.TASK.measures(outputs, shares)["accuracy"].item() == pytest.approx(2 / 3)
    taught = Taught(shares, torch.zeros(3, 3))
    assert tiny.TASK.measures(outputs, taught)["accuracy"].item() == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "binary"}, "binary_cross_entropy"),
        ({"binary_threshold": 1.0}, "binary_threshold is 1.0"),
        ({"teacher_share": 0.0}, "teacher_share is 0.0, but must be above 0"),
        ({"teacher_share": 1.1}, "teacher_share"),
        ({"teacher_temperature": 0.0}, "teacher_temperature is 0.0, but must be above 0"),
    ],
)
def test_every_field_of_a_classification_is_checked(changes, words):
    with pytest.raises(UsageError, match=words):
        Classification(FOUR, **changes)


def test_the_logits_are_scaled_as_the_architecture_says():
    plain = tiny.network()
    scaled = tiny.network(architecture=dataclasses.replace(tiny.ARCHITECTURE, output_scale=0.125))
    images = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(scaled.eval()(images), plain.eval()(images) / 8)
    with pytest.raises(UsageError, match="output_scale is 0"):
        dataclasses.replace(tiny.ARCHITECTURE, output_scale=0.0)
