import csv
import errno
import io
import json
import re
from pathlib import Path

import pytest

from plusx.errors import CheckpointError, StorageError, UsageError
from plusx.run_folder import RunFolder, table


def test_runs_are_numbered_and_never_overwritten(tmp_path):
    out = tmp_path / "deep" / "runs"
    made = [RunFolder.create(out, "数据").path for _ in range(3)]
    assert [path.name for path in made] == ["数据-1", "数据-2", "数据-3"]
    made[1].rename(out / "away")
    assert RunFolder.create(out, "数据").path.name == "数据-2"


def test_a_new_run_has_its_folders(tmp_path):
    path = RunFolder.create(tmp_path, "digits").path
    assert sorted(one.name for one in path.iterdir()) == ["plots", "samples", "state", "weights"]


def test_a_name_that_is_taken_is_refused_with_the_two_ways_on(tmp_path):
    path = RunFolder.create(tmp_path, "digits", "mine").path
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
