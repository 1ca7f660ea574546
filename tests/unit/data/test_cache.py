import errno
import os
import pickle
import shutil
import sys
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from plusx.data import Sample, cache
from plusx.data.cache import Cache, index_of
from plusx.errors import DataError, StorageError
from plusx.events import result_of


def reduce(source):
    """Pixels whose shape and values are a file's numbers; the file "seen" counts how often it was asked."""
    with (source.parent / "seen").open("a") as seen:
        seen.write(".")
    height, width, value = map(int, source.read_text().split())
    return np.full((height, width, 3), value, np.uint8)


def samples_of(folder, count=5):
    for index in range(count):
        (folder / f"{index}.txt").write_text(f"{index + 1} {2 * index + 1} {index + 7}")
    return [Sample(f"{index}.txt", folder / f"{index}.txt", 0) for index in range(count)]


def filled(folder, samples, settings=None, threads=0):
    made = Cache(folder / "cache", reduce, settings or {"side": 3})
    events = list(made.fill(samples, threads))
    return made, events


def asked(folder):
    return len((folder / "seen").read_text())


def test_images_are_kept_as_they_were_reduced(tmp_path):
    samples = samples_of(tmp_path)
    made, events = filled(tmp_path, samples, threads=2)
    assert [(event.done, event.total) for event in events] == [(done, 5) for done in range(1, 6)]
    before = asked(tmp_path)
    for index, sample in enumerate(samples):
        for _ in range(2):
            assert np.array_equal(made.read(index), np.full((index + 1, 2 * index + 1, 3), index + 7))
        assert sample.source.exists()
    assert asked(tmp_path) == before, "nothing is decoded again"
    assert result_of(made.fill(samples)) is None
    other, events = filled(tmp_path, samples)
    assert events == []
    assert asked(tmp_path) == before
    assert np.array_equal(other.read(4), made.read(4))


def test_content_and_settings_name_the_file_and_names_do_not(tmp_path):
    samples = samples_of(tmp_path)
    first, _ = filled(tmp_path, samples)
    (tmp_path / "more").mkdir()
    moved = [Sample(f"x{k}", shutil.copy(sample.source, tmp_path / "more"), 0) for k, sample in enumerate(samples)]
    moved = [Sample(sample.name, Path(sample.source), 0) for sample in moved]
    again, events = filled(tmp_path, [*reversed(moved), moved[2]])
    assert events == []
    assert again.path == first.path
    assert np.array_equal(again.read(0), first.read(4))
    assert np.array_equal(again.read(5), first.read(2))
    assert filled(tmp_path, samples, {"side": 4})[0].path != first.path
    samples[0].source.write_text("3 3 3")
    changed, events = filled(tmp_path, samples)
    assert changed.path != first.path
    assert changed.read(0).shape == (3, 3, 3)


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "index", "longer"])
def test_a_torn_or_foreign_file_is_made_anew(tmp_path, damage):
    samples = samples_of(tmp_path)
    made, _ = filled(tmp_path, samples)
    whole = made.path.read_bytes()
    changed = bytearray(whole)
    changed[-cache.FOOTER.size - 3] ^= 1
    content = {
        "cut": whole[:-1], "empty": b"", "foreign": b"x" * 1000, "index": bytes(changed), "longer": whole + b"\0",
    }[damage]  # fmt: skip
    made.path.write_bytes(content)
    assert index_of(made.path) is None
    again, events = filled(tmp_path, samples)
    assert events
    assert again.path.read_bytes() == whole


def test_an_image_whose_bytes_have_changed_is_read_from_its_source(tmp_path):
    samples = samples_of(tmp_path)
    made, _ = filled(tmp_path, samples)
    content = bytearray(made.path.read_bytes())
    content[int(index_of(made.path)["offset"][2]) + 1] ^= 4
    made.path.write_bytes(bytes(content))
    again, events = filled(tmp_path, samples)
    assert events == []
    before = asked(tmp_path)
    for index in range(5):
        assert (again.read(index) == index + 7).all()
    assert asked(tmp_path) == before + 1


def test_too_little_room_is_said_before_anything_is_written(tmp_path, monkeypatch):
    samples = samples_of(tmp_path)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=200))
    with pytest.raises(StorageError, match=r"the cache of 5 images needs about 0\.0 GB in .*cache', where 0\.0 GB are"):
        filled(tmp_path, samples)
    assert not list((tmp_path / "cache").glob("*.images"))
    assert not list((tmp_path / "cache").glob(".*.part"))


def test_a_write_that_fails_leaves_nothing_and_is_one_sentence(tmp_path, monkeypatch):
    samples = samples_of(tmp_path)

    def refused(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache.os, "fsync", refused)
        with pytest.raises(
            StorageError, match=r"no space is left on the disk; free some or give another folder with --cache"
        ):
            filled(tmp_path, samples)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
    (tmp_path / "cache" / f".{next((tmp_path / 'cache').iterdir()).stem}.1.part").write_text("left by a kill")
    filled(tmp_path, samples)
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".images", ".lock"]
    with pytest.raises(StorageError, match=r"Not a directory|File exists"):
        list(Cache(tmp_path / "0.txt", reduce, {}).fill(samples))


def test_a_sample_that_cannot_be_read_is_named(tmp_path):
    samples = [Sample(sample.name, sample.source, 0, sha256=sample.name) for sample in samples_of(tmp_path)]
    samples[3].source.unlink()
    with pytest.raises(DataError, match=r"'3\.txt' can no longer be read"):
        filled(tmp_path, samples)


def test_a_cache_that_is_removed_while_in_use_is_said(tmp_path):
    made, _ = filled(tmp_path, samples_of(tmp_path))
    made.path.unlink()
    assert made.read(1).shape == (2, 3, 3), "what is mapped stays"
    with pytest.raises(StorageError, match="was removed or changed"):
        pickle.loads(pickle.dumps(made)).read(1)


def test_it_travels_without_its_images(tmp_path):
    made, _ = filled(tmp_path, samples_of(tmp_path))
    assert made.read(3).size
    assert len(pickle.dumps(made)) < 5000
    assert np.array_equal(pickle.loads(pickle.dumps(made)).read(3), made.read(3))


def fill_alone(folder, samples):
    _, events = filled(folder, samples)
    os._exit(10 + bool(events))


def test_of_several_processes_one_makes_the_file(tmp_path):
    samples = samples_of(tmp_path, 200)
    processes = [get_context("fork").Process(target=fill_alone, args=(tmp_path, samples)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(process.exitcode for process in processes) == [10, 10, 11]


def no_module(patch):
    patch.setitem(sys.modules, "fcntl", None)


def no_locks(patch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    patch.setattr("fcntl.flock", refuse)


@pytest.mark.parametrize("lacking", [no_module, no_locks])
def test_without_file_locks_it_is_made_all_the_same(tmp_path, monkeypatch, lacking):
    samples = samples_of(tmp_path)
    made, _ = filled(tmp_path, samples)
    assert made.path is not None
    made.path.unlink()
    another = made.path.with_name(f".{made.path.stem}.another.part")
    another.touch()
    with monkeypatch.context() as without:
        lacking(without)
        made, _ = filled(tmp_path, samples)
    assert made.read(0).shape == (1, 1, 3)
    assert another.exists()  # another process may be writing it
    assert made.path is not None
    made.path.unlink()
    filled(tmp_path, samples)
    assert not another.exists()


def test_files_half_written_by_one_process_number_on_two_machines_differ(tmp_path, monkeypatch):
    opened = []

    def seal(file, entries):
        opened.append(file.name)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(cache, "_seal", seal)
    for _ in range(2):
        with pytest.raises(StorageError):
            filled(tmp_path, samples_of(tmp_path))
    assert len(set(opened)) == 2


def test_arrays_have_sums_too():
    assert cache._sum_of(np.zeros((2, 2), np.uint8)) != cache._sum_of(np.ones((2, 2), np.uint8))
