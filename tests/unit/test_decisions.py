import dataclasses

import pytest
from torch import nn

from plusx.data import Dataset
from plusx.decisions import changes_by_hand, decide, halves_single_pixels
from plusx.defaults import DataFacts
from plusx.device import Device
from plusx.errors import UsageError
from plusx.inputs.image import ImageInput
from plusx.network.architectures import ARCHITECTURES
from plusx.network.backbone import Backbone
from plusx.preparation import Prepared
from plusx.request import request
from plusx.weights.trained import Weights

DEVICE = Device("cpu", "bfloat16", channels_last=True, threads=2)


def prepared(samples=500, side=8, channels=1):
    facts = DataFacts(samples, channels, side, side, one_size=True, classes=("a", "b"))
    return Prepared(Dataset("d", "d", ("a", "b"), ()), {}, facts, ((0.5,) * channels, (0.5,) * channels))


def test_a_small_network_keeps_the_devices_precision():
    _, plan, notes = decide(request("digits"), prepared(), DEVICE)
    assert (plan.run.precision, plan.run.device, plan.run.threads) == ("bfloat16", "cpu", 2)
    assert plan.run.workers >= 1
    assert notes == ()


def test_of_several_ranks_each_has_its_share_of_its_own_machine(monkeypatch):
    monkeypatch.setattr("plusx.ranks.count", lambda: 2)
    _, plan, _ = decide(request("digits"), prepared(), DEVICE)
    assert plan.run.threads == 0
    _, plan, _ = decide(request("digits", options={"threads": 3}), prepared(), DEVICE)
    assert plan.run.threads == 3


@pytest.mark.parametrize(
    ("model", "side", "halves"),
    [
        ("resnet18", 16, True),
        ("resnet18", 17, False),
        ("resnet20", 2, True),
        ("resnet20", 3, False),
        ("resnet18", 8, True),
    ],
)
def test_float32_is_used_where_a_single_pixel_would_be_halved(model, side, halves):
    _, plan, notes = decide(request("digits", options={"model": model}), prepared(side=side), DEVICE)
    assert halves_single_pixels(plan) is halves
    assert plan.run.precision == ("float32" if halves else "bfloat16")
    assert any("so float32 is used" in note for note in notes) is halves


@pytest.mark.parametrize("name", ["resnet18", "resnet20", "resnet50"])
def test_single_pixels_are_halved_exactly_where_a_map_says_so(name):
    """The rule is held against the maps themselves: which 3x3 convolutions of stride 2 see one pixel?"""
    import torch

    architecture = dataclasses.replace(ARCHITECTURES[name], channels_in=1)
    network = Backbone(architecture).eval()
    for side in (2, 3, 4, 8, 16, 17, 32, 33):
        seen: list[int] = []

        def note(module, given, out, seen=seen):
            seen.append(min(given[0].shape[-2:]))

        hooks = [
            part.register_forward_hook(note)
            for part in network.stages.modules()
            if isinstance(part, nn.Conv2d) and part.stride == (2, 2) and part.kernel_size == (3, 3)
        ]
        with torch.inference_mode():
            network(torch.zeros(1, 1, side, side))
        for hook in hooks:
            hook.remove()
        _, plan, _ = decide(request("digits", options={"model": name}), prepared(side=side), DEVICE)
        assert halves_single_pixels(plan) is (1 in seen), side


def test_what_was_changed_by_hand_is_said_with_what_it_would_have_been():
    asked = request("digits", options={"epochs": 3, "flip": True})
    assert changes_by_hand(asked, prepared()) == "flip True (False), epochs 3 (100)"
    assert changes_by_hand(request("digits"), prepared()) == ""


def test_overfitting_trains_long_enough_on_its_few_samples():
    asked = request("digits", options={"overfit_batches": 1, "flip": True})
    _, plan, _ = decide(dataclasses.replace(asked), whole(), DEVICE)
    assert plan.recipe.epochs == 100
    assert plan.input.pad_and_crop == 0
    assert plan.input.flip


def whole():
    import numpy as np

    from plusx.data import Sample

    pixels = np.zeros((8, 8), np.uint8)
    samples = tuple(Sample(str(number), pixels, number % 2, "train") for number in range(500))
    return dataclasses.replace(prepared(), dataset=Dataset("d", "d", ("a", "b"), samples))


def test_a_batch_larger_than_the_data_and_a_last_batch_of_one_are_told():
    _, plan, notes = decide(request("digits", options={"batch_size": 600}), prepared(), DEVICE)
    assert plan.recipe.batch_size == 500
    assert "larger than the 500 training samples" in notes[0]
    _, plan, notes = decide(request("digits", options={"batch_size": 499}), prepared(), DEVICE)
    assert "would hold one sample" in notes[0]


def test_bfloat16_by_hand_is_refused_where_its_gradients_are_wrong():
    asked = request("digits", options={"model": "resnet18", "precision": "bfloat16"})
    with pytest.raises(UsageError, match="use --precision float32 or a larger --image-size"):
        decide(asked, prepared(side=8), DEVICE)


def test_overfitting_keeps_the_batch_and_the_rate_that_the_whole_data_had():
    _, plain_plan, _ = decide(request("digits"), prepared(), DEVICE)
    _, plan, _ = decide(request("digits", options={"overfit_batches": 1}), whole(), DEVICE)
    assert plan.recipe.batch_size == plain_plan.recipe.batch_size
    assert plan.recipe.learning_rate == plain_plan.recipe.learning_rate


def test_what_the_weights_bring_is_no_change_by_hand():
    look = ImageInput(8, 8, 1, (0.3,), (0.4,))
    weights = Weights("some.pth", "a state dict", {}, ARCHITECTURES["resnet32"], None, look)
    asked = request("digits", options={"weights": "some.pth", "crop_fraction": 0.9})
    assert changes_by_hand(asked, prepared(), weights) == "crop_fraction 0.9 (1.0)"
    _, plan, notes = decide(asked, prepared(), DEVICE, weights)
    assert (plan.architecture.name, plan.input.mean) == ("resnet32", (0.3,))
    assert not any("no trained weights" in note for note in notes)


@pytest.mark.parametrize(
    ("options", "told"), [({"recipe": "finetune"}, True), ({"freeze": "stem"}, True), ({"recipe": "photos"}, False)]
)
def test_freezing_new_weights_is_warned_of(options, told):
    _, _, notes = decide(request("digits", options=options), prepared(), DEVICE)
    assert any("there are no trained weights in them" in note for note in notes) is told


def test_a_file_of_weights_is_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "some.pth").touch()
    monkeypatch.chdir(tmp_path)
    weights = Weights("some.pth", "a state dict", {}, ARCHITECTURES["resnet32"])
    for given, kept in (("some.pth", str(tmp_path / "some.pth")), ("resnet18:default", "resnet18:default")):
        _, plan, _ = decide(request("digits", options={"weights": given}), prepared(), DEVICE, weights)
        assert plan.run.weights == kept


def test_what_follows_from_an_option_is_not_by_hand():
    """Three channels in the data, one by hand: mean, deviation and the network's channels follow."""
    three = prepared(channels=3)
    one = dataclasses.replace(three, statistics=((0.5,), (0.25,)))
    assert changes_by_hand(request("digits", options={"channels": 1}), one) == "channels 1 (3)"
    assert changes_by_hand(request("digits", options={"image_size": 16}), three) == "height 16 (8), width 16 (8)"


def test_a_batch_that_plusx_made_smaller_is_not_by_hand(tmp_path):
    few = prepared(samples=10)
    _, plan, _ = decide(request("digits"), few, DEVICE)
    assert plan.recipe.batch_size == 10
    file = tmp_path / "config.yaml"
    file.write_text(plan.to_yaml())
    assert changes_by_hand(request(config=file), few) == ""
    assert changes_by_hand(request(config=file, options={"epochs": 7}), few) == "epochs 7 (100)"


@pytest.mark.parametrize("side", [8, 12, 15])
def test_images_too_small_for_the_network_are_refused(side):
    asked = request("digits", options={"model": "mnist_resnet"})
    words = f"images of {side}x{side} pixels are too small for mnist_resnet, .* at least 16x16: use --image-size 16"
    with pytest.raises(UsageError, match=words):
        decide(asked, prepared(side=side), DEVICE)
    decide(asked, prepared(side=16), DEVICE)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"first_size": 0.3}, r"first_size 0.3.*use a larger --first-size, or 1"),
        ({"last_size": 0.3}, r"last_size 0.3.*use a larger --last-size, or 1"),
    ],
)
def test_sizes_that_training_begins_with_are_named(options, named):
    asked = request("digits", options={"model": "mnist_resnet", "epochs": 4, **options})
    with pytest.raises(UsageError, match=named):
        decide(asked, prepared(side=16), DEVICE)


def test_the_cache_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, plan, _ = decide(request("digits", options={"cache": "kept"}), prepared(), DEVICE)
    assert plan.run.cache == str(tmp_path / "kept")


def test_scales_that_begin_at_zero_must_learn():
    options = {"model": "resnet20", "frozen_scales": True, "zero_init_residual": True}
    with pytest.raises(UsageError, match="no branch would ever learn"):
        decide(request("digits", options=options), prepared(), DEVICE)


@pytest.mark.parametrize(("blocks", "epochs"), [({}, 0.0), ({"warmup_blocks": 0}, 1.136)])
def test_how_many_blocks_warm_up_may_be_said(blocks, epochs):
    asked = request("digits", options={"model": "resnet20", "recipe": "paper", **blocks})
    _, plan, _ = decide(asked, prepared(), DEVICE)
    assert plan.recipe.warmup_epochs == epochs
