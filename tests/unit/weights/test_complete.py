"""Weights become a checkpoint that answers: told or assumed is what their file does not say."""

import dataclasses

import pytest
import tiny
import torch

from plusx.errors import CheckpointError
from plusx.inputs.image import ImageInput
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone, Network
from plusx.weights.assumed import assumed_input, in_words
from plusx.weights.complete import architecture_of, checkpoint_of, complete
from plusx.weights.trained import Weights

RESNET20 = ARCHITECTURES["resnet20"]


def weights(**changes):
    backbone = Backbone(RESNET20)
    network = Network(backbone, tiny.TASK.head(backbone))
    return dataclasses.replace(Weights("w.pth", "a test", network.state_dict()), **changes)


def test_everything_known_is_kept():
    look = ImageInput(8, 8, 3, (0.1,) * 3, (0.2,) * 3)
    known = weights(architecture=RESNET20, classes=("a", "b", "c"), input=look)
    checkpoint = checkpoint_of(complete(known))
    assert (checkpoint.architecture, checkpoint.input) == (known.architecture, known.input)
    assert checkpoint.task.classes == ("a", "b", "c")
    assert complete(known).notes == ()
    assert checkpoint.provenance == {"weights": "w.pth", "recognized": "a test"}
    images = torch.randn(1, 3, 32, 32)
    expected = Network(Backbone(RESNET20), tiny.TASK.head(Backbone(RESNET20)))
    expected.load_state_dict(dict(known.state))
    with torch.inference_mode():
        torch.testing.assert_close(checkpoint.network()(images), expected.eval()(images))


def test_classes_without_names_have_numbers_or_those_that_are_told():
    known = weights(architecture=RESNET20)
    assert checkpoint_of(complete(known)).task.classes == ("0", "1", "2")
    assert checkpoint_of(complete(known), classes=("x", "y", "z")).task.classes == ("x", "y", "z")


def test_a_preprocessing_is_assumed_and_said():
    whole = complete(weights(notes=("first",)), RESNET20)
    assert whole.input is not None
    assert (whole.input.height, whole.input.width, whole.input.mean) == (32, 32, (0.485, 0.456, 0.406))
    assert whole.notes[0] == "first"
    assert "w.pth does not say how its images were prepared: 32x32 pixels, with ImageNet's mean" in whole.notes[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_photos_are_assumed_to_be_cropped_as_imagenets_whatever_the_head(channels):
    look = assumed_input(dataclasses.replace(ARCHITECTURES["resnet18"], channels_in=channels), channels)
    assert (look.height, look.channels, look.crop_fraction) == (224, channels, 0.875)
    assert (look.interpolation, look.rounded) == ("bilinear", True)
    assert in_words(look) == "224x224 pixels, the center of 256, with ImageNet's mean and deviation"
    assert assumed_input(None, channels) == look
    small = assumed_input(RESNET20, channels)
    assert (small.height, small.crop_fraction) == (32, 1.0)


def test_the_user_names_the_architecture_where_several_fit():
    several = weights(candidates=("resnet20", "plain20"))
    with pytest.raises(
        CheckpointError,
        match=r"'w\.pth' fit resnet20, plain20; name .*: plusx predict resnet20 IMAGE --weights w\.pth, .*--model",
    ):
        architecture_of(several)
    assert architecture_of(several, RESNET20) == RESNET20
    with pytest.raises(CheckpointError, match="whose depths and widths no network of plusx has"):
        architecture_of(weights())


def test_the_weights_own_form_of_the_named_architecture_is_taken():
    backbone = Backbone(dataclasses.replace(RESNET20, shortcut="projection", channels_in=1))
    state = Network(backbone, tiny.TASK.head(backbone)).state_dict()
    own = Weights("w", "", state, backbone.architecture)
    assert architecture_of(own, RESNET20) == backbone.architecture


def test_another_architecture_than_the_weights_say_is_refused():
    known = weights(architecture=RESNET20, candidates=("resnet20",))
    with pytest.raises(
        CheckpointError, match=r"'w\.pth' are of resnet20, not resnet32; name resnet20 \(--model resnet20\)$"
    ):
        architecture_of(known, ARCHITECTURES["resnet32"])


def test_weights_without_a_head_give_no_answers():
    headless = {key: value for key, value in weights().state.items() if not key.startswith("head.")}
    with pytest.raises(CheckpointError, match=r"'w\.pth' have no head that plusx knows, so they give no answers"):
        complete(weights(state=headless), RESNET20)
