"""Writing files so that a crash, a kill or a full disk never leaves half a file under its name.

A file is written beside its place, flushed, synced, renamed, and its folder is synced. Until the rename the old file
stands untouched.
"""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from plusx.errors import StorageError

REASONS = {
    errno.ENOSPC: "no space is left on the disk; free some or choose another folder with --out",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another folder with --out",
    errno.EROFS: "the disk is read-only; choose another folder with --out",
    errno.EACCES: "this user may not write there; choose another folder with --out",
    errno.EPERM: "this user may not write there; choose another folder with --out",
}


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Turn what the operating system says of a failed write into one sentence.

    Raises:
        StorageError: The disk is full, the folder is read-only, or the write failed for another reason.
    """
    try:
        yield
    except OSError as error:
        reason = REASONS.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(f"could not write {str(path)!r}: {reason}") from error


def write_bytes(path: Path, content: bytes, *, keep: Path | None = None) -> None:
    """Write `content` to `path`: all of it or, whatever happens, nothing.

    Args:
        path: The file; its folder must exist.
        content: What it will hold.
        keep: Where the file that stood at `path` goes, if one did.

    Raises:
        StorageError: It could not be written; what stood at `path` still does.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    moved = False
    with writing(path):
        try:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if keep is not None and path.exists():
                path.replace(keep)
                moved = True
            beside.replace(path)
        except BaseException:
            with suppress(OSError):
                if moved and keep is not None and not path.exists():
                    keep.replace(path)
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text to `path`: all of it or nothing; bytes of a path that are no text are written as escapes."""
    write_bytes(path, content.encode("utf-8", "backslashreplace"))
