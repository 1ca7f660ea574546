"""Pixels as PNG files."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from plusx.errors import DataError
from plusx.evaluation.pictures import contact_sheet, size_of, to_png


def opened(png):
    return Image.open(io.BytesIO(png))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (5, "RGB")])
def test_pixels_survive(channels, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (channels, 4, 6), np.uint8)
    png = to_png(pixels)
    picture = opened(png)
    assert picture.mode == mode
    assert size_of(png) == picture.size == (6, 4)
    shown = pixels[0] if mode == "L" else pixels[:3].transpose(1, 2, 0)
    assert (np.asarray(picture) == shown).all()


def test_tensors_are_taken_and_large_ones_shrunk():
    assert size_of(to_png(torch.zeros(3, 300, 600, dtype=torch.uint8), largest=100)) == (100, 50)


@pytest.mark.parametrize("pixels", [np.zeros((3, 4, 4)), np.zeros((4, 4), np.uint8), np.zeros((3, 0, 4), np.uint8)])
def test_other_arrays_are_refused(pixels):
    with pytest.raises(DataError, match="uint8"):
        to_png(pixels)


def test_a_contact_sheet_holds_every_image_in_order():
    images = [np.full((1, 2, 2), value, np.uint8) for value in (10, 20, 30)]
    sheet = opened(contact_sheet(images, columns=2, cell=8, gap=1))
    assert sheet.size == (19, 19)
    assert [sheet.getpixel(at)[0] for at in ((5, 5), (14, 5), (5, 14), (14, 14))] == [10, 20, 30, 128]


def test_tiny_images_grow_in_whole_squares():
    sheet = opened(contact_sheet([np.array([[[0, 255]]], np.uint8)], cell=8, gap=0))
    assert set(np.asarray(sheet.convert("L")).ravel().tolist()) == {0, 128, 255}


def test_an_empty_sheet_is_refused():
    with pytest.raises(DataError, match="at least one"):
        contact_sheet([])
