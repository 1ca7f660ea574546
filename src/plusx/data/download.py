"""Fetching a file, checked against its published sum, with events that tell how far it is."""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from plusx.errors import DataError
from plusx.events import Advanced, Event
from plusx.storage import writing

PIECE = 1 << 18
PATIENCE = 30.0


def download(urls: Sequence[str], path: Path, md5: str) -> Generator[Event, None, None]:
    """Fetch one file from the first address that gives it whole, unless it is there already.

    Args:
        urls: The addresses of the same file, tried in turn.
        path: Where it goes; its folder is made. Nothing stands there until the sum was found right.
        md5: The published sum of the file's bytes, in hexadecimal digits.

    Raises:
        DataError: No address gave the file; the message says what each one did.
        StorageError: It could not be written.
    """
    if path.is_file() and sum_of(path) == md5:
        return
    failures: list[str] = []
    beside = path.with_name(f".{path.name}.part")
    try:
        for url in urls:
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                file = beside.open("wb")
            with closing(file):
                failure = yield from received(url, file, path, md5)
            if not failure:
                with writing(path):
                    beside.replace(path)
                return
            failures.append(f"{url}: {failure}")
    finally:
        beside.unlink(missing_ok=True)
    raise DataError(
        f"could not download {path.name!r} ({'; '.join(failures)}); check the connection and try again, "
        f"or get the file elsewhere and put it at {str(path)!r}"
    )


def received(url: str, file: BinaryIO, path: Path, md5: str) -> Generator[Event, None, str]:
    """Copy what an address gives into `file`; return "", or in a few words what went wrong."""
    digest = hashlib.md5(usedforsecurity=False)
    activity = f"downloading {path.name}"
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "plusx"})  # noqa: S310 - from torchvision's tables
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310
            total: int | None = response.length
            done = 0
            while piece := response.read(PIECE):
                digest.update(piece)
                with writing(path):
                    file.write(piece)
                done += len(piece)
                yield Advanced(activity, done, total, "bytes")
    except urllib.error.HTTPError as error:
        with error:
            return f"the server answered {error.code} {error.reason}"
    except (OSError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", "") or error)
    if total is not None and done < total:
        return f"the connection ended after {done:,} of {total:,} bytes"
    if digest.hexdigest() != md5:
        return f"its checksum is {digest.hexdigest()}, not the published {md5}"
    return ""


def sum_of(path: Path) -> str:
    """Return the MD5 sum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
