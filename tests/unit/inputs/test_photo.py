import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from plusx.inputs import ImageInput, photo
from plusx.inputs.batch_augment import crop_box
from plusx.inputs.image import UnreadableImage
from plusx.inputs.photo import ending_at, place_of_height, read_augmented, reduced
from plusx.random_streams import uniform

CROPPED = ImageInput(32, 32, 3, (0.5,) * 3, (0.2,) * 3, random_resized_crop=True, flip=True)
DRAWS = uniform(0, 0, np.arange(60), CROPPED.draws)


def picture(width=256, height=192, mode="RGB"):
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height // 48, width // 48, 3), np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def jpeg(image=None, **options):
    file = io.BytesIO()
    (image or picture()).save(file, "JPEG", **{"quality": 90, **options})
    return file.getvalue()


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


KINDS = {
    "4:2:0": jpeg(),
    "4:4:4": jpeg(subsampling=0),
    "4:2:2": jpeg(subsampling=1),
    "progressive": jpeg(progressive=True),
    "restarts": jpeg(restart_marker_rows=2),
    "turned": jpeg(exif=exif(6)),
    "upright, with EXIF": jpeg(exif=exif(1), comment=b"\xff\xc0\x00" * 9),
    "gray": jpeg(picture(mode="L")),
    "CMYK": jpeg(picture(mode="CMYK")),
    "odd": jpeg(picture(253, 187)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_read_by_itself_is_that_of_the_whole(kind, channels):
    """Without reduction to the bit; with it as close as a decoder's own scaling is to resizing."""
    settings = dataclasses.replace(CROPPED, channels=channels, mean=(0.5,) * channels, deviation=(0.2,) * channels)
    content = KINDS[kind]
    whole = settings.read(content)
    exact = dataclasses.replace(settings, height=200, width=200)  # no crop is so large that a smaller decode would do
    for numbers in DRAWS[:20]:
        expected = exact.augment(whole, numbers)
        assert exact.read_augmented(content, numbers).equal(expected)
        close = settings.read_augmented(content, numbers).float() - settings.augment(whole, numbers)
        assert close.abs().mean() < 10
        assert settings.read_augmented(content, numbers).equal(settings.read_augmented(content, numbers))


def test_a_file_without_reduction_gives_the_bits_of_the_whole():
    for kind in ("PNG", "WEBP"):
        file = io.BytesIO()
        picture().save(file, kind)
        for numbers in DRAWS[:10]:
            expected = CROPPED.augment(CROPPED.read(file.getvalue()), numbers)
            assert CROPPED.read_augmented(file.getvalue(), numbers).equal(expected)


def test_arrays_give_the_bits_of_the_whole():
    for array in (np.array(picture()), np.array(picture(mode="L")), np.array(picture()) > 99):
        array.setflags(write=False)
        for numbers in DRAWS[:10]:
            expected = CROPPED.augment(CROPPED.read(array), numbers)
            assert CROPPED.read_augmented(array, numbers).equal(expected)


@pytest.mark.parametrize("changes", [{"pad_and_crop": 3}, {"cutout": 9}, {"policy": "randaugment"}])
def test_what_follows_the_crop_is_done_too(changes):
    settings = dataclasses.replace(CROPPED, **changes)
    array = np.array(picture())
    for numbers in DRAWS[:5]:
        assert settings.read_augmented(array, numbers).equal(settings.augment(settings.read(array), numbers))


def test_the_channels_of_a_crop_are_last_in_memory():
    """So that it is copied into a batch as it is: with them first, that took longer than resizing."""
    for source in (KINDS["4:2:0"], CROPPED.read(KINDS["4:2:0"]).permute(1, 2, 0).numpy()):
        for numbers in DRAWS[:4]:
            assert read_augmented(CROPPED, source, numbers).permute(1, 2, 0).is_contiguous()


def test_without_a_random_crop_the_image_is_reduced_and_augmented():
    settings = dataclasses.replace(CROPPED, random_resized_crop=False)
    content = KINDS["4:2:0"]
    small = photo.read_for_training(settings, content)
    assert small.shape == (3, 48, 64)
    assert settings.read_augmented(content, DRAWS[0]).equal(settings.augment(small, DRAWS[0]))


def decoded_sizes(monkeypatch):
    sizes = []
    original = photo.decode

    def spy(image, **options):
        sizes.append(image.size)
        return original(image, **options)

    monkeypatch.setattr(photo, "decode", spy)
    return sizes


def test_no_more_is_decoded_than_the_crop_needs(monkeypatch):
    sizes = decoded_sizes(monkeypatch)
    content = jpeg(picture(1024, 768))
    factors = set()
    for numbers in DRAWS:
        _, _, tall, wide = box = crop_box(768, 1024, CROPPED, numbers)
        read_augmented(CROPPED, content, numbers)
        width, height = sizes.pop()
        factor = round(1024 / width)
        factors.add(factor)
        assert height <= -(-(box[0] + tall + photo.BELOW) // factor)
        assert min(tall, wide) // factor >= 32
        assert factor == 8 or min(tall, wide) // (2 * factor) < 32
    assert factors >= {4, 8}


def test_what_is_cut_off_below_a_crop_is_not_missed():
    numbers = min(DRAWS, key=lambda row: sum(crop_box(768, 1024, CROPPED, row)[::2]))
    content = jpeg(picture(1024, 768))
    damaged = content[: len(content) * 9 // 10] + b"\xff\xd9"
    assert CROPPED.read_augmented(damaged, numbers).equal(CROPPED.read_augmented(content, numbers))
    with pytest.raises(UnreadableImage, match="truncated"):
        read_augmented(CROPPED, content[: len(content) // 50], numbers)


def test_only_files_whose_rows_come_in_order_are_ended_early():
    for kind, content in KINDS.items():
        place = place_of_height(content)
        if kind == "progressive":
            assert place is None
            assert ending_at(content, 5) is content
            continue
        height = JpegImageFile(io.BytesIO(content)).size[1]
        assert int.from_bytes(content[place : place + 2], "big") == height
        assert ending_at(content, height) is content
        assert JpegImageFile(io.BytesIO(ending_at(content, 48))).size[1] == 48


def test_headers_of_any_kind_are_survived():
    content = KINDS["4:2:0"]
    place = place_of_height(content)
    filled = content[:2] + b"\xff\xff\xff\x01" + content[2:]
    assert place_of_height(filled) == place + 4
    scan = content.index(b"\xff\xda")
    several = content[: scan + 4] + b"\x01" + content[scan + 5 :]
    assert place_of_height(several) is None, "a scan of one color of three"
    for broken in (b"", b"\xff\xd8", content[:50], content[:2] + b"\0" * 99, b"\xff\xd8" + content[scan:]):
        assert place_of_height(broken) is None


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_without_a_random_crop_a_cached_image_trains_to_the_same_bits(fit):
    settings = ImageInput(32, 32, 3, (0.5,) * 3, (0.2,) * 3, fit=fit, crop_fraction=0.875, flip=True, pad_and_crop=2)
    for content in (*KINDS.values(), jpeg(picture(48, 48)), jpeg(picture(900, 48))):
        kept = reduced(settings, content)
        assert kept.flags.c_contiguous
        for numbers in DRAWS[:3]:
            assert settings.read_augmented(kept, numbers).equal(settings.read_augmented(content, numbers))


def test_with_a_random_crop_a_cache_keeps_half_again_the_final_size():
    settings = dataclasses.replace(CROPPED, height=40, width=32)
    assert reduced(settings, KINDS["4:2:0"]).shape == (60, 80, 3)
    assert reduced(settings, KINDS["turned"]).shape == (80, 60, 3)
    assert reduced(settings, jpeg(picture(64, 48))).shape == (48, 64, 3)
    assert np.array_equal(
        reduced(settings, jpeg(picture(64, 48))), np.array(JpegImageFile(io.BytesIO(jpeg(picture(64, 48)))))
    )
    difference = reduced(settings, KINDS["4:4:4"]).astype(float) - np.array(picture().resize((80, 60)))
    assert abs(difference).mean() < 6
    array = np.array(picture(64, 48))
    assert reduced(settings, array).shape == array.shape
    assert torch.from_numpy(reduced(settings, array)).equal(torch.from_numpy(array))


@pytest.mark.parametrize("kind", ["4:2:0", "4:2:2", "4:4:4", "restarts", "gray", "odd"])
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_what_is_above_the_new_end_is_decoded_to_the_same_bits(kind, factor):
    def decoded(content):
        image = JpegImageFile(io.BytesIO(content))
        photo.reduce_by(image, factor)
        return np.array(image)

    whole = decoded(KINDS[kind])
    for end in (1, 15, 16, 17, 40, 90, 130):
        part = decoded(ending_at(KINDS[kind], end + photo.BELOW))
        assert len(part) < len(whole)
        assert np.array_equal(part[: end // factor], whole[: end // factor])
