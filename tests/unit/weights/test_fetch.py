import dataclasses
import hashlib
import json

import pytest
from loopback import serving

from plusx.errors import CheckpointError
from plusx.events import Advanced, Noted, result_of
from plusx.weights.fetch import cache_folder, fetch, local_copy
from plusx.weights.published import HUB, PUBLISHED

CONTENT = b"weights" * 100_000
HEADER = json.dumps({"__metadata__": {}, "a": {"dtype": "U8", "shape": [40], "data_offsets": [0, 40]}}).encode()
SAFE = len(HEADER).to_bytes(8, "little") + HEADER + bytes(40)


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("TORCH_HOME", "PLUSX_MIRROR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    with serving() as running:
        yield running


def served(server, content=CONTENT, sha256=None):
    server.files["net-0000.pth"] = content
    right = hashlib.sha256(CONTENT).hexdigest()[:8] if sha256 is None else sha256
    url = server.url("net-0000.pth")
    return dataclasses.replace(PUBLISHED["resnet18:imagenet1k-v1"], url=url, sha256=right)


def texts(events):
    return [(event.level, event.text) for event in events if isinstance(event, Noted)]


def test_weights_are_fetched_once_into_the_cache(server):
    wanted = served(server)
    assert local_copy(wanted) is None
    work = fetch(wanted)
    events = []
    try:
        while True:
            events.append(next(work))
    except StopIteration as end:
        path = end.value
    assert path == cache_folder() / "net-0000.pth" == local_copy(wanted)
    assert path.read_bytes() == CONTENT
    assert events[-1] == Advanced("downloading net-0000.pth", len(CONTENT), len(CONTENT), "bytes")
    [(level, text)] = texts(events)
    assert level == "info"
    assert str(path) in text
    assert "license: BSD-3-Clause, as torchvision states; trained on ImageNet" in text
    assert list(fetch(wanted)) == []
    assert len(server.asked) == 1


def test_a_damaged_copy_is_fetched_anew(server):
    wanted = served(server)
    path = cache_folder() / wanted.file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    notes = texts(fetch(wanted))
    assert notes[0][0] == "warning"
    assert "is not used: its sha256 is" in notes[0][1]
    assert path.read_bytes() == CONTENT


def test_the_copy_that_torch_hub_keeps_is_used_if_it_is_right(server, tmp_path, monkeypatch):
    wanted = served(server)
    copy = tmp_path / "cache" / "torch" / "hub" / "checkpoints" / wanted.file
    copy.parent.mkdir(parents=True)
    copy.write_bytes(CONTENT)
    assert local_copy(wanted) == copy
    assert texts(fetch(wanted)) == [("info", f"{wanted.name} is read from {str(copy)!r}")]
    assert server.asked == []
    copy.write_bytes(b"another file of this name")
    assert result_of(fetch(wanted)) == cache_folder() / wanted.file
    assert copy.read_bytes() == b"another file of this name"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "elsewhere"))
    (cache_folder() / wanted.file).unlink()
    assert local_copy(wanted) is None


def test_a_mirror_is_asked_first_and_its_file_is_checked(server, tmp_path):
    wanted = dataclasses.replace(served(server), url="http://127.0.0.1:1/net-0000.pth")
    assert result_of(fetch(wanted, mirror=server.address, cache=tmp_path / "mine")).parent == tmp_path / "mine"
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / wanted.file).write_bytes(b"wrong")
    with pytest.raises(CheckpointError) as found:
        result_of(fetch(wanted, mirror=str(mirror)))
    assert "its sha256 is" in str(found.value)
    assert "http://127.0.0.1:1/net-0000.pth: " in str(found.value)
    assert local_copy(wanted) is None


def test_what_is_not_there_is_a_sentence_with_exit_code_4(server):
    wanted = served(server)
    server.files.clear()
    with pytest.raises(
        CheckpointError, match=r"could not download 'net-0000.pth'.*404 Not Found.*PLUSX_MIRROR"
    ) as found:
        result_of(fetch(wanted))
    assert found.value.exit_code == 4


def unchecked(tmp_path, content):
    """Weights on the hub, whose sum plusx does not know, and a mirror that has them."""
    wanted = PUBLISHED["preresnet18:ra4-in1k"]
    assert wanted.url.startswith(HUB)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / wanted.file).write_bytes(content)
    return wanted, str(mirror)


def test_without_a_known_sum_that_is_said_and_the_sum_is_shown(tmp_path):
    wanted, mirror = unchecked(tmp_path, SAFE)
    notes = texts(fetch(wanted, mirror=mirror))
    assert notes[-1][1] == (
        "plusx knows no sum of resnetv2_18.ra4_e3600_r224_in1k.safetensors, so it was not checked; "
        f"its sha256 is {hashlib.sha256(SAFE).hexdigest()}"
    )
    assert list(fetch(wanted, mirror="")) == []


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (SAFE[:-1], "bytes, but its header tells of"),
        (SAFE + b"more", "bytes, but its header tells of"),
        (b"<html>sign in first</html>", "it is no safetensors file"),
        (b"", "it is no safetensors file"),
        ((2).to_bytes(8, "little") + b"[]", "it is no safetensors file"),
    ],
)
def test_without_a_known_sum_at_least_the_form_is_checked(tmp_path, content, wrong):
    wanted, mirror = unchecked(tmp_path, content)
    with pytest.raises(CheckpointError, match=wrong):
        result_of(fetch(wanted, mirror=mirror))
    assert local_copy(wanted) is None
