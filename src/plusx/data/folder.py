"""Image folders: root/class/file or root/split/class/file, and the images that a command line names.

The classes are the folders' names in plain sorted order of their characters, as torchvision's ImageFolder has it:
"10" stands before "2".
"""

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from plusx.data.dataset import SPLIT_WORDS, Dataset, Rejected, Sample, class_name, counted, listed, printable
from plusx.errors import DataError, UsageError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
SYSTEM_FILES = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


@dataclass
class Walk:
    """What walking through folders met besides images."""

    suffixes: frozenset[str]
    hidden: int = 0
    other: list[str] = field(default_factory=list[str])
    rejected: list[Rejected] = field(default_factory=list[Rejected])
    notes: list[str] = field(default_factory=list[str])

    def entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """Return what a folder holds, sorted by name; hidden entries are counted and left out."""
        try:
            with os.scandir(folder) as scan:
                every = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"the folder {str(folder)!r} cannot be read: {error.strerror or error}") from error
        visible = [entry for entry in every if not is_hidden(entry.name)]
        self.hidden += len(every) - len(visible)
        return visible

    def images(self, folder: Path, root: Path) -> Iterator[Path]:
        """Yield the images below a folder, sorted; each real folder is visited once, however links lead to it."""
        waiting, visited = [folder], set[tuple[int, int]]()
        while waiting:
            here = waiting.pop(0)
            status = here.stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            for entry in self.entries(here):
                path = Path(entry.path)
                if entry.is_dir():
                    waiting.append(path)
                elif path.suffix.lower() not in self.suffixes:
                    self.other.append(relative(path, root))
                elif entry.is_file():
                    yield path
                else:
                    reason = "is a link to nothing" if entry.is_symlink() else "is not a regular file"
                    self.rejected.append(Rejected(relative(path, root), reason))

    def sentences(self) -> tuple[str, ...]:
        """Return what was left out, for people to read."""
        notes = list(self.notes)
        if self.hidden:
            what = "hidden file or folder was" if self.hidden == 1 else "hidden files or folders were"
            notes.append(f"{self.hidden:,} {what} ignored")
        if self.other:
            what = (
                "file was ignored that by its suffix is"
                if len(self.other) == 1
                else "files were ignored that by suffix are"
            )
            notes.append(f"{len(self.other):,} {what} no image: {listed(self.other)}")
        return tuple(notes)


def is_hidden(name: str) -> bool:
    """Return whether a name is one that people do not see or did not make."""
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def relative(path: Path, root: Path) -> str:
    """Return a path below `root` as a sample's name."""
    return printable(path.relative_to(root).as_posix())


def read_folder(root: Path, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> Dataset:
    """Read a folder with one folder of images for each class, with or without a folder for each split above them.

    Args:
        root: The folder.
        suffixes: Of the files that are images, in lower case.

    Raises:
        DataError: It holds no images, images without class folders, two folders for one split, or cannot be read.
    """
    walk = Walk(suffixes)
    split_folders = find_splits(root, walk)
    found: list[tuple[str, str | None, Path]] = []
    for split, folder in split_folders:
        entries = walk.entries(folder)
        loose = [entry.name for entry in entries if not entry.is_dir() and Path(entry.name).suffix.lower() in suffixes]
        folders = [entry for entry in entries if entry.is_dir()]
        if loose and not folders:
            raise DataError(no_class_folders(folder, len(loose), split))
        if loose:
            walk.notes.append(f"{counted(len(loose), 'image')} outside any class's folder ignored: {listed(loose)}")
        walk.other.extend(entry.name for entry in entries if not entry.is_dir() and entry.name not in loose)
        for entry in folders:
            label, before = class_name(entry.name), len(found)
            found.extend((label, split, path) for path in walk.images(Path(entry.path), root))
            if len(found) == before and not walk.rejected:
                walk.notes.append(f"the folder {printable(entry.name)!r} holds no images, so it is not a class")
    if not found:
        ignored = "; ".join(walk.sentences())
        raise DataError(
            f"the folder {str(root)!r} holds no images{f' ({ignored})' if ignored else ''}; expected one folder of "
            f"images for each class, with files ending in {', '.join(sorted(suffixes))}"
        )
    classes = tuple(sorted({label for label, _, _ in found}))
    targets = {label: index for index, label in enumerate(classes)}
    samples = tuple(Sample(relative(path, root), path, targets[label], split) for label, split, path in found)
    name = root.resolve().name
    return Dataset(name, str(root), classes, samples, tuple(walk.rejected), walk.sentences())


def find_splits(root: Path, walk: Walk) -> list[tuple[str | None, Path]]:
    """Return the folders that hold the class folders, each with its split; without splits, `root` itself.

    A folder called "train" is a split only if it holds folders: "train" may also be a class, beside "bus" and "tram".
    """
    entries = Walk(walk.suffixes).entries(root)
    folders = [entry for entry in entries if entry.is_dir()]
    named = [entry for entry in folders if entry.name.lower() in SPLIT_WORDS]
    if not named or (len(named) < len(folders) and not all(holds_folders(entry, walk) for entry in named)):
        return [(None, root)]
    splits: dict[str, Path] = {}
    for entry in named:
        split = SPLIT_WORDS[entry.name.lower()]
        if split in splits:
            raise DataError(
                f"{str(root)!r} has two folders for {split}, {splits[split].name!r} and {entry.name!r}; "
                "merge them or move one away"
            )
        splits[split] = Path(entry.path)
    walk.entries(root)  # counts what is hidden beside the splits
    others = [entry.name + ("/" if entry.is_dir() else "") for entry in entries if entry not in named]
    if others:
        walk.notes.append(f"beside {listed(path.name for path in splits.values())}, {listed(others)} ignored")
    return [(split, splits[split]) for split in ("train", "validation", "test") if split in splits]


def holds_folders(entry: os.DirEntry[str], walk: Walk) -> bool:
    """Return whether a folder holds visible folders."""
    return any(below.is_dir() for below in Walk(walk.suffixes).entries(Path(entry.path)))


def no_class_folders(folder: Path, count: int, split: str | None) -> str:
    """Say what layout was expected where images lie in no class's folder."""
    layout = f"{folder.name}/cat/1.jpg and {folder.name}/dog/2.jpg"
    other = "" if split else ", or a CSV with the columns path and class"
    return (
        f"the folder {str(folder)!r} holds {counted(count, 'image')} but no class folders; expected one folder for "
        f"each class, such as {layout}{other}"
    )


def list_images(paths: Iterable[str | Path], suffixes: frozenset[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the images that a command line names: files, folders with all below them, and glob patterns.

    A file that is named itself is taken whatever its suffix; nothing is listed twice.

    Raises:
        UsageError: Something named does not exist.
        DataError: No image was found.
    """
    given = [str(path) for path in paths]
    found: dict[Path, None] = {}
    for text in given:
        path = Path(text).expanduser()
        if path.exists() or path.is_symlink():
            matches = [path]
        else:
            matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 - `**`, absolute
            if not matches:
                raise UsageError(f"there is no file, folder or pattern's match called {text!r}; check the path")
        for match in matches:
            below = Walk(suffixes).images(match, match) if match.is_dir() else [match]
            found.update(dict.fromkeys(below))
    if not found:
        raise DataError(
            f"no images were found in {listed(given)}; expected files ending in {', '.join(sorted(suffixes))}"
        )
    return list(found)
