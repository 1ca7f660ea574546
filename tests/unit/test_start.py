import dataclasses
import hashlib
import json

import pytest
import tiny

from plusx.errors import CheckpointError, UsageError
from plusx.inputs.image import ImageInput
from plusx.network.architectures import ARCHITECTURES
from plusx.start import Start, architecture_for, look_of, put_into
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
        "fit": "stretch", "crop_fraction": 0.8, "rounded": True,
    }  # fmt: skip
    assert look_of(dataclasses.replace(KNOWN, input=None), 3) == {}


def test_the_look_has_a_number_for_each_channel_of_the_images():
    found = look_of(KNOWN, 1)
    assert found["mean"] == pytest.approx((0.2,))
    assert found["deviation"] == pytest.approx((0.5,))


def test_weights_are_put_in_and_it_is_said_from_where(tmp_path):
    file = tmp_path / "some.pth"
    file.write_bytes(b"anything")
    weights = dataclasses.replace(of_tiny(file, seed=5), notes=("a note",))
    network = tiny.network()
    start = put_into(network, weights, ("one", "two", "three"))
    stem = network.backbone.stem.conv.weight
    assert stem.equal(weights.state["backbone.stem.conv.weight"])
    assert not network.head.linear.weight.equal(weights.state["head.linear.weight"])
    assert start.provenance == {
        "origin": str(file), "sha256": hashlib.sha256(b"anything").hexdigest(), "recognized": "a plusx checkpoint",
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


def test_the_sum_of_a_run_is_that_of_its_best_weights(tmp_path):
    best = tmp_path / "weights" / "best.safetensors"
    best.parent.mkdir()
    best.write_bytes(b"best")
    assert put_into(tiny.network(), of_tiny(tmp_path), tiny.CLASSES).sha256 == hashlib.sha256(b"best").hexdigest()


def test_the_sum_of_a_published_name_is_that_of_its_file_here(tmp_path, monkeypatch):
    file = tmp_path / "resnet18.pth"
    file.write_bytes(b"published")
    monkeypatch.setattr(
        "plusx.start.local_copy", lambda published: file if published.name.startswith("resnet18") else None
    )
    found = [
        put_into(tiny.network(), of_tiny(name), tiny.CLASSES).sha256
        for name in ("resnet18:default", "resnet34:default")
    ]
    assert found == [hashlib.sha256(b"published").hexdigest(), ""]


def test_weights_that_do_not_fit_are_refused(tmp_path):
    wider = dataclasses.replace(tiny.ARCHITECTURE, widths=(6, 8))
    with pytest.raises(CheckpointError, match="do not fit"):
        put_into(tiny.network(architecture=wider), of_tiny(tmp_path), tiny.CLASSES)
