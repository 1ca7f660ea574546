"""The data sets that are known by name: digits in the box, and four more that are found, or downloaded on request.

Alpaydin, Kaynak 1998: optical recognition of handwritten digits (`digits`, as scikit-learn ships it).
LeCun, Cortes, Burges 1998: MNIST. Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747: Fashion-MNIST.
Krizhevsky 2009, "Learning multiple layers of features from tiny images": CIFAR-10 and CIFAR-100.
"""

import gzip
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from plusx.data.dataset import Dataset, Sample, listed
from plusx.download import ELSEWHERE, download
from plusx.errors import DataError
from plusx.events import Event, Noted
from plusx.storage import cache_folder, writing

# A class of torchvision.datasets; they carry no types.
Reader: TypeAlias = Any

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
IDX_FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))


@dataclass(frozen=True)
class Arrays:
    """A split as its files hold it: images (N, H, W) or (N, H, W, C), and each one's class."""

    images: NDArray[np.uint8]
    targets: NDArray[np.int64]


@dataclass(frozen=True)
class Named:
    """How one data set is found, read and fetched.

    Attributes:
        reader: The class of torchvision.datasets that knows its files, addresses and sums.
        folder: Where they are below a data root, as torchvision lays them out.
        files: From torchvision's class to the names of the files there; each may also be packed, as NAME.gz.
        read: From that folder to the classes and the splits.
        fetch: From torchvision's class to the files in that folder.
        packaged: Where a system package puts them.
    """

    reader: str
    folder: str
    files: Callable[[Reader], tuple[str, ...]]
    read: Callable[[Reader, Path], tuple[tuple[str, ...], dict[str, Arrays]]]
    fetch: Callable[[Reader, Path], Generator[Event, None, None]]
    packaged: tuple[Path, ...] = ()


def read_digits() -> Dataset:
    """Read scikit-learn's 1,797 handwritten digits of 8 x 8 pixels; their 17 gray levels become 0 ... 255."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    classes = tuple(str(digit) for digit in range(10))
    return Dataset("digits", "digits", classes, samples_of("digits", None, Arrays(images, bunch.target)))


def read_named(name: str, *, data_root: Path | None = None, download: bool = False) -> Generator[Event, None, Dataset]:
    """Read one of the data sets that are known by name.

    Args:
        name: A key of `NAMED`, or "digits".
        data_root: The first place to look, and where a download goes.
        download: Whether it may be fetched when it is in no place.

    Raises:
        DataError: It is nowhere and was not to be fetched, could not be fetched, or its files are damaged.
        StorageError: A download could not be written.
    """
    if name == "digits":
        return read_digits()
    import torchvision.datasets

    known = NAMED[name]
    reader: Reader = getattr(torchvision.datasets, known.reader)
    roots = places(data_root)
    folders = [*(root / known.folder for root in roots), *known.packaged]
    missing = {folder: [file for file in known.files(reader) if not present(folder, file)] for folder in folders}
    folder = next((folder for folder, files in missing.items() if not files), None)
    if folder is None and not download:
        looked = ", ".join(
            repr(str(folder)) + (f" (there, but without {listed(files)})" if folder.is_dir() else "")
            for folder, files in missing.items()
        )
        raise DataError(
            f"the files of {name!r} are in none of the places looked at: {looked}; name the folder that holds "
            f"{known.folder!r} with --data-root or $PLUSX_DATA, or fetch them with --download"
        )
    if folder is None:
        folder = roots[0] / known.folder
        yield Noted(f"{name} is downloaded to {str(folder)!r}")
        yield from known.fetch(reader, folder)
    try:
        classes, splits = known.read(reader, folder)
        samples = tuple(sample for split, arrays in splits.items() for sample in samples_of(name, split, arrays))
    except (RuntimeError, ValueError, TypeError, AssertionError, OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"the files of {name!r} in {str(folder)!r} are incomplete or damaged ({error}); "
            "remove that folder and fetch them again with --download"
        ) from error
    return Dataset(name, name, classes, samples)


def places(data_root: Path | None) -> list[Path]:
    """Return the folders in which named data sets are looked for, the first one also being where downloads go."""
    given = [data_root] if data_root is not None else []
    from_environment = [Path(os.environ["PLUSX_DATA"])] if os.environ.get("PLUSX_DATA") else []
    return [place.expanduser() for place in (*given, *from_environment, cache_folder())]


def present(folder: Path, file: str) -> bool:
    """Return whether a folder holds a file, as it is or packed."""
    return (folder / file).is_file() or (folder / f"{file}.gz").is_file()


def samples_of(name: str, split: str | None, arrays: Arrays) -> tuple[Sample, ...]:
    """Return a sample for each image: a view of the one large array."""
    prefix = f"{name}/{split}" if split else name
    return tuple(
        Sample(f"{prefix}/{index:05d}", image, target, split)
        for index, (image, target) in enumerate(zip(arrays.images, arrays.targets.tolist(), strict=True))
    )


def idx_files(_: Reader) -> tuple[str, ...]:
    """Return the names of the four files of MNIST and of the sets that took over its form."""
    return IDX_FILES


def read_idx(reader: Reader, folder: Path) -> tuple[tuple[str, ...], dict[str, Arrays]]:
    """Read the four IDX files of MNIST or Fashion-MNIST, packed or not, with torchvision's readers."""
    from torchvision.datasets.mnist import read_image_file, read_label_file

    with tempfile.TemporaryDirectory(prefix="plusx-") as unpacked:
        paths = {name: idx_path(folder, name, Path(unpacked)) for name in IDX_FILES}
        splits = {
            split: Arrays(
                read_image_file(str(paths[f"{part}-images-idx3-ubyte"])).numpy(),
                read_label_file(str(paths[f"{part}-labels-idx1-ubyte"])).numpy(),
            )
            for split, part in (("train", "train"), ("test", "t10k"))
        }
    # torchvision calls MNIST's classes "0 - zero"; the plain digit is also what `digits` calls them.
    return tuple(label.split(" - ")[0] for label in reader.classes), splits


def idx_path(folder: Path, name: str, unpacked: Path) -> Path:
    """Return the path of an IDX file that torchvision can read: an unpacked copy where only the .gz is there."""
    plain = folder / name
    if plain.is_file():
        return plain
    with gzip.open(folder / f"{name}.gz") as packed, (unpacked / name).open("wb") as file:
        shutil.copyfileobj(packed, file)
    return unpacked / name


def fetch_idx(reader: Reader, folder: Path) -> Generator[Event, None, None]:
    """Fetch the four packed IDX files; they are read as they are."""
    for filename, md5 in reader.resources:
        yield from download([f"{mirror}{filename}" for mirror in reader.mirrors], folder / filename, md5=md5)


def cifar_files(reader: Reader) -> tuple[str, ...]:
    """Return the names of the files in CIFAR's archive."""
    return (*(name for name, _ in reader.train_list + reader.test_list), reader.meta["filename"])


def read_cifar(reader: Reader, folder: Path) -> tuple[tuple[str, ...], dict[str, Arrays]]:
    """Read CIFAR's files with torchvision's reader, which checks their published sums before it unpickles them."""
    splits: dict[str, Arrays] = {}
    classes: tuple[str, ...] = ()
    for split in ("train", "test"):
        read = reader(folder.parent, train=split == "train", download=False)
        splits[split] = Arrays(np.ascontiguousarray(read.data), np.asarray(read.targets, dtype=np.int64))
        classes = tuple(read.classes)
    return classes, splits


def fetch_cifar(reader: Reader, folder: Path) -> Generator[Event, None, None]:
    """Fetch CIFAR's archive and unpack it."""
    archive = folder.parent / reader.filename
    yield from download([reader.url], archive, md5=reader.tgz_md5)
    with writing(folder, ELSEWHERE), tarfile.open(archive) as packed:
        packed.extractall(folder.parent, filter="data")
    archive.unlink()


NAMED: dict[str, Named] = {
    "mnist": Named("MNIST", "MNIST/raw", idx_files, read_idx, fetch_idx),
    "fashion-mnist": Named("FashionMNIST", "FashionMNIST/raw", idx_files, read_idx, fetch_idx, (DEBIAN_FASHION,)),
    "cifar10": Named("CIFAR10", "cifar-10-batches-py", cifar_files, read_cifar, fetch_cifar),
    "cifar100": Named("CIFAR100", "cifar-100-python", cifar_files, read_cifar, fetch_cifar),
}
