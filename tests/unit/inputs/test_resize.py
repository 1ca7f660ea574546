import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate
from torchvision import transforms
from torchvision.transforms import v2

from plusx.inputs.image import ImageInput
from plusx.inputs.resize import Span, bands, crop_spans

SIZES = [(32, 32, 17, 40), (100, 75, 224, 224), (75, 100, 20, 20), (400, 31, 64, 64), (3, 1000, 8, 8), (1, 1, 5, 7)]


def image(height: int, width: int, channels: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (channels, height, width), dtype=np.uint8))


def stretch(height: int, width: int) -> ImageInput:
    return ImageInput(height, width, 3, (0.5,) * 3, (0.2,) * 3, fit="stretch")


def crop(size: int, fraction: float = 1.0) -> ImageInput:
    return ImageInput(size, size, 3, (0.5,) * 3, (0.2,) * 3, crop_fraction=fraction)


@pytest.mark.parametrize(("height", "width", "to_height", "to_width"), SIZES)
def test_stretching_is_torchs_antialiased_resize(height: int, width: int, to_height: int, to_width: int) -> None:
    pixels = image(height, width)
    ours = stretch(to_height, to_width).fit_to_size(pixels)
    assert (ours.dtype, ours.shape) == (torch.float32, (3, to_height, to_width))
    theirs = interpolate(pixels[None].double(), (to_height, to_width), mode="bilinear", antialias=True)[0]
    assert (ours - theirs).abs().max() < 1e-3
    pillow = Image.fromarray(pixels.permute(1, 2, 0).numpy()).resize((to_width, to_height), Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(pillow).astype(float) - ours.permute(1, 2, 0).numpy()).max() <= 1.01


@pytest.mark.parametrize(("size", "fraction"), [(24, 1.0), (28, 0.875), (24, 24 / 25), (224, 224 / 232)])
@pytest.mark.parametrize(("height", "width"), [(40, 40), (41, 67), (67, 41), (30, 97), (20, 23), (333, 500)])
def test_cropping_is_torchvisions_resize_and_center_crop(size: int, fraction: float, height: int, width: int) -> None:
    pixels = image(height, width)
    theirs = v2.Compose([v2.Resize(round(size / fraction), antialias=True), v2.CenterCrop(size)])(pixels.double())
    assert (crop(size, fraction).fit_to_size(pixels) - theirs).abs().max() < 1e-3


def test_a_crop_that_is_not_square_is_covered() -> None:
    settings = ImageInput(30, 60, 3, (0.5,) * 3, (0.2,) * 3)
    for height, width in ((100, 100), (100, 500), (7, 9), (1, 300), (300, 1)):
        assert settings.fit_to_size(image(height, width)).shape == (3, 30, 60)
        rows, columns = crop_spans(height, width, 30, 60, 1.0)
        assert rows.resized >= 30
        assert columns.resized >= 60
        assert rows.resized == 30 or columns.resized == 60
        assert 0 <= rows.offset <= rows.resized - 30
        assert 0 <= columns.offset <= columns.resized - 60


def test_an_image_of_the_right_size_is_not_touched_unless_it_is_cropped() -> None:
    pixels = image(28, 28)
    for settings in (crop(28), stretch(28, 28)):
        assert settings.fit_to_size(pixels).equal(pixels.float())
    assert not crop(28, 0.875).fit_to_size(pixels).equal(pixels.float())
    wide = image(28, 40)
    assert crop(28).fit_to_size(wide).equal(wide[..., 6:34].float())


def test_only_the_needed_part_of_a_long_strip_is_computed() -> None:
    rows, columns = crop_spans(3, 30_000, 224, 224, 1.0)
    parts = bands(columns)
    assert sum(len(part.weights) for part in parts) == 224
    assert parts[-1].needed.stop - parts[0].needed.start < 10
    assert rows.resized == 224


def test_weights_sum_to_one_and_constant_images_stay() -> None:
    for span in (Span(100, 7, 0, 7), Span(7, 100, 3, 90), Span(5, 5_000, 4_900, 100)):
        assert all(np.allclose(part.weights.sum(axis=1), 1, atol=1e-6) for part in bands(span))
    constant = torch.full((3, 91, 57), 200, dtype=torch.uint8)
    assert (crop(32, 0.9).fit_to_size(constant) - 200).abs().max() < 1e-4


def test_a_batch_is_prepared_as_its_images_are() -> None:
    batch = torch.stack([image(50, 70), image(50, 70).flip(1), image(50, 70).flip(2)])
    settings = crop(24, 0.8)
    together = settings.prepare(batch)
    assert together.shape == (3, 3, 24, 24)
    for one, of_batch in zip(batch, together, strict=True):
        torch.testing.assert_close(settings.prepare(one), of_batch, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(375, 500), (61, 300), (33, 20)])
def test_a_batch_is_resized_to_the_bits_of_its_images(height: int, width: int) -> None:
    batch = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, height, width), dtype=np.uint8))
    for settings in (crop(70, 0.875), stretch(31, 224)):
        together = settings.fit_to_size(batch)
        assert all(settings.fit_to_size(one).equal(of_batch) for one, of_batch in zip(batch, together, strict=True))


def test_the_bands_of_a_large_side_overlap_by_the_filter_only() -> None:
    parts = bands(Span(4000, 256, 16, 224))
    assert [len(part.weights) for part in parts] == [16] * 14
    seen = sum(part.weights.shape[1] for part in parts)
    assert seen < 1.2 * (parts[-1].needed.stop - parts[0].needed.start)


def test_preparing_inside_inference_mode_spoils_nothing_outside() -> None:
    settings = crop(23, 0.9)
    with torch.inference_mode():
        settings.prepare(image(50, 70))
    pixels = image(50, 70).float().requires_grad_()
    settings.prepare(pixels).sum().backward()
    assert pixels.grad is not None


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(224, 224), (375, 500), (500, 333), (97, 70), (256, 256), (30, 41)])
def test_rounded_is_what_torchvision_makes_with_pillow(height, width, interpolation):
    # Noise of black and white: a bicubic filter overshoots on both sides.
    pixels = np.random.default_rng(height).choice(np.array([0, 128, 255], np.uint8), (height, width, 3))
    mode = transforms.InterpolationMode(interpolation)
    theirs = transforms.Compose([transforms.Resize(64, mode), transforms.CenterCrop(56), transforms.PILToTensor()])
    expected = theirs(Image.fromarray(pixels)).float()
    finer = dataclasses.replace(crop(56, 0.875), interpolation=interpolation)
    given = torch.from_numpy(pixels).permute(2, 0, 1)
    assert dataclasses.replace(finer, rounded=True).fit_to_size(given).equal(expected)
    assert not finer.fit_to_size(given).equal(expected)


@pytest.mark.parametrize(("height", "width"), [(100, 75), (75, 100), (31, 400)])
def test_bicubic_is_torchs_within_the_range_of_levels(height, width):
    pixels = image(height, width)
    expected = interpolate(pixels[None].float(), size=(40, 50), mode="bicubic", antialias=True)[0].clamp(0, 255)
    found = dataclasses.replace(stretch(40, 50), interpolation="bicubic").fit_to_size(pixels)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-2)


def test_rounded_changes_nothing_where_nothing_is_resized():
    pixels = torch.randint(0, 256, (3, 28, 40), dtype=torch.uint8)
    assert dataclasses.replace(crop(28), rounded=True).fit_to_size(pixels).equal(crop(28).fit_to_size(pixels))
