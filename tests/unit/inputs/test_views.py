import dataclasses

import numpy as np
import pytest
import tiny
import torch

from plusx.checkpoint import Checkpoint
from plusx.data.batches import Batches
from plusx.device import Device
from plusx.errors import UsageError
from plusx.evaluation.inference import outputs_of, predict
from plusx.events import result_of
from plusx.inputs.image import ImageInput
from plusx.inputs.views import VIEWS, averaged
from plusx.predict import Predictor


def shifted(images, down, right):
    """Each image moved by a pixel, what comes in being mirrored at its edge: in numpy."""
    around = np.pad(images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    height, width = images.shape[-2:]
    return torch.from_numpy(around[:, :, 1 - down : 1 - down + height, 1 - right : 1 - right + width].copy())


def test_one_view_is_the_networks_own_answer():
    images = torch.randn(2, 1, 8, 8)
    seen = []
    averaged(lambda given: seen.append(given) or given, images, "one", mirrored=True)
    assert len(seen) == 1
    assert seen[0] is images


def test_each_view_has_its_weight():
    network = tiny.checkpoint().network()
    images = torch.randn(5, 1, 8, 10)
    with torch.no_grad():
        plain, mirrored = network(images), network(images.flip(3))
        flip = averaged(network, images, "flip", mirrored=True)
        torch.testing.assert_close(flip, (plain + mirrored) / 2)
        expected = (plain + mirrored) / 4
        for place in (1, -1):
            moved = shifted(images, place, place)
            expected = expected + (network(moved) + network(moved.flip(3))) / 8
        torch.testing.assert_close(averaged(network, images, "shift", mirrored=True), expected)
        assert not torch.allclose(flip, expected, atol=1e-4)


def test_a_mirrored_image_has_the_same_answer():
    network = tiny.checkpoint().network()
    images = torch.randn(3, 1, 8, 8)
    for views in ("flip", "shift"):
        with torch.no_grad():
            found = averaged(network, images, views, mirrored=True)
            if views == "flip":
                torch.testing.assert_close(found, averaged(network, images.flip(3), views, mirrored=True))
            assert found.shape == (3, 3)


@pytest.mark.parametrize("views", VIEWS)
def test_evaluation_and_prediction_give_one_answer(tmp_path, views):
    look = dataclasses.replace(tiny.INPUT, views=views, flip=True)
    dataclasses.replace(tiny.checkpoint(), input=look).save(tmp_path / "one.safetensors")
    loaded = Checkpoint.load(tmp_path / "one.safetensors")
    assert loaded.input.views == views
    pictures = [sample.source for sample in tiny.samples(6)]
    network = loaded.network()
    prepared = torch.stack([look.prepare(look.read(picture)) for picture in pictures])
    expected = outputs_of(network, prepared, Device(), look).softmax(1).numpy()
    batches = Batches(tiny.samples(6), look, batch_size=4, collate=tiny.TASK.collate, training=False)
    found = result_of(predict(network, tiny.TASK, batches, Device())).probabilities
    np.testing.assert_allclose(found, expected, atol=1e-6)
    answers = Predictor(loaded, Device())(pictures)
    rows = [list(answer.probabilities.values()) for answer in answers]
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    if views != "one":
        assert np.abs(expected - outputs_of(network, prepared, Device()).softmax(1).numpy()).max() > 1e-4


def test_images_of_one_pixel_cannot_be_shifted():
    with pytest.raises(UsageError, match="needs sides of 2 pixels, not 1x9; use 'one'"):
        ImageInput(1, 9, 1, (0.5,), (0.5,), views="shift")
    with pytest.raises(UsageError, match="did you mean 'flip'"):
        ImageInput(9, 9, 1, (0.5,), (0.5,), views="flips")


def test_a_network_that_never_saw_mirror_images_is_shown_none():
    network = tiny.checkpoint().network()
    images = torch.randn(5, 1, 8, 10)
    with torch.no_grad():
        plain = network(images)
        expected = plain / 2 + (network(shifted(images, 1, 1)) + network(shifted(images, -1, -1))) / 4
        for views, wanted in (("one", plain), ("flip", plain), ("shift", expected)):
            for look in (tiny.INPUT, dataclasses.replace(tiny.INPUT, views=views)):
                found = look.averaged(network, images)
                torch.testing.assert_close(found, wanted if look.views == views else plain)
