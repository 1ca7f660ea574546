"""Fetching a file: from the first address that gives it whole, checked, and begun again where it broke off.

What was received stays beside the file's place as `.NAME.part`, with the server's mark of that version in
`.NAME.part.json`; a later attempt asks for the rest only (RFC 9110, sections 13.1.5 and 14: Range and If-Range).
"""

import fcntl
import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from plusx.errors import DataError
from plusx.events import Advanced, Event
from plusx.storage import write_text, writing

PIECE = 1 << 18
PATIENCE = 30.0  # seconds without a sign of life from a server
PAUSE = 0.2  # seconds between two looks at whether another process is done with the same file
ELSEWHERE = "name another folder: --data-root for data sets, $XDG_CACHE_HOME for weights"
SCHEMES = ("http", "https", "file")
PARTIAL, NO_SUCH_RANGE = 206, 416


@dataclass(frozen=True)
class Sums:
    """What is published of a file's bytes; the sha256 may be its first digits only, and both may be unknown."""

    md5: str = ""
    sha256: str = ""

    def __bool__(self) -> bool:
        """Return whether there is anything to check against."""
        return bool(self.md5 or self.sha256)

    def mismatch(self, path: Path) -> str:
        """Return "" for a file that is as published, otherwise what is wrong, in a few words."""
        for kind, published in (("md5", self.md5), ("sha256", self.sha256)):
            found = sum_of(path, kind) if published else ""
            if not found.startswith(published.lower()):
                whole = len(published) == len(found)
                return f"its {kind} is {found}, but the published one {'is' if whole else 'begins with'} {published}"
        return ""


@dataclass(frozen=True)
class Origin:
    """Where the bytes of a part came from.

    Attributes:
        url: The address.
        mark: The server's mark of this version of the file (ETag, or the time of its last change), "" without.
        total: The bytes of the whole file, where the server said.
    """

    url: str = ""
    mark: str = ""
    total: int | None = None


def download(
    urls: Sequence[str], path: Path, *, md5: str = "", sha256: str = "", mirror: str | None = None
) -> Generator[Event, None, None]:
    """Fetch one file from the first address that gives it whole, unless it is there already.

    Args:
        urls: The addresses of the same file, tried in turn: http, https or file.
        path: Where it goes; its folder is made. Nothing stands there until the sums were found right.
        md5: The published sum of the file's bytes, in hexadecimal digits; "" where there is none.
        sha256: Likewise, or its first digits.
        mirror: A folder or an address where a file of this name is looked for first; $PLUSX_MIRROR if None.

    Raises:
        DataError: No address gave the file; the message says what each one did.
        StorageError: It could not be written.
    """
    sums = Sums(md5, sha256)
    if path.is_file() and not sums.mismatch(path):
        return
    with writing(path, ELSEWHERE):
        path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    file = yield from alone(part)
    with closing(file):
        if path.is_file() and not sums.mismatch(path):  # another process fetched it in the meantime
            removed(part)
            return
        failures: list[str] = []
        for url in [*at_mirror(mirror, path.name), *urls]:
            failure = yield from received(url, file, part, path.name, sums)
            if not failure:
                with writing(path, ELSEWHERE):
                    part.replace(path)
                removed(part)
                return
            failures.append(f"{url}: {failure}")
        if not size_of(file):
            removed(part)
    raise DataError(
        f"could not download {path.name!r} ({'; '.join(failures)}); check the connection and try again, "
        f"or get the file elsewhere and put it at {str(path)!r} or into a folder that $PLUSX_MIRROR names"
    )


def at_mirror(mirror: str | None, name: str) -> list[str]:
    """Return the address of a file at the mirror that was given or that $PLUSX_MIRROR names, if any."""
    base = os.environ.get("PLUSX_MIRROR", "") if mirror is None else mirror
    if not base:
        return []
    if "://" not in base:
        base = Path(base).expanduser().absolute().as_uri()
    return [f"{base.rstrip('/')}/{urllib.parse.quote(name)}"]


def alone(part: Path) -> Generator[Event, None, BinaryIO]:
    """Open a part for this process only; wait while another one writes to it."""
    while True:
        with writing(part, ELSEWHERE):
            file = part.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            yield Advanced(f"waiting for another process that downloads {part.stem[1:]}", 0, None)
            time.sleep(PAUSE)
            continue
        except OSError:
            return file  # some network disks know no locks
        with suppress(FileNotFoundError):
            if part.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()  # it was finished and moved to its place between the two steps


def received(url: str, file: BinaryIO, part: Path, name: str, sums: Sums) -> Generator[Event, None, str]:
    """Make the part whole from one address; return "", or in a few words what went wrong.

    Rest that is joined to what another day, or another address, gave may not fit: then all of it is fetched once more.
    """
    while True:
        began = size_of(file)
        failure = yield from filled(url, file, part, name, mixing=bool(sums))
        if failure:
            return failure
        failure = sums.mismatch(part)
        if not failure:
            return ""
        emptied(file)
        if not began:
            return failure


def filled(url: str, file: BinaryIO, part: Path, name: str, *, mixing: bool) -> Generator[Event, None, str]:
    """Append what is missing in the part; return "", or in a few words what went wrong.

    Args:
        url: The address.
        file: The part, open for appending.
        part: Its path.
        name: The file's name, for the progress.
        mixing: Whether what one address gave may be completed by another, because a sum is checked in the end.
    """
    if urllib.parse.urlsplit(url).scheme not in SCHEMES:
        return f"an address begins with {', '.join(f'{scheme}://' for scheme in SCHEMES)}"
    origin, done = origin_of(part), size_of(file)
    if done and (origin.total is None or not (mixing or origin.url == url)):
        origin, done = Origin(), emptied(file)
    if done and done == origin.total:
        return ""
    try:
        with opened(url, origin, done) as response:
            if done and not continues(response, origin, done):
                done = emptied(file)
                if response.status == PARTIAL:
                    response.close()
                    return (yield from filled(url, file, part, name, mixing=mixing))
            total = done + length if (length := length_of(response)) is not None else None
            write_text(sidecar(part), json.dumps(asdict(Origin(url, mark_of(response), total))), ELSEWHERE)
            while piece := response.read(PIECE):
                with writing(part, ELSEWHERE):
                    file.write(piece)
                done += len(piece)
                yield Advanced(f"downloading {name}", done, total, "bytes")
            with writing(part, ELSEWHERE):
                file.flush()
    except urllib.error.HTTPError as error:
        with error:
            if error.code == NO_SUCH_RANGE and done:
                emptied(file)
                return (yield from filled(url, file, part, name, mixing=mixing))
            return f"the server answered {error.code} {error.reason}"
    except (OSError, http.client.HTTPException) as error:
        return " ".join(str(getattr(error, "reason", "") or error or type(error).__name__).split())
    return f"the connection ended after {done:,} of {total:,} bytes" if total is not None and done < total else ""


def opened(url: str, origin: Origin, done: int) -> Any:  # noqa: ANN401 - urllib gives one of two classes
    """Ask an address for a file, or for the rest of it if that is still the one that was begun."""
    headers = {"User-Agent": "plusx", "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
        if origin.mark and origin.url == url:
            headers["If-Range"] = origin.mark
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme was looked at
    return urllib.request.urlopen(request, timeout=PATIENCE)  # noqa: S310


def continues(response: Any, origin: Origin, done: int) -> bool:  # noqa: ANN401
    """Return whether an answer is the rest of the file that was begun, rather than a whole or another one."""
    rest = f"bytes {done}-{(origin.total or 0) - 1}/{origin.total}"
    return response.status == PARTIAL and response.headers.get("Content-Range") == rest


def length_of(response: Any) -> int | None:  # noqa: ANN401
    """Return how many bytes an answer is going to have, where it says."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def mark_of(response: Any) -> str:  # noqa: ANN401
    """Return what tells this version of a file from others: a strong ETag, or the time of its last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def sidecar(part: Path) -> Path:
    """Return where it is noted what a part is the beginning of."""
    return part.with_name(f"{part.name}.json")


def origin_of(part: Path) -> Origin:
    """Read where a part came from; a note that cannot be read says nothing."""
    try:
        return Origin(**json.loads(sidecar(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Origin()


def size_of(file: BinaryIO) -> int:
    """Return how many bytes an open file has."""
    return file.seek(0, os.SEEK_END)


def emptied(file: BinaryIO) -> int:
    """Throw away what an open file holds; return its size, which is 0."""
    return file.truncate(0)


def removed(part: Path) -> None:
    """Remove a part and the note of its origin."""
    for path in (part, sidecar(part)):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def sum_of(path: Path, kind: str = "sha256") -> str:
    """Return the sum of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
