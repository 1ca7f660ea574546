"""Writing files so that a crash, a kill or a full disk never leaves half a file under its name.

A file is written beside its place, flushed, synced, renamed, and its folder is synced. Until the rename the old file
stands untouched. What a killed process left beside a place is removed by whoever next writes to that folder for good.
"""

import errno
import os
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from plusx.errors import StorageError

REASONS = {  # and what helps
    errno.ENOSPC: ("no space is left on the disk", "free some"),
    errno.EDQUOT: ("your disk quota is used up", "free some space"),
    errno.EROFS: ("the disk is read-only", ""),
    errno.EACCES: ("this user may not write there", ""),
    errno.EPERM: ("this user may not write there", ""),
}
OTHER_OUT = "choose another folder with --out"
PART = ".part"
BUFFER = 2**20  # bytes that small pieces are gathered to


@contextmanager
def writing(path: Path, instead: str = OTHER_OUT) -> Generator[None]:
    """Turn what the operating system says of a failed write into one sentence.

    Args:
        path: What is written.
        instead: What the user can do, if not free space or get the right to write.

    Raises:
        StorageError: The disk is full, the folder is read-only, or the write failed for another reason.
    """
    try:
        yield
    except OSError as error:
        reason, remedy = REASONS.get(error.errno or 0, (error.strerror or str(error), ""))
        raise StorageError(f"could not write {str(path)!r}: {reason}", remedy, instead) from error


@contextmanager
def replacing(path: Path, instead: str = OTHER_OUT) -> Generator[BinaryIO]:
    """Give a file to write to, which takes the place of `path` when the block ends without an error.

    Raises:
        StorageError: It could not be written; what stood at `path` still does. Where only the last sync of the folder
            failed, the new file stands there, whole, and may be lost with the machine's power.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    with writing(path, instead):
        try:
            with beside.open("wb", BUFFER) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_bytes(path: Path, content: bytes, instead: str = OTHER_OUT) -> None:
    """Write `content` to `path`, in a folder that exists: all of it or, whatever happens, nothing.

    Raises:
        StorageError: It could not be written; what stood at `path` still does.
    """
    with replacing(path, instead) as file:
        file.write(content)


def write_text(path: Path, content: str, instead: str = OTHER_OUT) -> None:
    """Write UTF-8 text to `path`: all of it or nothing; bytes of a path that are no text are written as escapes."""
    write_bytes(path, content.encode("utf-8", "backslashreplace"), instead)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, where its file system can say so."""
    if sys.platform == "win32":  # which opens no folder
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # as some network file systems answer for any folder
            raise
    finally:
        os.close(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process was writing in a folder; nobody else may be writing there now."""
    with suppress(OSError):
        for path in folder.glob(f".*{PART}"):
            path.unlink()


def expect_space(folder: Path, needed: int, what: str, held: int = 0) -> None:
    """Check that a disk has room, before any work is done.

    Args:
        folder: A folder on it, which exists.
        needed: Bytes that will be written.
        what: What they are for.
        held: Bytes of them that are there already.

    Raises:
        StorageError: There is less; found, needed and the fix are named.
    """
    with writing(folder):
        free = shutil.disk_usage(folder).free
    if free < needed - held:
        raise StorageError(
            f"the disk of {str(folder)!r} has {free / 1e6:,.1f} MB free, but {what} needs "
            f"{(needed - held) / 1e6:,.1f} MB",
            "free some",
            OTHER_OUT,
        )


def cache_folder() -> Path:
    """Return where what can be had again is kept: $XDG_CACHE_HOME/plusx, or ~/.cache/plusx; it may not exist yet."""
    return caches() / "plusx"


def caches() -> Path:
    """Return where all programs of this user keep such things."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
