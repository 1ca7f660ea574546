import csv
import errno
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from plusx import run_folder
from plusx.errors import CheckpointError, StorageError, UsageError
from plusx.run_folder import RunFolder, table
from plusx.storage import OTHER_OUT, writing


def created(out, data, name=""):
    folder = RunFolder.create(out, data, name)
    folder.publish()
    return folder


def test_runs_are_numbered_and_never_overwritten(tmp_path):
    out = tmp_path / "deep" / "runs"
    made = [created(out, "数据").path for _ in range(3)]
    assert [path.name for path in made] == ["数据-1", "数据-2", "数据-3"]
    made[1].rename(out / "away")
    assert created(out, "数据").path.name == "数据-2"


def test_a_new_run_has_its_folders(tmp_path):
    path = RunFolder.create(tmp_path, "digits").path
    assert sorted(one.name for one in path.iterdir()) == ["plots", "samples", "state", "weights"]


def test_a_name_that_is_taken_is_refused_with_the_two_ways_on(tmp_path):
    path = created(tmp_path, "digits", "mine").path
    (path / "log.txt").write_text("precious")
    with pytest.raises(UsageError, match=r"exists and is not overwritten; choose another --name.*plusx resume .*mine"):
        RunFolder.create(tmp_path, "digits", "mine")
    assert (path / "log.txt").read_text() == "precious"


@pytest.mark.parametrize("name", ["../outside", "a/b", "..", ".", "a\\b"])
def test_a_name_is_no_path(tmp_path, name):
    out = tmp_path / "runs"
    with pytest.raises(UsageError, match="name"):
        RunFolder.create(out, "digits", name)
    assert not (tmp_path / "outside").exists()


def test_a_file_in_the_place_of_the_folder_is_a_storage_error(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(StorageError, match="could not write"):
        RunFolder.create(tmp_path / "runs", "digits")


def test_a_read_only_disk_is_a_storage_error(tmp_path, monkeypatch):
    def refuse(*given, **named):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match="the disk is read-only; choose another folder with --out"):
        RunFolder.create(tmp_path, "digits")


def fail_inside(folder, instead=OTHER_OUT):
    with folder.held(), writing(folder.states, instead):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_failed_write_to_a_run_says_how_to_go_on_with_it(tmp_path):
    with pytest.raises(StorageError, match="free some or choose another folder with --out"):
        fail_inside(RunFolder.create(tmp_path, "digits"))  # not published yet: there is nothing to go on with
    assert list(tmp_path.iterdir()) == []
    folder = created(tmp_path, "digits")
    with pytest.raises(
        StorageError, match=r"no space is left on the disk; free some or move the run elsewhere; then resume it$"
    ):
        fail_inside(folder)
    with pytest.raises(StorageError, match="free some or give another folder with --cache"):
        fail_inside(folder, "give another folder with --cache")


def test_opening_tells_what_is_wrong(tmp_path):
    with pytest.raises(CheckpointError, match=r"does not exist; expected the folder of a run"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"has no config.yaml"):
        RunFolder.open(tmp_path)
    (tmp_path / "config.yaml").write_text("")
    assert RunFolder.open(tmp_path).best == tmp_path / "weights" / "best.safetensors"


def test_the_log_grows_by_lines_with_the_time(tmp_path):
    folder = RunFolder.create(tmp_path, "digits")
    folder.log("one\ntwo")
    folder.log("三 \udcff")
    lines = (folder.path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == ["one", "two", "三 \\udcff"]
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", line) for line in lines)


def test_a_line_that_cannot_be_logged_comes_before_the_next_one(tmp_path, monkeypatch):
    folder = RunFolder.create(tmp_path, "digits")
    folder.log("one")
    monkeypatch.setattr(Path, "open", refuse)
    folder.log("two")
    monkeypatch.undo()
    folder.log("three")
    lines = (folder.path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == ["one", "two", "three"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_tears_no_line_of_the_log(tmp_path):
    folder = RunFolder.create(tmp_path, "digits")
    (folder.path / "log.txt").symlink_to("/dev/full")
    folder.log("lost for now")
    (folder.path / "log.txt").unlink()
    folder.log("later")
    assert "lost for now" in (folder.path / "log.txt").read_text()


@pytest.mark.parametrize(("torn", "mended"), [("a\nb\nhal", "a\nb\n"), ("a\n", "a\n"), ("hal", ""), ("", "")])
def test_half_a_line_at_the_end_of_the_log_is_taken_away(tmp_path, torn, mended):
    folder = RunFolder.create(tmp_path, "digits")
    (folder.path / "log.txt").write_text(torn)
    folder.mend()
    assert (folder.path / "log.txt").read_text() == mended


def refuse(*given, **named):
    raise OSError(errno.EIO, "Input/output error")


def test_a_folder_has_no_name_until_its_run_can_be_resumed(tmp_path):
    folder = RunFolder.create(tmp_path, "digits")
    assert folder.path.name.startswith(".")
    assert list(tmp_path.glob("digits*")) == []
    folder.write("config.yaml", "")
    folder.publish()
    assert folder.path == tmp_path / "digits-1"
    assert RunFolder.open(folder.path).config.is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["digits-1"]


def test_two_that_want_one_name_get_two_or_a_sentence(tmp_path):
    first, second = RunFolder.create(tmp_path, "digits"), RunFolder.create(tmp_path, "digits")
    first.publish()
    second.publish()
    assert (first.path.name, second.path.name) == ("digits-1", "digits-2")
    mine, too = (RunFolder.create(tmp_path, "digits", "mine") for _ in range(2))
    mine.publish()
    with pytest.raises(UsageError, match="exists and is not overwritten"):
        too.publish()
    assert run_folder._renamed(too.path, mine.path) is False


def test_a_name_that_cannot_be_given_is_a_storage_error(tmp_path, monkeypatch):
    folder = RunFolder.create(tmp_path, "digits")
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StorageError, match="digits-1"):
        folder.publish()


def test_a_folder_whose_run_never_began_goes(tmp_path):
    folder = RunFolder.create(tmp_path, "digits")
    with pytest.raises(KeyboardInterrupt), folder.held():
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_another_process_at_work_is_noticed_and_a_killed_one_is_not(tmp_path):
    folder = created(tmp_path, "digits")
    (folder.path / ".scores.json.17.part").write_text("half")
    hold = "with RunFolder(Path(sys.argv[1])).held():\n    print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; from pathlib import Path; from plusx.run_folder import RunFolder\n{hold}",
         folder.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        assert other.stdout.readline() == b"held\n"
        (folder.path / ".scores.json.18.part").write_text("being written")
        with pytest.raises(UsageError, match="another process is at work on the run"), folder.held():
            pass
        assert (folder.path / ".scores.json.18.part").exists()
        other.kill()
        other.wait(20)
    with folder.held():
        assert list(folder.path.glob(".*.part")) == []


def test_what_killed_processes_left_before_their_runs_began_goes(tmp_path):
    killed = RunFolder.create(tmp_path, "digits")
    (killed.path / "state" / "lock").touch()
    left = killed.path.rename(tmp_path / ".run.1-abc.part")
    alive = RunFolder.create(tmp_path, "digits")
    (alive.path / "state" / "lock").touch()
    (tmp_path / ".run.mine.part").mkdir()
    created(tmp_path, "digits")
    assert not left.exists()
    assert alive.path.exists()  # of this very process
    assert (tmp_path / ".run.mine.part").exists()  # no lock in it: nobody knows what it is


@pytest.mark.parametrize(("number", "free"), [(errno.EAGAIN, False), (errno.EACCES, False), (errno.ENOLCK, None)])
def test_a_disk_without_locks_is_no_reason_to_stop(tmp_path, monkeypatch, number, free):
    def locking(*given):
        raise OSError(number, "")

    made = RunFolder.create(tmp_path, "digits")
    (made.path / "state" / "lock").touch()
    another = made.path.rename(tmp_path / ".run.1-abc.part")
    monkeypatch.setattr(run_folder.fcntl, "lockf", locking)
    assert run_folder._locked(0) is free
    RunFolder.create(tmp_path, "digits")
    assert another.exists()  # whoever made it may be at work


def test_a_run_in_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    folder = created(tmp_path, "digits")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError), folder.held():
        pass


def test_the_size_of_a_run_is_that_of_its_files(tmp_path):
    folder = created(tmp_path, "digits")
    folder.write("a", "12345")
    (folder.path / "plots" / "b").write_bytes(bytes(10))
    (folder.path / "evaluations" / "photos-test").mkdir(parents=True)
    (folder.path / "evaluations" / "photos-test" / "scores.json").write_bytes(bytes(100))
    (folder.path / "state" / "damaged.safetensors").write_bytes(bytes(1000))
    assert folder.size() == 15


def test_metrics_are_the_same_in_both_files(tmp_path):
    folder = RunFolder.create(tmp_path, "digits")
    history = [{"epoch": 1, "train_loss": 0.1 + 0.2}, {"epoch": 2, "train_loss": 1e-9, "validation_accuracy": 0.5}]
    folder.write_metrics(history)
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == history
    rows = list(csv.DictReader(io.StringIO((folder.path / "metrics.csv").read_text())))
    assert list(rows[0]) == ["epoch", "train_loss", "validation_accuracy"]
    assert float(rows[0]["train_loss"]) == 0.1 + 0.2
    assert rows[0]["validation_accuracy"] == ""
    assert float(rows[1]["validation_accuracy"]) == 0.5


def test_json_keeps_every_script(tmp_path):
    folder = RunFolder.create(tmp_path, "digits")
    folder.write_json("classes.json", ["猫", "dog"])
    text = (folder.path / "classes.json").read_text(encoding="utf-8")
    assert "猫" in text
    assert json.loads(text) == ["猫", "dog"]


def test_a_table_quotes_what_needs_it_and_has_a_head_without_rows():
    text = table([{"path": 'a,"b"\n猫', "reason": "is empty"}], ("path", "reason"))
    assert list(csv.reader(io.StringIO(text))) == [["path", "reason"], ['a,"b"\n猫', "is empty"]]
    assert table([], ("path", "reason")) == "path,reason\n"
