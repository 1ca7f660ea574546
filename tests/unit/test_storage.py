import errno
import os
import shutil
from pathlib import Path

import pytest

from plusx.errors import StorageError
from plusx.storage import expect_space, remove_leftovers, replacing, sync_folder, write_bytes, write_text, writing

REASONS = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "this user may not write there",
    errno.EDQUOT: "quota",
    errno.EIO: os.strerror(errno.EIO),
}


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fail(number):
    def failing(*given, **named):
        raise OSError(number, os.strerror(number))

    return failing


def test_content_is_written_over_what_stood_there(old):
    write_bytes(old, b"new and longer")
    assert old.read_bytes() == b"new and longer"
    assert names(old.parent) == ["file"]


def test_text_is_utf8_whatever_the_locale(tmp_path):
    write_text(tmp_path / "数据", "猫\r\n")
    assert (tmp_path / "数据").read_bytes() == "猫\r\n".encode()


@pytest.mark.parametrize("number", REASONS)
@pytest.mark.parametrize("place", ["fsync", "open", "write"])
def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(old, monkeypatch, number, place):
    if place == "fsync":
        monkeypatch.setattr(os, "fsync", fail(number))
    elif place == "open":
        monkeypatch.setattr(Path, "open", fail(number))
    else:
        real = Path.open

        def half_written(path, mode="r", *rest, **named):
            file = real(path, mode, *rest, **named)
            if mode == "wb":
                file.write(b"ne")
                file.flush()
                file.close()
                fail(number)()
            return file

        monkeypatch.setattr(Path, "open", half_written)
    with pytest.raises(StorageError, match=REASONS[number]) as caught:
        write_bytes(old, b"new")
    monkeypatch.undo()
    assert caught.value.exit_code == 5
    assert str(old) in str(caught.value)
    assert old.read_bytes() == b"old"
    assert names(old.parent) == ["file"]


def test_a_failed_rename_leaves_the_old_file_in_its_place(old, monkeypatch):
    monkeypatch.setattr(Path, "replace", fail(errno.EIO))
    with pytest.raises(StorageError):
        write_bytes(old, b"new")
    assert old.read_bytes() == b"old"
    assert names(old.parent) == ["file"]


def test_ctrl_c_while_writing_leaves_nothing_beside_the_file(old, monkeypatch):
    def interrupted(number):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(old, b"new")
    assert old.read_bytes() == b"old"
    assert names(old.parent) == ["file"]


def test_the_content_is_on_the_disk_before_it_gets_its_name(old, monkeypatch):
    """A rename that overtakes the content is how a power cut leaves an empty file."""
    seen = []
    real = Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: seen.append("sync"))
    monkeypatch.setattr(Path, "replace", lambda path, target: (seen.append("rename"), real(path, target)))
    write_bytes(old, b"new")
    assert seen == ["sync", "rename", "sync"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StorageError, match="no-such-folder"):
        write_bytes(tmp_path / "no-such-folder" / "file", b"")


def test_other_errors_pass_through(tmp_path):
    with pytest.raises(ValueError, match="mine"), writing(tmp_path):
        raise ValueError("mine")


def test_a_body_that_fails_leaves_the_old_file(old):
    def half(file):
        file.write(b"half of the n")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"), replacing(old) as file:
        half(file)
    assert old.read_bytes() == b"old"
    assert names(old.parent) == ["file"]


def test_a_folder_that_cannot_be_synced_is_an_error_unless_its_file_system_never_can(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail(errno.EINVAL))
    sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", fail(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        sync_folder(tmp_path)


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    kept = {".hidden", "file.part", ".part", "folder"}
    (tmp_path / "folder").mkdir()
    for name in (".hidden", "file.part", ".part", ".state.17.part", ".best.safetensors.1.part"):
        (tmp_path / name).write_bytes(b"x")
    remove_leftovers(tmp_path)
    assert set(names(tmp_path)) - {".part"} == kept - {".part"}
    remove_leftovers(tmp_path / "none")


def test_room_on_the_disk_is_asked_for_before_it_is_needed(tmp_path):
    expect_space(tmp_path, 1_000, "the run")
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(StorageError, match=r"has [\d,.]+ MB free, but the run needs [\d,.]+ MB; free some or choose"):
        expect_space(tmp_path, 10 * free, "the run")
    expect_space(tmp_path, 10 * free, "the run", held=10 * free)
    with pytest.raises(StorageError, match="could not write"):
        expect_space(tmp_path / "none", 1, "the run")
