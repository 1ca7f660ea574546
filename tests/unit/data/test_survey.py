import threading
from types import SimpleNamespace

import numpy as np
import pytest

from plusx.data import Dataset, Rejected, Sample
from plusx.data.in_order import in_order
from plusx.data.survey import survey
from plusx.errors import DataError
from plusx.events import Advanced, result_of


class UnreadableError(DataError):
    def __init__(self, reason):
        super().__init__(f"a longer sentence: {reason}")
        self.reason = reason


def files(folder, count):
    for index in range(count):
        (folder / f"{index:03d}.jpg").write_bytes(b"x" * index)
    samples = tuple(Sample(f"{index:03d}.jpg", folder / f"{index:03d}.jpg", index % 2) for index in range(count))
    return Dataset("made", "made", ("a", "b"), samples, (Rejected("earlier", "does not exist"),))


def inspect(source):
    size = source.stat().st_size
    if size % 5 == 0:
        raise UnreadableError("is empty")
    return SimpleNamespace(channels=1, height=size, width=2, sha256=f"sum {size}")


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_what_cannot_be_read_is_set_aside_by_name(tmp_path, workers):
    made = files(tmp_path, 100)
    checked, facts = result_of(survey(made, inspect, workers=workers))
    assert [one.name for one in checked.samples] == [f"{index:03d}.jpg" for index in range(100) if index % 5]
    assert [one.sha256 for one in checked.samples] == [f"sum {index}" for index in range(100) if index % 5]
    assert [one.height for one in facts] == [index for index in range(100) if index % 5]
    assert checked.rejected == (
        made.rejected[0],
        *(Rejected(f"{index:03d}.jpg", "is empty") for index in range(0, 100, 5)),
    )
    assert [one.target for one in checked.samples] == [index % 2 for index in range(100) if index % 5]


def test_files_that_vanish_and_plain_errors_are_reasons_too(tmp_path):
    made = files(tmp_path, 4)
    (tmp_path / "001.jpg").unlink()

    def strict(source):
        if source.stat().st_size == 2:
            raise DataError("this is all that is known")
        return inspect(source)

    checked, _ = result_of(survey(made, strict, workers=2))
    assert [(one.name, one.reason) for one in checked.rejected[1:]] == [
        ("000.jpg", "is empty"),
        ("001.jpg", "No such file or directory"),
        ("002.jpg", "this is all that is known"),
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_where_memory_lacks_no_image_is_set_aside(tmp_path, workers):
    def inspect_nothing(source):
        raise DataError("'x.jpg' is too large for this machine's memory") from MemoryError()

    with pytest.raises(MemoryError, match="too large"):
        result_of(survey(files(tmp_path, 5), inspect_nothing, workers=workers))


def test_progress_is_told_in_steps_and_to_the_end(tmp_path):
    events = list(survey(files(tmp_path, 30), inspect, workers=2))
    assert events[-1] == Advanced("checking images", 30, 30)
    pixels = np.zeros((1, 1), np.uint8)
    many = Dataset("made", "made", ("a",), tuple(Sample(f"{index}", pixels, 0) for index in range(5000)))
    threads = set()

    def quick(source):
        threads.add(threading.get_ident())
        return SimpleNamespace(channels=1, height=1, width=1, sha256="x")

    events = list(survey(many, quick, workers=2))
    assert len(events) <= 201
    assert events[-1].done == 5000
    assert threads == {threading.get_ident()}, "arrays are not worth a thread"


def test_a_folder_of_unreadable_files_is_one_sentence(tmp_path):
    made = files(tmp_path, 1)
    with pytest.raises(
        DataError, match=r"none of the 2 images of 'made' can be read: 'earlier' does not exist; '000\.jpg' is"
    ):
        result_of(survey(made, inspect, workers=2))


@pytest.mark.parametrize("workers", [0, 2])
def test_other_errors_are_not_hidden(tmp_path, workers):
    def broken(source):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        result_of(survey(files(tmp_path, 40), broken, workers=workers))


def test_leaving_early_stops_the_work():
    done = []

    def work(number):
        done.append(number)
        return number

    answers = in_order(work, range(10_000), 2)
    assert [next(answers) for _ in range(3)] == [0, 1, 2]
    answers.close()
    assert len(done) < 100
