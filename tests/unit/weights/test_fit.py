"""Weights go into a network as far as they are of the same things, and what was changed is said."""

import dataclasses

import pytest
import tiny
import torch

from plusx.errors import CheckpointError
from plusx.inputs.image import ImageInput
from plusx.network.backbone import Backbone, Network
from plusx.tasks.classification import Classification
from plusx.weights.fit import adapted_input, fit, head_for, place_of
from plusx.weights.trained import Weights

CLASSES = ("cat", "dog", "bird")
ARCHITECTURE = dataclasses.replace(tiny.ARCHITECTURE, channels_in=3)


def network(classes=CLASSES, channels_in=3, seed=0, **changes):
    torch.manual_seed(seed)
    backbone = Backbone(dataclasses.replace(ARCHITECTURE, channels_in=channels_in, **changes))
    made = Network(backbone, Classification(tuple(classes)).head(backbone))
    torch.nn.init.normal_(made.head.linear.bias)
    return made.eval()


def weights(classes=CLASSES, **changes):
    made = network(CLASSES if classes is None else classes, seed=1)
    return dataclasses.replace(Weights("w.pth", "a test", made.state_dict(), ARCHITECTURE, classes), **changes)


def test_the_same_classes_take_all():
    target, source = network(), weights()
    assert fit(source, target, CLASSES) == ()
    torch.testing.assert_close(target.state_dict(), dict(source.state), rtol=0, atol=0)


def test_what_is_loaded_is_a_copy():
    target, source = network(), weights()
    fit(source, target, CLASSES)
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.zero_()
    assert source.state["head.linear.weight"].abs().sum() > 0


@pytest.mark.parametrize(("classes", "rows"), [(("bird", "cat", "dog"), [2, 0, 1]), (("dog", "cat"), [1, 0])])
def test_rows_of_the_head_are_taken_by_name(classes, rows):
    target, source = network(classes), weights()
    (note,) = fit(source, target, classes)
    assert note == f"the head's rows for the {len(rows)} classes are taken by name from 3"
    torch.testing.assert_close(target.head.linear.weight, source.state["head.linear.weight"][rows])
    torch.testing.assert_close(target.head.linear.bias, source.state["head.linear.bias"][rows])


@pytest.mark.parametrize(
    ("classes", "known"), [(("ant", "bee"), "none of the 2 classes"), (("cat", "ant", "dog"), "2 of the 3 classes")]
)
def test_other_classes_get_a_new_head(classes, known):
    target = network(classes)
    before = target.head.linear.weight.clone()
    (note,) = fit(weights(), target, classes)
    assert note == f"the head of w.pth has 3 classes and knows {known}; a new one replaces it"
    assert torch.equal(before, target.head.linear.weight)
    torch.testing.assert_close(target.backbone.state_dict(), network(seed=1).backbone.state_dict(), rtol=0, atol=0)


def test_classes_without_names_are_taken_in_order_where_there_are_as_many():
    target, source = network(("a", "b", "c")), weights(None)
    (note,) = fit(source, target, ("a", "b", "c"))
    assert note == "w.pth does not name its classes: its outputs are taken as the 3 classes in their order"
    torch.testing.assert_close(target.head.linear.weight, source.state["head.linear.weight"])
    (note,) = fit(source, network(("a", "b")), ("a", "b"))
    assert note == "the head of w.pth has 3 outputs; a new one for 2 classes replaces it"


def test_weights_without_a_head_leave_the_new_one():
    source = weights()
    source = dataclasses.replace(source, state={k: v for k, v in source.state.items() if k.startswith("backbone.")})
    target = network()
    before = target.head.linear.weight.clone()
    (note,) = fit(source, target, CLASSES)
    assert note == "w.pth has no head; the new one is trained from the start"
    assert torch.equal(before, target.head.linear.weight)


def test_a_head_of_another_form_is_left_and_that_is_said():
    source, target = weights(), network()
    state = {**source.state, "head.linear.weight": torch.ones(3, 5)}
    (note,) = fit(dataclasses.replace(source, state=state), target, CLASSES)
    assert note == "the head of w.pth is not of this form; a new one takes its place"


def test_classes_of_imagenet_are_known_by_id_and_by_name():
    rows = torch.eye(2)
    source = Weights("w", "", {"head.linear.weight": rows}, classes=("tench", "goldfish"))
    head, notes = head_for(source, ("n01443537", "n01440764"))
    assert torch.equal(head["head.linear.weight"], rows.flip(0))
    assert notes == ("the head's rows for the 2 classes are taken by name from 2",)
    assert head_for(source, ("n01440764", "goldfish"))[1] == ()
    assert place_of("Tench", ("goldfish", "n01440764")) == 1
    assert place_of("hen", ("goldfish", "n01440764")) == -1
    assert place_of("mine", ("goldfish", "n01440764")) == -1


def test_a_gray_image_is_answered_as_its_three_copies():
    source, target = weights(), network(channels_in=1)
    (note,) = fit(source, target, CLASSES)
    assert note == (
        "the weights are for images of 3 channels and these have 1: the first convolution takes the sum over its "
        "3 channels"
    )
    gray = torch.randn(2, 1, 8, 8)
    three = network(seed=1)
    with torch.inference_mode():
        torch.testing.assert_close(target(gray), three(gray.expand(-1, 3, -1, -1)))


def test_more_channels_share_the_sum():
    source, target = weights(), network(channels_in=6)
    (note,) = fit(source, target, CLASSES)
    assert note.endswith("takes the sum over its 3 channels, shared evenly among the 6")
    gray = torch.randn(2, 1, 8, 8)
    three = network(seed=1)
    with torch.inference_mode():
        torch.testing.assert_close(target(gray.expand(-1, 6, -1, -1)), three(gray.expand(-1, 3, -1, -1)))


def test_a_preprocessing_follows_the_channels():
    given = ImageInput(8, 8, 3, (0.1, 0.2, 0.6), (0.2, 0.2, 0.5), crop_fraction=0.5)
    assert adapted_input(given, 3) is given
    gray = adapted_input(given, 1)
    assert (gray.channels, gray.crop_fraction) == (1, 0.5)
    assert gray.mean == pytest.approx((0.3,))
    assert adapted_input(given, 5).deviation == pytest.approx((0.3,) * 5)


def test_a_network_that_they_are_of_is_named_first():
    target = network(depths=(1, 2))
    with pytest.raises(CheckpointError) as caught:
        fit(weights(candidates=("resnet18", "resnet20 with shortcut projection")), target, CLASSES)
    assert str(caught.value) == (
        "the weights 'w.pth' are of resnet18 or resnet20 with shortcut projection, not tiny; name resnet18 "
        "(--model resnet18)"
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"widths": (4, 16)},
            r"backbone\.stages\.1\.0\.conv1\.weight is 8x4x3x3, not 16x4x3x3; .* and 7 more; they fit tiny$",
        ),
        ({"depths": (1, 2)}, r"backbone\.stages\.1\.1\.conv1\.weight is missing; .* and \d+ more; they fit tiny$"),
    ],
)
def test_another_backbone_is_refused_and_the_first_differences_named(changes, why):
    target = network(**changes)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(CheckpointError, match=rf"the weights 'w\.pth' do not fit tiny: {why}"):
        fit(weights(candidates=("tiny",)), target, CLASSES)
    torch.testing.assert_close(target.state_dict(), before, rtol=0, atol=0)
