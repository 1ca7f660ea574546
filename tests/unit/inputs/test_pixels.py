import io

import numpy as np
import pytest
import torch
from PIL import Image

from plusx.errors import DataError
from plusx.inputs.image import ImageInput
from plusx.inputs.pixels import array_pixels, channels_of, image_pixels


def reader(channels: int) -> ImageInput:
    return ImageInput(8, 8, channels, (0.5,) * channels, (0.2,) * channels)


RANDOM = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)


def test_color_becomes_grey_as_pillow_has_it() -> None:
    luma = np.asarray(Image.fromarray(RANDOM).convert("L"))
    assert np.array_equal(array_pixels(RANDOM, 1)[0].numpy(), luma)
    assert np.array_equal(image_pixels(Image.fromarray(RANDOM), 1, "x")[0].numpy(), luma)


def test_grey_becomes_three_equal_channels() -> None:
    grey = RANDOM[..., 0]
    for pixels in (array_pixels(grey, 3), image_pixels(Image.fromarray(grey), 3, "x")):
        assert np.array_equal(pixels.numpy(), np.stack([grey] * 3))


def test_arrays_of_every_accepted_type_agree() -> None:
    expected = torch.from_numpy(RANDOM.transpose(2, 0, 1).copy())
    assert array_pixels(RANDOM, 3).equal(expected)
    assert array_pixels(RANDOM.astype(np.uint16) * 257, 3).equal(expected)
    assert array_pixels(RANDOM.astype(np.float32) / 255, 3).equal(expected)
    assert array_pixels(RANDOM.astype(np.float64) / 255, 3).equal(expected)
    assert array_pixels(RANDOM > 100, 3).equal((expected > 100) * torch.tensor(255, dtype=torch.uint8))
    assert array_pixels(np.asfortranarray(RANDOM)[::-1, ::-1], 3).equal(expected.flip(1, 2))


def test_sixteen_bits_round_to_the_nearest_and_are_not_clipped() -> None:
    values = np.arange(65536, dtype=np.uint16)[None]
    assert np.array_equal(array_pixels(values, 1)[0, 0].numpy(), np.rint(values[0] / 257).astype(np.uint8))


def test_an_array_is_copied() -> None:
    array = RANDOM.copy()
    pixels = array_pixels(array, 3)
    array[:] = 0
    assert pixels.float().mean() > 50


def test_any_number_of_channels_comes_from_arrays_only() -> None:
    many = np.zeros((4, 5, 7), np.uint8)
    assert reader(7).read(many).shape == (7, 4, 5)
    facts = reader(7).inspect(many)
    assert (facts.channels, facts.height, facts.width) == (7, 4, 5)
    assert reader(7).inspect(np.zeros((4, 5), np.uint8)).channels == 1
    with pytest.raises(DataError, match=r"gives 1 or 3 channels, but this input expects 7; give arrays of shape"):
        reader(7).read(Image.fromarray(RANDOM))
    with pytest.raises(DataError, match=r"has 7 channels, but this input expects 3$"):
        reader(3).read(many)
    with pytest.raises(DataError, match=r"drop the alpha channel"):
        reader(3).read(np.zeros((4, 5, 4), np.uint8))


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros(5, np.uint8), r"has shape \(5,\); expected \(height, width\)"),
        (np.zeros((0, 5), np.uint8), "has no pixels"),
        (np.zeros((4, 5), np.int64), "has type int64; expected uint8, uint16, bool, or floats in 0..1"),
        (np.full((4, 5), 7.0), "holds floats from 7 to 7; expected 0 to 1"),
        (np.full((4, 5), np.nan), "holds floats from nan to nan"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        reader(1).read(array)


def test_an_arrays_hash_knows_shape_type_and_pixels() -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    others = [array.reshape(4, 3), array + np.uint8(1), array.astype(np.uint16)]
    hashes = {reader(1).inspect(each).sha256 for each in [array, array.copy(), *others]}
    assert len(hashes) == 4


def test_values_without_a_white_are_stretched() -> None:
    image = Image.fromarray(np.array([[-4.0, 0.0, 6.0]], np.float32))
    assert image_pixels(image, 1, "x").flatten().tolist() == [0, 102, 255]
    assert image_pixels(Image.fromarray(np.full((2, 2), 9, np.int32)), 1, "x").flatten().tolist() == [0] * 4
    with pytest.raises(DataError, match="infinite or not a number"):
        image_pixels(Image.fromarray(np.array([[np.inf, 0.0]], np.float32)), 1, "x")
    file = io.BytesIO()
    Image.fromarray(np.array([[np.nan, 0.0]], np.float32)).save(file, "TIFF")
    with pytest.raises(DataError, match="infinite or not a number"):
        reader(1).inspect(file.getvalue())


def test_colors_that_cannot_be_converted_are_said() -> None:
    image = Image.new("La", (4, 4))
    with pytest.raises(DataError, match="has colors that cannot be converted"):
        image_pixels(image, 3, "x")


def test_grey_modes_are_grey() -> None:
    for mode, channels in {"1": 1, "L": 1, "LA": 1, "I;16": 1, "I": 1, "F": 1, "RGB": 3, "P": 3, "CMYK": 3}.items():
        assert channels_of(Image.new(mode, (2, 2))) == channels


def test_transparent_grey_keeps_its_grey_where_it_is_opaque() -> None:
    layers = np.dstack([RANDOM[..., 0], np.full((9, 11), 255, np.uint8)])
    assert np.array_equal(image_pixels(Image.fromarray(layers), 1, "x")[0].numpy(), RANDOM[..., 0])
