import fcntl
import hashlib
import json
import threading
import time

import pytest
from loopback import serving

from plusx import download as module
from plusx.download import download, sum_of
from plusx.errors import DataError, StorageError
from plusx.events import Advanced

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("PLUSX_MIRROR", raising=False)
    with serving() as running:
        running.files["net.pth"] = CONTENT
        yield running


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "net.pth"


def broken_off(server, target, after=400_000, **sums):
    """Leave half a file, as an unlucky first attempt does."""
    server.breaks_after = after
    with pytest.raises(DataError, match="the connection ended after 400,000 of 1,048,576 bytes"):
        list(download([server.url("net.pth")], target, **(sums or {"sha256": SHA256})))
    assert not target.exists()
    assert target.with_name(".net.pth.part").stat().st_size == after
    server.asked.clear()


def alone_in_its_folder(target):
    return [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("sums", [{"sha256": SHA256}, {"sha256": SHA256[:8].upper()}, {"md5": MD5}, {}])
def test_a_file_is_fetched_whole(server, target, sums):
    events = list(download([server.url("net.pth")], target, **sums))
    assert target.read_bytes() == CONTENT
    assert alone_in_its_folder(target)
    assert events[-1] == Advanced("downloading net.pth", len(CONTENT), len(CONTENT), "bytes")
    assert [event.done for event in events] == sorted({event.done for event in events})
    assert server.asked == [("/net.pth", None, None, len(CONTENT))]


def test_what_is_there_is_not_fetched_again(server, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    assert list(download([server.url("net.pth")], target, sha256=SHA256)) == []
    assert server.asked == []
    target.write_bytes(b"damaged")
    list(download([server.url("net.pth")], target, sha256=SHA256))
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("marks", [True, False])
@pytest.mark.parametrize("sums", [{"sha256": SHA256}, {}])
def test_a_broken_off_file_is_gone_on_with(server, target, marks, sums):
    server.marks = marks
    broken_off(server, target, **sums) if sums else broken_off(server, target, sha256="")
    events = list(download([server.url("net.pth")], target, **sums))
    assert target.read_bytes() == CONTENT
    assert alone_in_its_folder(target)
    mark = f'"{MD5}"' if marks else None
    assert server.asked == [("/net.pth", "bytes=400000-", mark, len(CONTENT) - 400_000)]
    assert events[0].done > 400_000
    assert events[-1] == Advanced("downloading net.pth", len(CONTENT), len(CONTENT), "bytes")


def test_a_download_that_is_left_in_the_middle_is_gone_on_with(server, target):
    work = download([server.url("net.pth")], target, sha256=SHA256)
    next(work)
    work.close()
    assert target.with_name(".net.pth.part").stat().st_size >= 1
    list(download([server.url("net.pth")], target, sha256=SHA256))
    assert target.read_bytes() == CONTENT
    assert server.asked[-1][1].startswith("bytes=")


def test_another_address_completes_what_one_began_if_a_sum_is_checked(server, target):
    server.files["copy/net.pth"] = CONTENT
    server.breaks_after = 400_000
    list(download([server.url("net.pth"), server.url("copy/net.pth")], target, sha256=SHA256))
    assert server.asked[-1] == ("/copy/net.pth", "bytes=400000-", None, len(CONTENT) - 400_000)
    assert target.read_bytes() == CONTENT


def test_without_a_sum_two_addresses_are_not_mixed(server, target):
    server.files["copy/net.pth"] = CONTENT
    server.breaks_after = 400_000
    list(download([server.url("net.pth"), server.url("copy/net.pth")], target))
    assert server.asked[-1] == ("/copy/net.pth", None, None, len(CONTENT))
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_anew(server, target):
    broken_off(server, target)
    server.ranges = False
    events = list(download([server.url("net.pth")], target, sha256=SHA256))
    assert target.read_bytes() == CONTENT
    assert [sent for *_, sent in server.asked] == [len(CONTENT)]
    assert events[0].done < 400_000


@pytest.mark.parametrize("marks", [True, False])
@pytest.mark.parametrize("longer", [0, 100, -700_000])
def test_a_file_that_changed_between_the_halves_is_fetched_anew(server, target, marks, longer):
    server.marks = marks
    changed = bytes(len(CONTENT) + longer)
    sha256 = hashlib.sha256(changed).hexdigest()
    broken_off(server, target, sha256=sha256)
    server.files["net.pth"] = changed
    list(download([server.url("net.pth")], target, sha256=sha256))
    assert target.read_bytes() == changed
    assert alone_in_its_folder(target)
    assert len(server.asked) == (1 if marks else 2)


@pytest.mark.parametrize("longer", [100, -700_000])
def test_without_a_sum_or_a_mark_the_size_tells_that_a_file_changed(server, target, longer):
    server.marks = False
    broken_off(server, target, sha256="")
    server.files["net.pth"] = changed = bytes(len(CONTENT) + longer)
    list(download([server.url("net.pth")], target))
    assert target.read_bytes() == changed


def test_a_file_with_a_wrong_sum_is_removed(server, target):
    wrong = "0" * 64
    with pytest.raises(DataError) as found:
        list(download([server.url("net.pth")], target, sha256=wrong))
    assert f"its sha256 is {SHA256}, but the published one is {wrong}" in str(found.value)
    assert list(target.parent.iterdir()) == []
    with pytest.raises(DataError, match="but the published one begins with 00000000"):
        list(download([server.url("net.pth")], target, sha256="00000000"))
    with pytest.raises(DataError, match=f"its md5 is {MD5}, but the published one is {'0' * 32}"):
        list(download([server.url("net.pth")], target, md5="0" * 32))


def test_two_halves_with_a_wrong_sum_are_tried_once_more_and_removed(server, target):
    broken_off(server, target, sha256="0" * 64)
    with pytest.raises(DataError, match="its sha256 is"):
        list(download([server.url("net.pth")], target, sha256="0" * 64))
    assert [asked[1] for asked in server.asked] == ["bytes=400000-", None]
    assert list(target.parent.iterdir()) == []


def test_each_failure_is_told(server, target, tmp_path):
    server.files["wrong"] = b"wrong"
    urls = [
        server.url("absent"),
        server.url("wrong"),
        "http://127.0.0.1:1/refused",
        (tmp_path / "nowhere").as_uri(),
        "ftp://example.invalid/net.pth",
    ]
    with pytest.raises(DataError) as found:
        list(download(urls, target, sha256=SHA256))
    said = str(found.value)
    assert "\n" not in said
    assert "absent: the server answered 404 Not Found" in said
    assert "wrong: its sha256 is" in said
    assert "refused: [Errno" in said or "refused: Connection refused" in said
    assert "nowhere: " in said
    assert "net.pth: an address begins with http://, https://, file://" in said
    assert repr(str(target)) in said
    list(download([*urls, server.url("net.pth")], target, sha256=SHA256))
    assert target.read_bytes() == CONTENT


def test_a_server_that_says_no_length_is_believed_as_far_as_the_sum(server, target):
    server.lengths = False
    events = list(download([server.url("net.pth")], target, sha256=SHA256))
    assert {event.total for event in events} == {None}
    assert target.read_bytes() == CONTENT
    target.unlink()
    server.breaks_after = 400_000
    with pytest.raises(DataError, match="its sha256 is"):
        list(download([server.url("net.pth")], target, sha256=SHA256))


def test_a_silent_server_is_given_up(server, target, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    server.answer = lambda _: time.sleep(0.5)
    with pytest.raises(DataError, match="timed out"):
        list(download([server.url("net.pth")], target, sha256=SHA256))


def test_a_mirror_is_asked_first(server, target, tmp_path, monkeypatch):
    folder = tmp_path / "the mirror"
    folder.mkdir()
    (folder / "net.pth").write_bytes(CONTENT)
    list(download(["http://127.0.0.1:1/refused"], target, sha256=SHA256, mirror=str(folder)))
    assert target.read_bytes() == CONTENT
    target.unlink()
    monkeypatch.setenv("PLUSX_MIRROR", server.url("copies/"))
    server.files["copies/net.pth"] = CONTENT
    list(download([server.url("net.pth")], target, sha256=SHA256))
    assert [asked[0] for asked in server.asked] == ["/copies/net.pth"]
    target.unlink()
    list(download([server.url("net.pth")], target, sha256=SHA256, mirror=""))
    assert server.asked[-1][0] == "/net.pth"
    target.unlink()
    (folder / "net.pth").write_bytes(b"wrong")
    list(download([server.url("net.pth")], target, sha256=SHA256, mirror=str(folder)))
    assert target.read_bytes() == CONTENT


def test_a_whole_part_is_only_checked(server, target):
    target.parent.mkdir()
    target.with_name(".net.pth.part").write_bytes(CONTENT)
    origin = {"url": "gone", "mark": "", "total": len(CONTENT)}
    target.with_name(".net.pth.part.json").write_text(json.dumps(origin))
    assert list(download([server.url("net.pth")], target, sha256=SHA256)) == []
    assert target.read_bytes() == CONTENT
    assert server.asked == []


@pytest.mark.parametrize("note", [None, "no JSON", '{"total": 5, "more": 1}'])
def test_a_part_of_unknown_origin_is_thrown_away(server, target, note):
    target.parent.mkdir()
    target.with_name(".net.pth.part").write_bytes(CONTENT[:1000])
    if note:
        target.with_name(".net.pth.part.json").write_text(note)
    list(download([server.url("net.pth")], target, sha256=SHA256))
    assert server.asked == [("/net.pth", None, None, len(CONTENT))]
    assert target.read_bytes() == CONTENT


def test_two_at_once_fetch_it_once(server, target, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.01)
    first = download([server.url("net.pth")], target, sha256=SHA256)
    next(first)
    second = download([server.url("net.pth")], target, sha256=SHA256)
    assert next(second) == Advanced("waiting for another process that downloads net.pth", 0, None)
    list(first)
    assert {event.total for event in second} <= {None}
    assert len(server.asked) == 1
    assert alone_in_its_folder(target)


def test_a_part_that_moved_before_it_was_locked_is_opened_again(server, target, monkeypatch):
    real, moved = fcntl.flock, []

    def flock(file, how):
        if not moved:
            moved.append(target.with_name(".net.pth.part").rename(target.with_name("moved")))
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    list(download([server.url("net.pth")], target, sha256=SHA256))
    assert target.read_bytes() == CONTENT


def test_a_disk_that_knows_no_locks_is_written_without(server, target, monkeypatch):
    def flock(*_):
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    list(download([server.url("net.pth")], target, sha256=SHA256))
    assert target.read_bytes() == CONTENT


def test_a_place_that_cannot_be_written_is_said(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not write"):
        list(download([server.url("net.pth")], tmp_path / "file" / "net.pth", sha256=SHA256))


def test_many_threads_end_with_one_right_file(server, target, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.01)
    threads = [
        threading.Thread(target=lambda: list(download([server.url("net.pth")], target, sha256=SHA256)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum_of(target) == SHA256
    assert alone_in_its_folder(target)
    assert len(server.asked) == 1
