import dataclasses
import io
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from plusx.checkpoint import Checkpoint
from plusx.data import Sample
from plusx.data.batches import Batches
from plusx.device import Device
from plusx.errors import CheckpointError, DataError, UsageError
from plusx.evaluation.inference import predict
from plusx.events import result_of
from plusx.inputs.image import ImageInput
from plusx.predict import Answer, Predictor, reading_threads

NAMES = ("b.png", "deep/a.jpg", "猫.png", "z.bmp")


@pytest.fixture
def predictor():
    return Predictor(tiny.checkpoint(), Device())


@pytest.fixture
def folder(tmp_path):
    """Pictures of several sizes and kinds, which the network tells apart."""
    for number, name in enumerate(NAMES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(tiny.pixels(number % 3, number, side=8 + 3 * number)).save(tmp_path / name)
    return tmp_path


def same(first, second, tolerance=1e-6):
    return first.class_name == second.class_name and np.allclose(
        list(first.probabilities.values()), list(second.probabilities.values()), atol=tolerance, rtol=0
    )


def test_a_file_has_one_answer_with_all_probabilities(predictor, folder):
    (answer,) = predictor(folder / "b.png")
    assert answer.path == str(folder / "b.png")
    assert list(answer.probabilities) == list(tiny.CLASSES) == list(predictor.classes)
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert answer.probability == max(answer.probabilities.values()) == answer.probabilities[answer.class_name]
    assert answer.error is None


def test_the_pictures_are_told_apart(predictor, folder):
    """Guards the guards below: answers that were all alike could be swapped unseen."""
    rows = [tuple(round(value, 3) for value in answer.probabilities.values()) for answer in predictor(folder)]
    assert len(set(rows)) == len(NAMES)


def test_answers_are_those_of_an_evaluation(predictor, folder):
    files = [folder / name for name in NAMES]
    samples = [Sample(str(path), path, None) for path in files]
    batches = Batches(samples, tiny.INPUT, batch_size=3, collate=tiny.TASK.collate, training=False)
    found = result_of(predict(tiny.checkpoint().network(), tiny.TASK, batches, Device()))
    rows = [list(answer.probabilities.values()) for answer in predictor(files)]
    np.testing.assert_allclose(rows, found.probabilities, atol=1e-6)


def test_a_folder_a_glob_and_a_list_name_the_same_files(predictor, folder):
    whole = predictor(folder)
    assert sorted(answer.path for answer in whole) == sorted(str(folder / name) for name in NAMES)
    by_path = {answer.path: answer for answer in whole}
    for answers in (predictor(str(folder / "**" / "*.*")), predictor([folder / name for name in NAMES])):
        assert {answer.path for answer in answers} == set(by_path)
        assert all(same(answer, by_path[answer.path]) for answer in answers)
    assert [answer.path for answer in predictor(f"{folder}/*.png")] == [
        str(folder / name) for name in ("b.png", "猫.png")
    ]


def test_pixels_answer_alike_whatever_holds_them(predictor, folder):
    (expected,) = predictor(folder / "b.png")
    picture = Image.open(folder / "b.png")
    pixels = np.asarray(picture)
    held = [(folder / "b.png").read_bytes(), picture, pixels, pixels[..., None], str(folder / "b.png")]
    for one in held:
        (alone,) = predictor(one)
        assert same(alone, expected)
    together = predictor(held)
    assert all(same(answer, expected) for answer in together)
    assert [answer.path for answer in together] == [*(f"image {n}" for n in (1, 2, 3, 4)), str(folder / "b.png")]


def test_images_of_other_sizes_and_channels_are_prepared_as_the_input_says(predictor, folder):
    picture = Image.open(folder / "z.bmp")
    color = Image.merge("RGB", [picture] * 3)
    assert same(*predictor([picture, color]), tolerance=1e-3)


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_broken_files_keep_their_names_and_leave_the_others_alone(folder, batch_size):
    good = {answer.path: answer for answer in Predictor(tiny.checkpoint(), Device())(folder)}
    whole = (folder / "b.png").read_bytes()
    broken = {
        "a-empty.png": (b"", "is empty"),
        "b-half.png": (whole[: len(whole) // 2], "truncated"),
        "c-text.jpg": (b"hello", "a text file named .jpg"),
        "zz.png": (whole[:20], "is truncated"),
        "猫2.png": (b"\0" * 100, "is not a JPEG, PNG"),
    }
    for name, (content, _) in broken.items():
        (folder / name).write_bytes(content)
    answers = Predictor(tiny.checkpoint(), Device(), batch_size=batch_size)(folder)
    found = {answer.path: answer for answer in answers}
    assert len(answers) == len(found) == len(NAMES) + len(broken)
    for name, (_, reason) in broken.items():
        answer = found[str(folder / name)]
        assert reason in answer.error
        assert (answer.class_name, answer.probability, answer.probabilities) == (None, None, None)
        assert answer.to_dict() == {"path": str(folder / name), "error": answer.error}
    for path, answer in good.items():
        assert found[path].class_name == answer.class_name
        assert same(found[path], answer)


def test_only_broken_files_still_get_an_answer_each(predictor, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"")
    assert [answer.error for answer in predictor(tmp_path)] == ["is empty"] * 3


def test_answers_come_as_soon_as_their_batch_is_computed(folder):
    taken = []

    def sources():
        for number in range(6):
            taken.append(number)
            yield tiny.pixels(number % 3, number)

    answers = Predictor(tiny.checkpoint(), Device(), batch_size=2).answers(sources())
    assert next(answers).path == "image 1"
    assert taken == [0, 1]
    assert [answer.path for answer in answers] == [f"image {number}" for number in range(2, 7)]


def test_files_are_read_by_several_threads_and_keep_their_order(predictor, folder, monkeypatch):
    monkeypatch.setattr("plusx.launch.cores", lambda: 4)
    files = [folder / name for name in NAMES] * 5
    files[7] = folder / "none.png"
    readers, read = set(), ImageInput.read

    def slow(self, source):
        readers.add(threading.get_ident())
        time.sleep(0.002 * (source == files[0]))
        return read(self, source)

    monkeypatch.setattr(ImageInput, "read", slow)
    answers = list(predictor.answers(files))
    assert len(readers) > 1
    assert threading.get_ident() not in readers
    assert [answer.path for answer in answers] == [str(file) for file in files]
    assert [place for place, answer in enumerate(answers) if answer.error] == [7]
    assert all(same(answers[place], answers[place % 4]) for place in range(20) if place != 7)


def test_few_files_and_what_is_in_memory_are_read_without_threads(monkeypatch):
    monkeypatch.setattr("plusx.launch.cores", lambda: 64)
    picture = tiny.pixels(0, 0)
    assert [reading_threads([Path("a.png")] * count) for count in (3, 7, 8, 32)] == [0, 1, 2, 8]
    assert reading_threads([b"bytes", "a.png"] * 8) == 4
    assert reading_threads([picture] * 32) == reading_threads([*["a.png"] * 31, Image.fromarray(picture)]) == 0


def test_batch_sizes_give_the_same_classes(folder):
    pictures = [tiny.pixels(number % 3, number) for number in range(40)]
    one, many = (Predictor(tiny.checkpoint(), Device(), batch_size=size)(pictures) for size in (1, 32))
    assert all(same(first, second) for first, second in zip(one, many, strict=True))


def test_answers_are_float32_on_any_device(folder):
    low = Predictor(tiny.checkpoint(), Device(precision="bfloat16", channels_last=True))
    high = Predictor(tiny.checkpoint(), Device())
    assert all(same(first, second) for first, second in zip(low(folder), high(folder), strict=True))


def test_nothing_there_is_one_sentence(predictor, tmp_path):
    with pytest.raises(UsageError, match=r"no-such\.png"):
        predictor(tmp_path / "no-such.png")
    with pytest.raises(DataError, match="no images were found"):
        predictor(tmp_path)
    with pytest.raises(UsageError, match="batch_size is 0"):
        Predictor(tiny.checkpoint(), Device(), batch_size=0)
    assert predictor([]) == []


def test_the_limit_of_pixels_can_be_changed(folder):
    (answer,) = Predictor(tiny.checkpoint(), Device(), max_pixels=10)(folder / "b.png")
    assert "max_pixels 10" in answer.error
    assert tiny.checkpoint().input.max_pixels > 10


def test_an_answer_is_plain_values():
    answer = Answer("a.png", "猫", 0.75, {"猫": 0.75, "dog": 0.25})
    assert answer.to_dict() == {
        "path": "a.png",
        "class": "猫",
        "probability": 0.75,
        "probabilities": {"猫": 0.75, "dog": 0.25},
    }


def test_weights_that_do_not_fit_are_noticed_when_it_is_made():
    torn = dataclasses.replace(tiny.checkpoint(), weights={})
    with pytest.raises(CheckpointError, match="do not fit"):
        Predictor(torn, Device())


def test_the_callers_picture_is_not_changed(predictor, folder):
    stream = io.BytesIO((folder / "z.bmp").read_bytes())
    picture = Image.open(stream).convert("P")
    before = picture.tobytes(), picture.mode, picture.size
    predictor(picture)
    assert (picture.tobytes(), picture.mode, picture.size) == before


def test_a_loaded_checkpoint_predicts_as_the_one_that_was_saved(predictor, folder, tmp_path):
    tiny.checkpoint().save(tmp_path / "saved.safetensors")
    again = Predictor(Checkpoint.load(tmp_path / "saved.safetensors"), Device())
    assert [answer.to_dict() for answer in again(folder)] == [answer.to_dict() for answer in predictor(folder)]
