import gzip
import hashlib
import os
import pickle
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets

from plusx.data import named, read_dataset
from plusx.errors import DataError
from plusx.events import Advanced, Noted, result_of


def idx(array):
    array = np.asarray(array, np.uint8)
    return bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


IMAGES = {"train": np.arange(30 * 28 * 28).reshape(30, 28, 28) % 251, "t10k": np.full((10, 28, 28), 7)}
LABELS = {"train": np.arange(30) % 10, "t10k": np.arange(10)}


def idx_files():
    contents = {}
    for part in ("train", "t10k"):
        contents[f"{part}-images-idx3-ubyte"] = idx(IMAGES[part])
        contents[f"{part}-labels-idx1-ubyte"] = idx(LABELS[part])
    return contents


def write_idx(folder, *, packed=False):
    folder.mkdir(parents=True)
    for name, content in idx_files().items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def write_cifar(folder, monkeypatch):
    """Write a small CIFAR-100 and make torchvision's table of sums agree with it."""
    folder.mkdir(parents=True)
    names = [f"thing {index}" for index in range(100)]
    pixels = np.arange(200 * 3072, dtype=np.int64).reshape(200, 3072) % 256
    content = {
        "train": {"data": pixels.astype(np.uint8), "fine_labels": [index % 100 for index in range(200)]},
        "test": {"data": pixels[:100].astype(np.uint8), "fine_labels": list(range(100))},
        "meta": {"fine_label_names": names},
    }
    sums = {}
    for name, value in content.items():
        packed = pickle.dumps(value)
        (folder / name).write_bytes(packed)
        sums[name] = md5(packed)
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "test_list", [["test", sums["test"]]])
    meta = {"filename": "meta", "key": "fine_label_names", "md5": sums["meta"]}
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "meta", meta)
    return pixels


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PLUSX_DATA", raising=False)


@pytest.fixture
def server(tmp_path):
    """A loopback server of the files in `tmp_path/served`; its address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


def test_digits_are_in_the_box():
    digits = result_of(read_dataset("digits"))
    assert len(digits.samples) == 1797
    assert digits.classes == tuple("0123456789")
    assert {sample.split for sample in digits.samples} == {None}
    first = digits.samples[0]
    assert (first.name, first.source.dtype, first.source.shape, first.target) == ("digits/00000", np.uint8, (8, 8), 0)
    assert first.source.max() == round(15 * 255 / 16)
    assert first.source[0].tolist() == [round(value * 255 / 16) for value in (0, 0, 5, 13, 9, 1, 0, 0)]


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_is_read_packed_or_not(tmp_path, packed):
    write_idx(tmp_path / "MNIST" / "raw", packed=packed)
    mnist = result_of(read_dataset("mnist", data_root=tmp_path))
    assert mnist.classes == tuple("0123456789")
    assert [len(mnist.split(split)) for split in ("train", "test")] == [30, 10]
    sample = mnist.split("train")[12]
    assert (sample.name, sample.target) == ("mnist/train/00012", 2)
    assert np.array_equal(sample.source, IMAGES["train"][12])


def test_each_place_is_looked_at_in_order(tmp_path, monkeypatch):
    def read():
        return result_of(read_dataset("mnist", data_root=tmp_path / "root"))

    with pytest.raises(DataError) as found:
        read()
    assert str(tmp_path / "root" / "MNIST" / "raw") in str(found.value)
    assert str(tmp_path / "cache" / "plusx" / "MNIST" / "raw") in str(found.value)
    assert all(word in str(found.value) for word in ("--data-root", "$PLUSX_DATA", "--download"))
    write_idx(tmp_path / "cache" / "plusx" / "MNIST" / "raw")
    assert len(read().samples) == 40
    write_idx(tmp_path / "environment" / "MNIST" / "raw")
    monkeypatch.setenv("PLUSX_DATA", str(tmp_path / "environment"))
    (tmp_path / "environment" / "MNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(idx(LABELS["train"][::-1]))
    assert read().samples[0].target == 9
    write_idx(tmp_path / "root" / "MNIST" / "raw")
    assert read().samples[0].target == 0


def test_fashion_mnist_is_found_where_debian_puts_it(tmp_path, monkeypatch):
    write_idx(tmp_path / "fashion-mnist", packed=True)
    with pytest.raises(DataError, match="/usr/share/datasets/fashion-mnist"):
        result_of(read_dataset("fashion-mnist"))
    packaged = replace(named.NAMED["fashion-mnist"], packaged=(tmp_path / "fashion-mnist",))
    monkeypatch.setitem(named.NAMED, "fashion-mnist", packaged)
    fashion = result_of(read_dataset("fashion-mnist"))
    assert fashion.classes[0] == "T-shirt/top"
    assert len(fashion.samples) == 40


def test_an_incomplete_folder_is_told(tmp_path):
    write_idx(tmp_path / "MNIST" / "raw")
    (tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"there, but without 't10k-labels-idx1-ubyte'"):
        result_of(read_dataset("mnist", data_root=tmp_path))


@pytest.mark.parametrize("content", [b"", idx(IMAGES["train"])[:-5], idx(IMAGES["train"][:29]), b"\0\0\x08\x01"])
def test_damaged_files_are_one_sentence(tmp_path, content):
    write_idx(tmp_path / "MNIST" / "raw")
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match="incomplete or damaged"):
        result_of(read_dataset("mnist", data_root=tmp_path))


def test_cifar_is_read_after_its_sums_were_checked(tmp_path, monkeypatch):
    pixels = write_cifar(tmp_path / "cifar-100-python", monkeypatch)
    cifar = result_of(read_dataset("cifar100", data_root=tmp_path))
    assert cifar.classes[99] == "thing 99"
    assert [len(cifar.split(split)) for split in ("train", "test")] == [200, 100]
    image = cifar.split("train")[5].source
    assert image.shape == (32, 32, 3)
    assert image.flags.c_contiguous
    assert np.array_equal(image[3, 4], pixels[5].reshape(3, 32, 32)[:, 3, 4])
    (tmp_path / "cifar-100-python" / "train").write_bytes(b"not what was published")
    with pytest.raises(DataError, match="incomplete or damaged"):
        result_of(read_dataset("cifar100", data_root=tmp_path))


def test_mnist_is_downloaded_on_request_only(tmp_path, monkeypatch, server):
    folder, address = server
    resources = []
    for name, content in idx_files().items():
        packed = gzip.compress(content)
        (folder / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", md5(packed)))
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [address + "gone/", address])
    events = list(read_dataset("mnist", data_root=tmp_path / "root", download=True))
    assert isinstance(events[0], Noted)
    assert [event.done == event.total and event.unit == "bytes" for event in events[1:]] == [True] * 4
    raw = tmp_path / "root" / "MNIST" / "raw"
    assert sorted(path.name for path in raw.iterdir()) == sorted(name for name, _ in resources)
    assert len(result_of(read_dataset("mnist", data_root=tmp_path / "root")).samples) == 40
    # Half of it is there already: only the rest is fetched.
    (raw / resources[0][0]).unlink()
    events = list(read_dataset("mnist", data_root=tmp_path / "root", download=True))
    assert [event.activity for event in events if isinstance(event, Advanced)] == [f"downloading {resources[0][0]}"]


def test_cifar_is_downloaded_and_unpacked(tmp_path, monkeypatch, server):
    folder, address = server
    write_cifar(tmp_path / "made" / "cifar-100-python", monkeypatch)
    archive = folder / "cifar-100-python.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(tmp_path / "made" / "cifar-100-python", "cifar-100-python")
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "url", address + archive.name)
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "tgz_md5", md5(archive.read_bytes()))
    cifar = result_of(read_dataset("cifar100", data_root=tmp_path / "root", download=True))
    assert len(cifar.samples) == 300
    assert sorted(path.name for path in (tmp_path / "root").iterdir()) == ["cifar-100-python"]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "place", "shape"), [("mnist", "MNIST/raw", (28, 28)), ("cifar10", "cifar-10-batches-py", (32, 32, 3))]
)
def test_the_real_ones(name, place, shape):
    root = Path(os.environ.get("PLUSX_TEST_DATA", ""))
    if not (root / place).is_dir():
        pytest.skip(f"PLUSX_TEST_DATA does not name a folder that holds {place}")
    dataset = result_of(read_dataset(name, data_root=root))
    assert len(dataset.classes) == 10
    assert len(dataset.split("test")) == 10000
    assert len(dataset.split("train")) == {"mnist": 60000, "cifar10": 50000}[name]
    assert dataset.samples[0].source.shape == shape
