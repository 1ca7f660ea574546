import dataclasses
import itertools

import numpy as np
import pytest
import torch

from plusx.inputs import ImageInput, held
from plusx.inputs.held import Padded
from plusx.random_streams import uniform

PLAIN = ImageInput(12, 16, 3, (0.5, 0.4, 0.3), (0.25, 0.2, 0.1))
RANDOM = np.random.default_rng(0)


def images(count=40, height=12, width=16, channels=3):
    return torch.from_numpy(RANDOM.integers(0, 256, (count, channels, height, width), dtype=np.uint8))


def slow(settings, whole, places, numbers):
    return settings.normalize(settings.augment_batch(whole[torch.from_numpy(places)], numbers))


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, (12, 16)),
        ({"flip": True}, (12, 16)),
        ({"pad_and_crop": 3}, (12, 16)),
        ({"flip": True, "pad_and_crop": 4, "cutout": 5}, (12, 16)),
        ({"flip": True, "pad_and_crop": 20}, (12, 16)),
        ({"flip": True, "pad_and_crop": 2, "padding_mode": "reflect"}, (12, 16)),
        ({"pad_and_crop": 15, "padding_mode": "reflect"}, (12, 16)),
        ({"cutout": 12}, (30, 20)),
        ({"fit": "stretch", "pad_and_crop": 2, "flip": True}, (5, 40)),
        ({"crop_fraction": 0.8, "pad_and_crop": 1}, (12, 16)),
        ({"random_resized_crop": True, "flip": True}, (12, 16)),
        ({"policy": "trivialaugment"}, (12, 16)),
        ({"erase": 0.9}, (12, 16)),
    ],
)
def test_batches_have_the_bits_of_augmenting_and_normalizing(changes, size):
    settings = dataclasses.replace(PLAIN, **changes)
    whole = images(40, *size)
    places = RANDOM.permutation(40)[:17]
    for epoch, limit in itertools.product(range(3), (10**9, whole.numel())):
        make = settings.hold(whole, limit)
        assert getattr(make, "mirrors", limit) in (limit, settings.flip and limit == 10**9)
        numbers = uniform(0, epoch, places, settings.draws)
        found = make(places, numbers[:, : make.draws])
        assert found.equal(slow(settings, whole, places, numbers))
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert found.dtype == torch.float32


@pytest.mark.parametrize("channels", [1, 4])
def test_any_number_of_channels(channels):
    settings = ImageInput(12, 16, channels, (0.5,) * channels, (0.2,) * channels, flip=True, pad_and_crop=2)
    whole, places = images(9, channels=channels), np.arange(9)
    numbers = uniform(0, 0, places, settings.draws)
    assert settings.hold(whole, 10**9)(places, numbers).equal(slow(settings, whole, places, numbers))


def test_what_would_take_more_memory_is_not_resized_beforehand():
    small = images(10, 6, 8)
    assert not isinstance(PLAIN.hold(small, 10), Padded)
    assert isinstance(PLAIN.hold(small, 10 * 3 * 12 * 16), Padded)
    assert isinstance(PLAIN.hold(images(10), 10), Padded), "it takes no more than the images themselves"
    places = np.array([3, 1])
    numbers = uniform(0, 0, places, PLAIN.draws)
    assert PLAIN.hold(small, 10)(places, numbers).equal(slow(PLAIN, small, places, numbers))


def test_large_images_are_normalized_to_the_same_bits():
    settings = dataclasses.replace(PLAIN, height=90, width=80)
    assert held.ROW < 90 * 80 * 3
    pixels = images(3, 90, 80)
    assert settings.finish(pixels.permute(0, 2, 3, 1).contiguous()).equal(settings.normalize(pixels))
    with torch.inference_mode():
        settings.finish(pixels.permute(0, 2, 3, 1).contiguous())
    assert not settings.finish(pixels[:0].permute(0, 2, 3, 1)).numel()


def test_another_size_scales_what_is_measured_in_pixels():
    settings = dataclasses.replace(PLAIN, height=32, width=32, pad_and_crop=4, cutout=8, flip=True)
    half = settings.at_size(16, 16)
    assert (half.height, half.width, half.pad_and_crop, half.cutout, half.flip) == (16, 16, 2, 4, True)
    assert settings.at_size(32, 32) is settings
    tiny = dataclasses.replace(settings, cutout=32).at_size(3, 40)
    assert (tiny.cutout, tiny.pad_and_crop) == (3, 0)
