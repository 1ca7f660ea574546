"""From a place to samples with classes and splits: `read_dataset` reads every format in `FORMATS`."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from plusx.data.dataset import SPLITS, Dataset, Rejected, Sample, Source, check_classes, safe_name, with_classes
from plusx.data.folder import IMAGE_SUFFIXES, list_images, read_folder
from plusx.data.named import NAMED, read_named
from plusx.data.table import TABLE_SUFFIXES, read_table
from plusx.errors import UsageError, near_misses
from plusx.events import Event

NAMES = ("digits", *NAMED)


@dataclass(frozen=True)
class Request:
    """What was asked for: the source, and where and how it may be got."""

    source: str
    path: Path
    data_root: Path | None
    download: bool
    suffixes: frozenset[str]


@dataclass(frozen=True)
class Format:
    """One form in which data comes.

    Attributes:
        description: What people are told that a source may be.
        recognizes: Whether a request is in this form.
        read: Reads it.
    """

    description: str
    recognizes: Callable[[Request], bool]
    read: Callable[[Request], Generator[Event, None, Dataset]]


def from_named(request: Request) -> Generator[Event, None, Dataset]:
    """Read a data set that is known by name."""
    return (yield from read_named(request.source, data_root=request.data_root, download=request.download))


def from_table(request: Request) -> Generator[Event, None, Dataset]:
    """Read a manifest."""
    yield from ()
    return read_table(request.path)


def from_folder(request: Request) -> Generator[Event, None, Dataset]:
    """Read a folder."""
    yield from ()
    return read_folder(request.path, request.suffixes)


FORMATS: dict[str, Format] = {
    "named": Format(f"a name ({', '.join(NAMES)})", lambda request: request.source in NAMES, from_named),
    "table": Format(
        "a manifest (.csv, .tsv, .jsonl) with the columns path and class",
        lambda request: request.path.is_file() and request.path.suffix.lower() in TABLE_SUFFIXES,
        from_table,
    ),
    "folder": Format(
        "a folder with one folder of images for each class", lambda request: request.path.is_dir(), from_folder
    ),
}


def read_dataset(
    source: str | Path,
    *,
    classes: Sequence[str] | None = None,
    data_root: Path | None = None,
    download: bool = False,
    suffixes: frozenset[str] = IMAGE_SUFFIXES,
    place_of: Callable[[str, Sequence[str]], int] | None = None,
) -> Generator[Event, None, Dataset]:
    """Read a source of data, whatever its format; its files are only looked at later, by `survey`.

    A name of a known data set wins over a folder of the same name, which can be given as "./digits".

    Args:
        source: A name, a folder or a manifest.
        classes: Those of a trained network: every sample's class is matched by name against them.
        data_root: Where named data sets are looked for first.
        download: Whether a named data set that is nowhere may be fetched.
        suffixes: Of the files in a folder that are samples.
        place_of: Which of these classes a class of another name is, -1 for none; see `with_classes`.

    Raises:
        UsageError: The source does not exist or is in no known format.
        DataError: Its content cannot be used.
    """
    request = Request(str(source), Path(source).expanduser(), data_root, download, suffixes)
    found = next((one for one in FORMATS.values() if one.recognizes(request)), None)
    if found is None:
        raise UsageError(no_format(request))
    dataset = yield from found.read(request)
    dataset = replace(dataset, name=safe_name(dataset.name), origin=str(source))
    if classes is not None:
        return with_classes(dataset, classes, place_of)
    check_classes(dataset)
    return dataset


def no_format(request: Request) -> str:
    """Say why a source cannot be read, and what it may be."""
    expected = f"a source is {'; '.join(one.description for one in FORMATS.values())}"
    if request.path.exists():
        return f"{request.source!r} is a file in no known format; {expected}"
    beside = sorted(request.path.parent.iterdir()) if request.path.parent.is_dir() else []
    paths = [str(path) for path in beside if path.is_dir() or path.suffix.lower() in TABLE_SUFFIXES]
    close = near_misses(str(request.path), dict.fromkeys([*NAMES, *paths]))
    if close:
        return f"there is no source {request.source!r}; did you mean {' or '.join(map(repr, close))}?"
    return f"there is no source {request.source!r}; {expected}"


__all__ = [
    "FORMATS",
    "IMAGE_SUFFIXES",
    "NAMES",
    "SPLITS",
    "Dataset",
    "Format",
    "Rejected",
    "Request",
    "Sample",
    "Source",
    "list_images",
    "read_dataset",
]
