"""Whatever the bytes, reading raises one kind of error; one image and a batch of them give the same bits."""

import dataclasses
import io
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from plusx.inputs import INPUTS
from plusx.inputs.batch_augment import POLICIES
from plusx.inputs.image import ImageInput, UnreadableImage
from plusx.inputs.limits import FITS
from plusx.inputs.photo import read_for_training
from plusx.random_streams import uniform

READER = ImageInput(16, 16, 3, (0.5,) * 3, (0.2,) * 3, max_pixels=1_000_000)
SMALL = dataclasses.replace(READER, height=4, width=4)  # so small that training reads a JPEG reduced
RANDOM = np.random.default_rng(0).integers(0, 256, (23, 37, 3), dtype=np.uint8)


def encoded(kind: str, image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def whole_files() -> dict[str, bytes]:
    color = Image.fromarray(RANDOM)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    files = {kind: encoded(kind, color) for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")}
    files["JPEG with EXIF"] = encoded("JPEG", color, exif=exif)
    files["PNG with EXIF"] = encoded("PNG", color, exif=exif)
    files["PNG with a transparent palette"] = encoded("PNG", color.quantize(9), transparency=b"\x00\x80\xff")
    files["deep PNG"] = encoded("PNG", Image.fromarray(RANDOM[..., 0].astype(np.uint16) * 257))
    files["TIFF, LZW"] = encoded("TIFF", color, compression="tiff_lzw", exif=exif)
    files["TIFF of floats"] = encoded("TIFF", Image.fromarray(RANDOM[..., 0].astype(np.float32)))
    files["GIF, animated"] = encoded("GIF", color, save_all=True, append_images=[color.rotate(90)], disposal=2)
    files["PNG, animated"] = encoded("PNG", color, save_all=True, append_images=[color.rotate(90)])
    files["CMYK JPEG"] = encoded("JPEG", color.convert("CMYK"))
    return files


FILES = whole_files()


def look(content: bytes) -> None:
    """Read, for training too, and inspect: all succeed or all raise UnreadableImage, without a warning."""
    reasons: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for act in (READER.read, partial(read_for_training, SMALL), READER.inspect):
            try:
                act(content)
            except UnreadableImage as error:
                reasons.append(error.reason)
    assert len(reasons) in (0, 3), reasons
    assert all(reason and "\n" not in reason for reason in reasons)


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_random_bytes_are_unreadable(content: bytes) -> None:
    with pytest.raises(UnreadableImage):
        READER.read(content)


@given(st.sampled_from([content[:16] for content in FILES.values()]), st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_a_good_beginning_before_random_bytes_raises_one_kind_of_error(start: bytes, rest: bytes) -> None:
    look(start + rest)


@given(st.sampled_from(sorted(FILES)), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_a_truncated_file_raises_one_kind_of_error(name: str, share: float) -> None:
    look(FILES[name][: int(share * len(FILES[name]))])


@given(st.sampled_from(sorted(FILES)), st.data())
@settings(max_examples=500, deadline=None)
def test_flipped_bytes_raise_one_kind_of_error(name: str, data: st.DataObject) -> None:
    content = bytearray(FILES[name])
    # Headers are where a wrong byte does most: half of the places are among the first 200.
    places = st.one_of(st.integers(0, min(199, len(content) - 1)), st.integers(0, len(content) - 1))
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(1, 255)), min_size=1, max_size=4)):
        content[place] ^= value
    look(bytes(content))


@st.composite
def inputs(draw: st.DrawFn) -> ImageInput:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    channels = draw(st.integers(1, 4))
    low = draw(st.floats(0.05, 1))
    return ImageInput(
        height,
        width,
        channels,
        tuple(draw(st.floats(0, 1)) for _ in range(channels)),
        tuple(draw(st.floats(0.01, 3)) for _ in range(channels)),
        fit=draw(st.sampled_from(FITS)),
        crop_fraction=draw(st.floats(0.3, 1)),
        flip=draw(st.booleans()),
        pad_and_crop=draw(st.integers(0, 5)),
        random_resized_crop=draw(st.booleans()),
        crop_scale=(low, draw(st.floats(low, 1))),
        cutout=draw(st.integers(0, min(height, width))),
        policy=draw(st.sampled_from(POLICIES)) if channels in (1, 3) else "none",
    )


@given(inputs())
@settings(max_examples=50, deadline=None)
def test_settings_survive_their_dictionary(settings_: ImageInput) -> None:
    assert INPUTS[settings_.kind].from_dict(settings_.to_dict()) == settings_


@given(inputs(), st.integers(1, 60), st.integers(1, 60), st.integers(1, 5), st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_one_image_and_a_batch_give_the_same_bits(
    settings_: ImageInput, height: int, width: int, count: int, seed: int
) -> None:
    shape = (count, settings_.channels, height, width)
    images = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))
    numbers = uniform(seed, 0, np.arange(count), settings_.draws)
    before = images.clone()
    together = settings_.augment_batch(images, numbers)
    assert together.shape == (count, settings_.channels, settings_.height, settings_.width)
    assert (together.dtype, together.is_contiguous()) == (torch.uint8, True)
    assert images.equal(before)
    for one, draws, of_batch in zip(images, numbers, together, strict=True):
        assert settings_.augment(one, draws).equal(of_batch)


@given(inputs(), st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_what_is_prepared_has_the_size_and_stays_in_range(settings_: ImageInput, height: int, width: int) -> None:
    images = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (2, settings_.channels, height, width), dtype=np.uint8)
    )
    fitted = settings_.fit_to_size(images)
    assert fitted.shape == (2, settings_.channels, settings_.height, settings_.width)
    assert fitted.min() >= -1e-3
    assert fitted.max() <= 255.001
    plain = dataclasses.replace(
        settings_, random_resized_crop=False, flip=False, pad_and_crop=0, cutout=0, policy="none"
    )
    training = plain.augment_batch(images, np.zeros((2, settings_.draws)))
    assert (training.float() - fitted).abs().max() <= 1.51
