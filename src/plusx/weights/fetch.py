"""Getting published weights onto this machine: from where they already are, a mirror, or their publisher; checked."""

import json
import os
from collections.abc import Generator
from pathlib import Path

from plusx import storage
from plusx.download import Sums, download, sum_of
from plusx.errors import CheckpointError, DataError
from plusx.events import Event, Noted
from plusx.weights.published import Published

LENGTH_BYTES = 8  # a safetensors file begins with the length of its JSON header


def cache_folder() -> Path:
    """Return where published weights are kept: $XDG_CACHE_HOME/plusx/weights."""
    return storage.cache_folder() / "weights"


def local_copy(published: Published, cache: Path | None = None) -> Path | None:
    """Return where a file is on this machine, unchecked: in the cache, or where torch.hub keeps what it downloads."""
    return next((path for path in _places(published, cache) if path.is_file()), None)


def fetch(
    published: Published, *, mirror: str | None = None, cache: Path | None = None
) -> Generator[Event, None, Path]:
    """Return a checked local file of published weights, fetching it where there is none.

    Args:
        published: What is wanted.
        mirror: A folder or an address where the file's name is looked for before its publisher's address; $PLUSX_MIRROR
            if None.
        cache: Where it is kept; `cache_folder()` if None.

    Raises:
        CheckpointError: It could not be had, or what came is not as published.
        StorageError: It could not be written.
    """
    places = _places(published, cache)
    for path in places:
        if not path.is_file():
            continue
        wrong = mismatch(published, path)
        if not wrong:
            if path != places[0]:
                yield Noted(f"{published.name} is read from {str(path)!r}")
            return path
        yield Noted(f"{str(path)!r} is not used: {wrong}", "warning")
        if path == places[0]:
            path.unlink(missing_ok=True)
    path = places[0]
    yield Noted(f"{published.name} is fetched into {str(path)!r}; license: {published.terms}")
    try:
        yield from download([published.url], path, sha256=published.sha256, mirror=mirror)
    except DataError as error:
        raise CheckpointError(str(error)) from error
    if not published.sha256:
        wrong = mismatch(published, path)
        if wrong:
            path.unlink()
            raise CheckpointError(
                f"what came for {published.name!r} from {published.url} or a mirror is useless: {wrong}"
            )
        yield Noted(f"plusx knows no sum of {path.name}, so it was not checked; its sha256 is {sum_of(path)}")
    return path


def mismatch(published: Published, path: Path) -> str:
    """Return "" for a file that is as published, otherwise what is wrong.

    Where plusx knows no sum, it must at least be a safetensors file of the size that its header tells of.
    """
    if published.sha256:
        return Sums(sha256=published.sha256).mismatch(path)
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            header = json.loads(file.read(min(length, path.stat().st_size)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return "it is no safetensors file"
    expected = LENGTH_BYTES + length + max(ends, default=0)
    found = path.stat().st_size
    return "" if found == expected else f"it has {found:,} bytes, but its header tells of {expected:,}"


def _places(published: Published, cache: Path | None) -> list[Path]:
    """Where a file may be; the first is where it goes."""
    hub = Path(os.environ.get("TORCH_HOME") or storage.caches() / "torch").expanduser() / "hub" / "checkpoints"
    return [(cache or cache_folder()) / published.file, hub / published.file]
