import errno
import os
from pathlib import Path

import pytest

from plusx.errors import StorageError
from plusx.storage import write_bytes, write_text, writing

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

        def half_written(path, mode="r", **named):
            file = real(path, mode, **named)
            if mode == "wb":
                file.write(b"ne")
                file.flush()
                file.close()
                fail(number)()
            return file

        monkeypatch.setattr(Path, "open", half_written)
    keep = old.with_name("kept")
    with pytest.raises(StorageError, match=REASONS[number]) as caught:
        write_bytes(old, b"new", keep=keep)
    monkeypatch.undo()
    assert caught.value.exit_code == 5
    assert str(old) in str(caught.value)
    assert old.read_bytes() == b"old"
    assert names(old.parent) == ["file"]


def test_a_failed_rename_leaves_the_old_file_in_its_place(old, monkeypatch):
    real = Path.replace
    keep = old.with_name("kept")

    def failing(path, target):
        if path.suffix == ".part":
            fail(errno.EIO)()
        return real(path, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(StorageError):
        write_bytes(old, b"new", keep=keep)
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


def test_the_generation_before_is_kept(tmp_path):
    path, keep = tmp_path / "latest", tmp_path / "previous"
    for content in (b"1", b"2", b"3"):
        write_bytes(path, content, keep=keep)
        assert keep.exists() is (content != b"1")
    assert (path.read_bytes(), keep.read_bytes()) == (b"3", b"2")
    assert names(tmp_path) == ["latest", "previous"]


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
