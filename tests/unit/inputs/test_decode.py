import dataclasses
import io
import os
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from file_zoo import HEIGHT, WIDTH, Expectation, found_quadrants, make_file_zoo
from PIL import Image

from plusx.inputs.decode import IMAGE_SUFFIXES, UnreadableImage, is_text, open_image, read_bytes
from plusx.inputs.image import ImageInput
from plusx.inputs.photo import read_for_training

READER = ImageInput(32, 32, 3, (0.5,) * 3, (0.2,) * 3)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Expectation]:
    return make_file_zoo(tmp_path_factory.mktemp("zoo"))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(height: int = 24, width: int = 36) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_every_animal_of_the_zoo_is_read_as_expected(zoo: dict[str, Expectation]) -> None:
    for name, expected in zoo.items():
        if expected.quadrants is None:
            for look in (READER.read, READER.inspect):
                with pytest.raises(UnreadableImage) as caught:
                    look(expected.path)
                assert expected.reason in caught.value.reason, name
                assert str(caught.value) == f"{str(expected.path)!r} {caught.value.reason}", name
            continue
        pixels = READER.read(expected.path)
        assert pixels.shape == (3, HEIGHT, WIDTH), name
        assert pixels.is_contiguous(), name
        found = np.array(found_quadrants(pixels.permute(1, 2, 0).numpy()))
        assert np.abs(found - np.array(expected.quadrants)).max() <= expected.tolerance, (name, found)
        facts = READER.inspect(expected.path)
        assert (facts.channels, facts.height, facts.width) == (expected.channels, HEIGHT, WIDTH), name


def test_the_zoo_is_the_same_from_paths_texts_and_bytes(zoo: dict[str, Expectation]) -> None:
    for name in ("数据/猫.jpg", "palette_transparent.png", "exif_6.jpg"):
        path = zoo[name].path
        whole = READER.read(path)
        assert whole.equal(READER.read(str(path)))
        assert whole.equal(READER.read(path.read_bytes()))
        assert whole.equal(READER.read(memoryview(path.read_bytes())))
        assert READER.inspect(path) == READER.inspect(path.read_bytes())


def test_threads_read_without_disturbing_one_another(zoo: dict[str, Expectation]) -> None:
    paths = [animal.path for animal in zoo.values() if animal.readable] * 3
    alone = [READER.inspect(path) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(READER.inspect, paths)) == alone


def test_a_missing_file_and_a_pipe_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"no\.jpg' does not exist"):
        READER.read(tmp_path / "no.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UnreadableImage, match="is not a regular file"):
        READER.read(tmp_path / "pipe.jpg")
    with pytest.raises(UnreadableImage, match="cannot be opened: File name too long"):
        READER.read(tmp_path / ("x" * 300))
    with pytest.raises(UnreadableImage, match="null byte"):
        read_bytes(Path("a\0b"))


def test_the_pixel_count_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(noise(), "PNG")
    small = ImageInput(8, 8, 3, (0.5,) * 3, (0.2,) * 3, max_pixels=24 * 36 - 1)
    with pytest.raises(UnreadableImage) as caught:
        small.read(content)
    assert caught.value.reason == "has 864 pixels, more than max_pixels 863"
    with pytest.raises(UnreadableImage, match="has 864 pixels"):
        small.read(noise())
    assert ImageInput(8, 8, 3, (0.5,) * 3, (0.2,) * 3, max_pixels=864).read(content).shape == (3, 24, 36)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_pillows_own_opinion_on_large_images_does_not_leak(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(noise(), kind)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 24 * 36 - 1)
    assert READER.read(content).shape == (3, 24, 36)


def test_what_pillow_refuses_to_allocate_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(noise(), "WEBP")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UnreadableImage, match="more pixels than Pillow accepts"):
        READER.read(content)


def test_no_memory_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(UnreadableImage, match="too large for this machine's memory"):
        READER.read(encoded(noise(), "PNG"))


def test_a_torn_exif_block_does_not_spoil_the_picture() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description that is longer than four bytes"
    content = encoded(noise(), "JPEG", exif=exif)
    fields = content.index(b"Exif\0\0") + 6 + 8  # where the block counts its fields
    many, far = bytearray(content), bytearray(content)
    many[fields] = 0xFF
    far[fields + 2 + 8] = 0x7F  # where the description is said to stand
    for torn in (many, far):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            assert READER.read(torn).float().mean() > 100
        assert not seen


def test_text_is_told_from_damage() -> None:
    assert is_text("cats: 猫\n".encode() * 1000)
    assert is_text(b"x" * 4095 + "猫".encode() * 10)
    assert not is_text(b"\x89PNG")
    assert not is_text(b"a\0b")
    assert not is_text(b"x" * 10 + b"\xe7\x8c")
    with pytest.raises(UnreadableImage, match=r"a text file named \.bmp"):
        open_image(b"BM is not always a bitmap", max_pixels=10, name="x", suffix=".bmp")
    with pytest.raises(UnreadableImage) as caught:
        READER.read(b"hello")
    assert caught.value.reason == "is not an image: a text file"
    with pytest.raises(UnreadableImage, match="is empty"):
        READER.read(b"")


def test_an_error_crosses_a_process_border_with_its_reason() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImage("is empty", "'a.jpg'")))
    assert (error.reason, str(error)) == ("is empty", "'a.jpg' is empty")


def test_suffixes_are_lower_case() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"} <= IMAGE_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)


def test_pil_images_are_read_and_left_alone() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(noise(), "JPEG", exif=exif)
    image = Image.open(io.BytesIO(content))
    assert READER.read(image).equal(READER.read(content))
    assert image.size == (36, 24)
    facts = READER.inspect(image)
    assert (facts.channels, facts.height, facts.width) == (3, 36, 24)
    assert facts.sha256 == READER.inspect(Image.open(io.BytesIO(content))).sha256 != READER.inspect(noise()).sha256
    with pytest.raises(UnreadableImage, match="is truncated"):
        READER.read(Image.open(io.BytesIO(content[:-500])))


def test_training_reads_a_jpeg_no_larger_than_it_needs(tmp_path: Path) -> None:
    settings = ImageInput(8, 8, 3, (0.5,) * 3, (0.2,) * 3, flip=True)
    picture = noise(3, 4).resize((104, 72), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, turned = encoded(picture, "JPEG", quality=95), encoded(picture, "JPEG", quality=95, exif=exif)
    small = read_for_training(settings, plain)
    assert small.shape == (3, 9, 13)
    assert read_for_training(settings, turned).shape == (3, 13, 9)
    upright = dataclasses.replace(settings, height=13, width=9, fit="stretch")
    assert read_for_training(upright, turned).shape == (3, 13, 9), "reduced as its upright shape allows"
    assert read_for_training(upright, plain).shape == (3, 18, 26)
    assert small.equal(read_for_training(settings, plain)), "the same bits each time"
    numbers = np.full(settings.draws, 0.7)
    difference = settings.augment(small, numbers).float() - settings.augment(settings.read(plain), numbers).float()
    assert difference.abs().mean() < 3
    grey = ImageInput(8, 8, 1, (0.5,), (0.2,))
    assert read_for_training(grey, encoded(picture.convert("L"), "JPEG")).shape == (1, 9, 13)
    assert read_for_training(grey, encoded(picture.convert("CMYK"), "JPEG")).shape == (1, 9, 13)


def test_training_reads_everything_else_as_it_is(zoo: dict[str, Expectation]) -> None:
    settings = ImageInput(8, 8, 3, (0.5,) * 3, (0.2,) * 3)
    for source in (encoded(noise(), "PNG"), encoded(noise(), "WEBP"), noise(), np.asarray(noise())):
        assert read_for_training(settings, source).equal(settings.read(source))
    large = dataclasses.replace(settings, height=20, width=20)
    jpeg = encoded(noise(), "JPEG")
    assert read_for_training(large, jpeg).equal(large.read(jpeg))
    for animal in zoo.values():
        if animal.quadrants is None:
            with pytest.raises(UnreadableImage):
                read_for_training(settings, animal.path)


def test_what_is_no_source_is_refused_in_one_sentence() -> None:
    accepted = r"expected a path, a file's bytes, a PIL image, or a NumPy array of shape \(height, width\) or "
    for read in (READER.read, partial(read_for_training, READER), READER.inspect):
        with pytest.raises(UnreadableImage, match=rf"is a Tensor; {accepted}.*permute\(1, 2, 0\)"):
            read(torch.zeros(3, 8, 8, dtype=torch.uint8))  # type: ignore[arg-type]
        with pytest.raises(UnreadableImage, match=f"is a int; {accepted}"):
            read(7)  # type: ignore[arg-type]


def test_warning_filters_are_put_once() -> None:
    READER.read(noise())
    count = len(warnings.filters)
    READER.read(noise())
    assert len(warnings.filters) == count
    warnings.simplefilter("error")
    READER.read(noise())
    assert warnings.filters[0][2] is PIL.Image.DecompressionBombWarning


def test_an_orientation_that_cannot_be_parsed_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise SyntaxError

    content = encoded(noise(), "PNG")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.getexif", fail)
    assert READER.read(content).shape == (3, 24, 36)
