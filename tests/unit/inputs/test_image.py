import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch

from plusx.errors import UsageError
from plusx.inputs import INPUTS
from plusx.inputs.image import ImageInput
from plusx.inputs.statistics import statistics

FULL = ImageInput(
    height=32,
    width=48,
    channels=3,
    mean=(0.1, 0.2, 0.3),
    deviation=(0.4, 0.5, 0.6),
    fit="stretch",
    crop_fraction=0.875,
    max_pixels=5_000,
    flip=True,
    pad_and_crop=4,
    random_resized_crop=True,
    crop_scale=(0.3, 0.9),
    cutout=8,
    policy="randaugment",
)


def test_an_input_goes_to_json_and_comes_back() -> None:
    assert ImageInput.from_dict(json.loads(json.dumps(FULL.to_dict()))) == FULL
    assert INPUTS["image"].from_dict({"kind": "image", **FULL.to_dict()}) == FULL
    assert isinstance(ImageInput(8, 8, 1, [0.5], [0.5]).mean, tuple)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"height": -1}, "height is -1; expected a whole number, 1 or more"),
        ({"width": 2.5}, "width is 2.5"),
        ({"channels": True}, "channels is True"),
        ({"max_pixels": 0}, "max_pixels is 0"),
        ({"pad_and_crop": -4}, "pad_and_crop is -4; expected a whole number, 0 or more"),
        ({"flip": 1}, "flip is 1; expected true or false"),
        ({"fit": "crp"}, "no fit is called 'crp'; did you mean 'crop'"),
        ({"policy": "rand-augment"}, "did you mean 'randaugment'"),
        ({"crop_fraction": 0}, "crop_fraction is 0; expected a number above 0 and at most 1"),
        ({"crop_fraction": 1.1}, "crop_fraction is 1.1"),
        ({"crop_fraction": float("nan")}, "crop_fraction is nan"),
        ({"cutout": 33}, "cutout is 33, larger than the image of 32 x 48; expected at most 32"),
        ({"mean": (0.5,)}, "mean has 1 numbers; expected 3, one a channel"),
        ({"mean": 0.5}, "mean is 0.5; expected a list of numbers"),
        ({"mean": (124.0, 116.0, 104.0)}, "divide those of 0..255 by 255"),
        ({"mean": (0.5, 0.5, "x")}, "expected finite numbers"),
        ({"deviation": (0.5, 0.5)}, "deviation has 2 numbers"),
        ({"deviation": (0.5, 0.0, 0.5)}, "expected numbers above 0"),
        ({"deviation": (0.5, float("inf"), 0.5)}, "expected finite numbers"),
        ({"crop_scale": (0.9, 0.1)}, "crop_scale is"),
        ({"crop_scale": (0.9,)}, "crop_scale is"),
        ({"channels": 2, "mean": (0.5,) * 2, "deviation": (1.0,) * 2}, "works on 1 or 3 channels, not 2"),
    ],
)
def test_impossible_fields_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence.replace(".", r"\.")):
        dataclasses.replace(FULL, **change)


def test_impossible_dictionaries_are_refused() -> None:
    with pytest.raises(UsageError, match="the input's kind is 'audio'; expected 'image'"):
        ImageInput.from_dict({"kind": "audio"})
    with pytest.raises(UsageError, match="no field of an image input is called 'hieght'; did you mean 'height'"):
        ImageInput.from_dict({"hieght": 3})
    with pytest.raises(UsageError, match="the image input lacks width, mean, deviation"):
        ImageInput.from_dict({"height": 3, "channels": 3})


def test_normalizing_subtracts_the_mean_and_divides_by_the_deviation() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, 32, 48), dtype=np.uint8))
    mean, deviation = torch.tensor(FULL.mean)[:, None, None], torch.tensor(FULL.deviation)[:, None, None]
    normalized = FULL.normalize(pixels)
    torch.testing.assert_close(normalized, (pixels / 255 - mean) / deviation)
    assert normalized.dtype == torch.float32
    floats = pixels.float()
    assert FULL.normalize(floats).equal(normalized)
    assert floats.equal(pixels.float())
    last = FULL.normalize(pixels.contiguous(memory_format=torch.channels_last))
    assert last.is_contiguous()
    assert last.equal(normalized)
    assert FULL.normalize(pixels[0]).equal(normalized[0])


def test_statistics_are_those_of_all_pixels() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 200, (300, 2, 5, 7), dtype=np.uint8))
    mean, deviation = statistics(images)
    every = images.double().transpose(0, 1).reshape(2, -1) / 255
    np.testing.assert_allclose(mean, every.mean(1))
    np.testing.assert_allclose(deviation, every.std(1, correction=0))
    assert statistics(iter(images)) == (mean, deviation)
    mixed_mean, _ = statistics([torch.zeros(1, 1, 3, dtype=torch.uint8), torch.full((1, 1, 1), 255, dtype=torch.uint8)])
    assert mixed_mean == (0.25,)


def test_statistics_of_constant_images_can_be_divided_by() -> None:
    mean, deviation = statistics(torch.full((4, 1, 3, 3), 51, dtype=torch.uint8))
    assert mean == (0.2,)
    assert deviation == (1 / 255,)
    with pytest.raises(Exception, match="no pixels to measure"):
        statistics([])
