import dataclasses
import json
from pathlib import Path

import pytest
import tiny

from plusx.data import Dataset, Sample
from plusx.data.split import write_splits
from plusx.errors import CheckpointError, UsageError
from plusx.inputs.image import ImageInput
from plusx.network.architectures import ARCHITECTURES
from plusx.start import Start, architecture_for, kept_of, look_of, put_into, seen_before
from plusx.weights.trained import Weights

LOOK = ImageInput(
    40, 48, 3, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), fit="stretch", crop_fraction=0.8, rounded=True, flip=True, cutout=5
)
KNOWN = Weights("some.pth", "a state dict", {}, ARCHITECTURES["resnet20"], None, LOOK)
UNKNOWN = Weights("some.pth", "a state dict", {}, candidates=("resnet20", "resnet32"))


def of_tiny(origin, seed=0, classes=tiny.CLASSES):
    made = tiny.network(seed=seed)
    return Weights(str(origin), "a plusx checkpoint", made.state_dict(), tiny.ARCHITECTURE, classes, tiny.INPUT)


def test_new_weights_say_nothing():
    assert architecture_for(None, "resnet18") is None
    assert look_of(None, 3) == {}


def test_the_architecture_is_that_of_the_weights():
    assert architecture_for(KNOWN, "") is architecture_for(KNOWN, "resnet20") is KNOWN.architecture
    assert architecture_for(UNKNOWN, "resnet20") is None


def test_another_model_than_that_of_the_weights_is_refused():
    with pytest.raises(UsageError, match=r"'some.pth' are those of resnet20, but --model is resnet18; leave --model"):
        architecture_for(KNOWN, "resnet18")


def test_weights_of_no_known_architecture_need_a_model():
    with pytest.raises(UsageError, match="name it: --model resnet20 or resnet32"):
        architecture_for(UNKNOWN, "")
    with pytest.raises(UsageError, match="name it: --model resnet18"):
        architecture_for(dataclasses.replace(UNKNOWN, candidates=()), "")


def test_the_look_is_the_preprocessing_without_the_augmentation():
    assert look_of(KNOWN, 3) == {
        "height": 40, "width": 48, "mean": (0.1, 0.2, 0.3), "deviation": (0.4, 0.5, 0.6),
        "fit": "stretch", "crop_fraction": 0.8, "interpolation": "bilinear", "rounded": True,
    }  # fmt: skip
    assert look_of(dataclasses.replace(KNOWN, input=None), 3) == {}


def test_the_look_has_a_number_for_each_channel_of_the_images():
    found = look_of(KNOWN, 1)
    assert found["mean"] == pytest.approx((0.2,))
    assert found["deviation"] == pytest.approx((0.5,))


def test_weights_are_put_in_and_it_is_said_from_where(tmp_path):
    file = tmp_path / "some.pth"
    weights = dataclasses.replace(of_tiny(file, seed=5), notes=("a note",), sha256="0123")
    network = tiny.network()
    start = put_into(network, weights, ("one", "two", "three"))
    stem = network.backbone.stem.conv.weight
    assert stem.equal(weights.state["backbone.stem.conv.weight"])
    assert not network.head.linear.weight.equal(weights.state["head.linear.weight"])
    assert start.provenance == {
        "origin": str(file), "sha256": "0123", "recognized": "a plusx checkpoint",
    }  # fmt: skip
    assert start.sentences[0] == "a note"
    assert "a new one replaces it" in start.sentences[1]
    assert [text for name, text in start.rows() if not name] == list(start.sentences)
    assert Start.from_dict(json.loads(json.dumps(dataclasses.asdict(start)))) == start


def test_weights_without_a_known_preprocessing_are_told(tmp_path):
    weights = dataclasses.replace(of_tiny(tmp_path), input=None)
    start = put_into(tiny.network(), weights, tiny.CLASSES)
    assert start.sentences[-1].startswith("they bring no preprocessing along")
    assert start.sha256 == ""
    assert "sha256" not in dict(start.rows())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"norm": "fixup"}, "are of resnet20 with norm batch, but norm fixup was asked for; leave --norm out"),
        ({"shortcut": "projection"}, "with shortcut zero_pad, but shortcut projection was .* leave --shortcut out"),
    ],
)
def test_layers_that_need_other_weights_are_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        architecture_for(KNOWN, "", changes)


def test_what_needs_no_other_weights_may_be_changed():
    free = {"dropout": 0.5, "stochastic_depth": 0.5, "channels_in": 1, "zero_init_residual": True, "norm": "batch"}
    assert architecture_for(KNOWN, "", free) is KNOWN.architecture
    assert architecture_for(UNKNOWN, "resnet20", {"norm": "fixup"}) is None


CONFIG = {
    "run": {"source": "digits", "model": "resnet20", "recipe": "tutorial", "weights": ""},
    "architecture": {"name": "resnet20", "norm": "batch"},
    "input": {"mean": [0.5], "height": 8, "flip": False, "channels": 1, "cutout": 3},
    "recipe": {"name": "tutorial", "epochs": 3},
}


def test_other_weights_come_without_what_belonged_to_the_old_ones():
    kept = kept_of(CONFIG, {"weights": "new.pth"})
    assert kept["input"] == {"flip": False, "channels": 1, "cutout": 3}
    assert "architecture" not in kept
    assert "model" not in kept["run"]
    assert kept["recipe"] == CONFIG["recipe"]


def test_the_same_weights_and_those_of_a_config_that_says_nothing_of_them_change_nothing():
    with_them = {**CONFIG, "run": {**CONFIG["run"], "weights": "new.pth"}}
    assert kept_of(with_them, {"weights": "new.pth"}) == with_them
    by_a_person = {"input": CONFIG["input"], "run": {"source": "digits"}}
    assert kept_of(by_a_person, {"weights": "new.pth"}) == by_a_person


def test_another_recipe_comes_without_what_the_old_one_set_elsewhere():
    kept = kept_of(CONFIG, {"recipe": "small"})
    assert "recipe" not in kept
    assert kept["input"] == {"mean": [0.5], "height": 8, "channels": 1, "cutout": 3}  # tutorial sets flip
    other = {**CONFIG, "input": {"flip": True}}
    assert kept_of(other, {"recipe": "small"})["input"] == {"flip": True}  # not what tutorial had set


def data(*split_of):
    samples = tuple(Sample(str(n), Path(str(n)), 0, split, sha256=f"sum{n}") for n, split in enumerate(split_of))
    return Dataset("d", "d", ("a",), samples)


def test_test_samples_that_the_weights_know_are_counted(tmp_path):
    file = tmp_path / "weights" / "best.safetensors"
    weights = dataclasses.replace(KNOWN, file=file)
    now = data("train", "test", "test", "test", "validation")
    assert seen_before(None, now) == seen_before(KNOWN, now) == seen_before(weights, now) == ()
    write_splits(tmp_path / "splits.csv", data("test", "train", "validation", "test", "train"))
    (sentence,) = seen_before(weights, now)
    assert sentence.startswith("2 of the 3 test samples were in the training or validation split of the run that the")
    assert "--seed" in sentence
    assert seen_before(weights, data("train", "train", "train", "test", "train")) == ()


def test_weights_that_do_not_fit_are_refused(tmp_path):
    wider = dataclasses.replace(tiny.ARCHITECTURE, widths=(6, 8))
    with pytest.raises(CheckpointError, match="do not fit"):
        put_into(tiny.network(architecture=wider), of_tiny(tmp_path), tiny.CLASSES)
