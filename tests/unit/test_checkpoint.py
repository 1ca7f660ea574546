import dataclasses

import pytest
import tiny
import torch

from plusx.checkpoint import FORMAT, Checkpoint, checkpoint_file
from plusx.errors import CheckpointError
from plusx.inputs.image import ImageInput
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone, Network
from plusx.tasks.classification import Classification
from plusx.tensor_file import read_tensors, write_tensors


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "网络.safetensors"
    tiny.checkpoint().save(path)
    return path


def rewritten(file, **changes):
    """The same file with other things in its header; None takes one out."""
    header, tensors = read_tensors(file, "checkpoint")
    kept = {name: value for name, value in {**header, **changes}.items() if value is not None and name != "kind"}
    write_tensors(file, "checkpoint", kept, tensors)
    return file


def test_a_checkpoint_comes_back_whole(file):
    before, after = tiny.checkpoint(), Checkpoint.load(file)
    assert after.task.classes == ("上", "middle", "low")
    for name in ("architecture", "input", "task", "scores", "provenance"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.weights.keys() == before.weights.keys()
    assert all(torch.equal(after.weights[name], before.weights[name]) for name in before.weights)


def test_every_field_of_every_part_comes_back(tmp_path):
    settings = ImageInput(
        24, 32, 4, (0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8), fit="stretch", crop_fraction=0.9, max_pixels=5,
        flip=True, pad_and_crop=3, random_resized_crop=True, crop_scale=(0.2, 0.9), cutout=4,
    )  # fmt: skip
    task = Classification(("a", "b"), label_smoothing=0.25)
    architecture = dataclasses.replace(ARCHITECTURES["resnet50"], channels_in=4, zero_init_residual=True)
    Checkpoint(architecture, settings, task, {}).save(tmp_path / "file")
    after = Checkpoint.load(tmp_path / "file")
    assert (after.architecture, after.input, after.task) == (architecture, settings, task)
    assert hash(after.input)
    assert hash(after.architecture)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_its_network_gives_the_same_answers(tmp_path, layout):
    network = tiny.checkpoint().network().to(memory_format=layout)
    Checkpoint(tiny.ARCHITECTURE, tiny.INPUT, tiny.TASK, network.state_dict()).save(tmp_path / "file")
    loaded = Checkpoint.load(tmp_path / "file").network()
    images = torch.randn(2, 1, 8, 8)
    assert not loaded.training
    torch.testing.assert_close(loaded(images), network(images), rtol=0, atol=1e-6)
    assert not torch.allclose(loaded(images), tiny.network()(images))


def test_a_run_folder_means_its_best_weights(tmp_path, file):
    (tmp_path / "weights").mkdir()
    with pytest.raises(CheckpointError, match=r"holds no weights/best.safetensors; expected a run's folder or"):
        Checkpoint.load(tmp_path)
    tiny.checkpoint(seed=1).save(tmp_path / "weights" / "best.safetensors")
    best = Checkpoint.load(tmp_path)
    assert checkpoint_file(tmp_path) == tmp_path / "weights" / "best.safetensors"
    assert torch.equal(best.weights["head.linear.weight"], tiny.checkpoint(seed=1).weights["head.linear.weight"])
    assert checkpoint_file(file) == file


def test_a_file_of_a_newer_plusx_says_so(file):
    with pytest.raises(CheckpointError, match=rf"has checkpoint format {FORMAT + 1}, .*; update plusx"):
        Checkpoint.load(rewritten(file, format=FORMAT + 1))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": None},
        {"scores": None},
        {"architecture": None},
        {"architecture": {"name": "x"}},
        {"architecture": {"name": "x", "future": 1}},
        {"architecture": []},
        {"input": {"kind": "audio"}},
        {"input": {"kind": "image", "height": 0}},
        {"task": {"kind": "segmentation"}},
        {"task": {"kind": "classification", "classes": ["one"]}},
        {"task": {"kind": "classification", "classes": 7}},
    ],
    ids=str,
)
def test_a_header_that_is_not_understood_is_a_checkpoint_error(file, changes):
    with pytest.raises(CheckpointError, match=r"cannot be understood by this plusx|has checkpoint format None"):
        Checkpoint.load(rewritten(file, **changes))


def test_weights_that_do_not_fit_are_one_short_sentence():
    other = dataclasses.replace(tiny.checkpoint(), architecture=ARCHITECTURES["resnet110"])
    with pytest.raises(CheckpointError, match="the weights do not fit 'resnet110'") as caught:
        other.network()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_each_way_of_not_fitting_is_noticed(change):
    weights = dict(tiny.checkpoint().weights)
    if change == "missing":
        del weights["head.linear.bias"]
    elif change == "extra":
        weights["head.linear.more"] = torch.zeros(1)
    else:
        weights["head.linear.bias"] = torch.zeros(4)
    with pytest.raises(CheckpointError, match=r"head\.linear\.(bias|more)"):
        dataclasses.replace(tiny.checkpoint(), weights=weights).network()


def test_loading_draws_nothing_from_the_global_random_stream():
    checkpoint = tiny.checkpoint()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    checkpoint.network()
    assert torch.equal(torch.rand(1), expected)


def test_a_network_of_more_classes_is_made_from_the_task():
    classes = tuple(str(number) for number in range(12))
    task = Classification(classes)
    backbone = Backbone(tiny.ARCHITECTURE)
    network = Network(backbone, task.head(backbone))
    made = Checkpoint(tiny.ARCHITECTURE, tiny.INPUT, task, network.state_dict()).network()
    assert made(torch.zeros(1, 1, 8, 8)).shape == (1, 12)
