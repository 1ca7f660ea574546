"""Decoded training images on disk, in one file that is mapped into memory; a second epoch decodes nothing.

What is kept of an image is what the input's `reduced` makes of it, uint8 (H, W, C). The file's name is a sum over the
contents of the samples and over whatever decides the bits, so another data set, other settings or another decoder has
another file. It is written beside its place and renamed when it is whole. Its end holds an index with a sum of its
own and one of each image: a torn or foreign file is made anew, and an image whose bytes have changed is read from its
source instead, which gives the same bits.

Shape letters: N images, H and W the size of one, C channels.
"""

import hashlib
import json
import mmap
import os
import secrets
import shutil
import struct
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from plusx.data.dataset import Sample, Source
from plusx.data.in_order import in_order
from plusx.data.reading import readable
from plusx.errors import StorageError
from plusx.events import Advanced, Event
from plusx.storage import PART, sync_folder, writing

MAGIC = b"plusx images, 1\n"
FOOTER = struct.Struct(f"<{len(MAGIC)}sQQ32s")  # magic, where the index begins, its length, its sha256
ENTRY = np.dtype([("offset", "<u8"), ("height", "<u4"), ("width", "<u4"), ("channels", "<u4"), ("sum", "<u4")])
TRIED = 32  # images from whose size that of the file is estimated
MARGIN = 1.1
OTHER_CACHE = "give another folder with --cache, or leave it out"

Pixels = NDArray[np.uint8]


class Cache:
    """The decoded images of some samples.

    Args:
        folder: Where the file is; made if absent.
        reduce: From a source to the pixels that are kept, the same for the same content.
        settings: Plain values that decide its bits.
    """

    def __init__(self, folder: Path, reduce: Callable[[Source], Pixels], settings: Mapping[str, Any]) -> None:
        self.folder, self.reduce, self.settings = folder, reduce, dict(settings)
        self.samples: tuple[Sample, ...] = ()
        self.path: Path | None = None
        self._places: NDArray[np.int64] | None = None
        self._mapped: tuple[Pixels, NDArray[Any], Pixels] | None = None

    def fill(self, samples: Sequence[Sample], threads: int = 0) -> Generator[Event, None, None]:
        """Open the file of these samples, or make it.

        Raises:
            DataError: A sample cannot be read.
            StorageError: There is no room, or the folder cannot be written.
        """
        if self.path is not None:
            return
        self.samples = tuple(samples)
        sums = [sample.sha256 or _sum_of(sample.source) for sample in samples]
        contents = sorted(set(sums))
        place_of = {content: place for place, content in enumerate(contents)}
        self._places = np.array([place_of[content] for content in sums], dtype=np.int64)
        told = json.dumps({"settings": self.settings, "contents": contents}, sort_keys=True)
        path = self.folder / f"{hashlib.sha256(told.encode()).hexdigest()[:24]}.images"
        with writing(path, OTHER_CACHE):
            self.folder.mkdir(parents=True, exist_ok=True)
            with _alone(path) as alone:
                if alone:
                    self._remove_leftovers(path)
                if index_of(path, len(contents)) is None:
                    first = dict(zip(reversed(sums), reversed(samples), strict=True))
                    yield from self._write(path, [first[content] for content in contents], threads)
        self.path = path
        self._map()

    def read(self, index: int) -> Pixels:
        """Return what is kept of a sample, (H, W, C); `fill` has run."""
        mapped, entries, checked = self._mapped or self._map()
        assert self._places is not None  # noqa: S101 - `fill` has run
        place = self._places[index]
        entry = entries[place]
        offset, shape = int(entry["offset"]), (int(entry["height"]), int(entry["width"]), int(entry["channels"]))
        flat = mapped[offset : offset + shape[0] * shape[1] * shape[2]]
        if not checked[place]:
            if zlib.crc32(flat.data) != entry["sum"]:
                return self.reduce(self.samples[index].source)
            checked[place] = 1
        return flat.reshape(shape)

    def __getstate__(self) -> dict[str, Any]:
        """Go to a worker that is not forked without the images."""
        return {**self.__dict__, "_mapped": None}

    def _map(self) -> tuple[Pixels, NDArray[Any], Pixels]:
        assert self.path is not None  # noqa: S101 - `fill` has run
        entries = index_of(self.path)
        if entries is None:
            raise StorageError(f"the cache {str(self.path)!r} was removed or changed while it was in use; start again")
        mapped = np.asarray(np.memmap(self.path, np.uint8, "r"))
        # Shared, so that an image that one worker has checked is not checked again by any.
        self._mapped = mapped, entries, np.frombuffer(mmap.mmap(-1, max(1, len(entries))), np.uint8)
        return self._mapped

    def _write(self, path: Path, samples: Sequence[Sample], threads: int) -> Generator[Event, None, None]:
        self._check_room(samples)
        beside = self.folder / f".{path.stem}.{secrets.token_hex(8)}{PART}"
        pause = max(1, len(samples) // 100)
        entries = np.zeros(len(samples), ENTRY)
        try:
            with beside.open("wb") as file:
                for done, pixels in enumerate(in_order(partial(readable, self.reduce), samples, threads)):
                    content = np.ascontiguousarray(pixels).data
                    entries[done] = (file.tell(), *pixels.shape, zlib.crc32(content))
                    file.write(content)
                    if (done + 1) % pause == 0:
                        yield Advanced("filling the cache", done + 1, len(samples))
                _seal(file, entries)
            beside.replace(path)
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
        sync_folder(path.parent)

    def _remove_leftovers(self, path: Path) -> None:
        for left in self.folder.glob(f".{path.stem}.*{PART}"):
            left.unlink(missing_ok=True)

    def _check_room(self, samples: Sequence[Sample]) -> None:
        places = np.unique(np.linspace(0, len(samples) - 1, min(len(samples), TRIED)).round().astype(int))
        tried = [readable(self.reduce, samples[place]).size for place in places.tolist()]
        needed = int(MARGIN * sum(tried) / max(1, len(tried)) * len(samples))
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise StorageError(
                f"the cache of {len(samples):,} images needs about {needed / 1e9:,.1f} GB in {str(self.folder)!r}, "
                f"where {free / 1e9:,.1f} GB are free; free some, give another folder with --cache, or leave it out"
            )


def index_of(path: Path, count: int | None = None) -> NDArray[Any] | None:
    """Return a cache's index, (N,), or None where there is no whole cache of `count` images."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - FOOTER.size))
            magic, begin, length, digest = FOOTER.unpack(file.read(FOOTER.size))
            if magic != MAGIC or begin + length + FOOTER.size != size:
                return None
            file.seek(begin)
            index = file.read(length)
    except (OSError, struct.error):
        return None
    if hashlib.sha256(index).digest() != digest or (count is not None and length != count * ENTRY.itemsize):
        return None
    return np.frombuffer(index, ENTRY)


def _seal(file: BinaryIO, entries: NDArray[Any]) -> None:
    """Write the index and the end of a cache, and wait for the disk."""
    begin, index = file.tell(), entries.tobytes()
    file.write(index)
    file.write(FOOTER.pack(MAGIC, begin, len(index), hashlib.sha256(index).digest()))
    file.flush()
    os.fsync(file.fileno())


def _sum_of(source: Source) -> str:
    content = source.read_bytes() if isinstance(source, Path) else np.ascontiguousarray(source).data
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _alone(path: Path) -> Generator[bool]:
    """Let one process at a time make a file; the others wait and find it. A process that dies lets go.

    Yields:
        Whether this is the one. Without locks nobody knows: each writes a file of its own and renames it, the same
        bytes.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    with path.with_suffix(".lock").open("ab") as lock:
        alone = False
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
            alone = True
        yield alone
