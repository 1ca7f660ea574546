import dataclasses
from types import SimpleNamespace

import pytest
import tiny
from ranked import environment

from plusx import job, launch, ranks
from plusx.data import Dataset
from plusx.errors import DataError
from plusx.request import request
from plusx.run_folder import RunFolder, WatchedFolder

ASKED = request("digits", options={"epochs": 3})


@pytest.fixture
def started(monkeypatch):
    for name, value in environment(0, 1, 1234).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def folder(tmp_path, started):
    made = RunFolder.create(tmp_path, "digits")
    with made.held():
        job.remember(made, ASKED, "")
        made.publish()
    return made


def test_a_restarted_job_finds_the_run_that_it_began(folder, tmp_path):
    assert job.begun(tmp_path, ASKED, "") == folder.path


def test_a_run_that_was_killed_before_its_folder_appeared_is_begun_anew(tmp_path, started):
    made = RunFolder.create(tmp_path, "digits")
    with made.held():
        job.remember(made, ASKED, "")
        assert (made.path / job.FILE).is_file()
        assert job.begun(tmp_path, ASKED, "") is None


def test_another_request_or_name_is_another_run(folder, tmp_path):
    assert job.begun(tmp_path, request("digits", options={"epochs": 4}), "") is None
    assert job.begun(tmp_path, ASKED, "mine") is None
    assert job.begun(tmp_path / "elsewhere", ASKED, "") is None


def test_another_job_is_another_run(folder, tmp_path, started):
    started.setattr(launch, "starter", lambda: "another")
    assert job.begun(tmp_path, ASKED, "") is None


def test_one_surviving_machine_is_enough_to_know_the_job(folder, tmp_path, started):
    before = launch.starter()
    started.setattr(ranks, "gathered", lambda value: ["a new machine", before])
    assert job.begun(tmp_path, ASKED, "") == folder.path


def test_a_finished_run_is_found_by_a_restart_alone(folder, tmp_path, started):
    job.finish(folder)
    assert job.begun(tmp_path, ASKED, "") is None
    started.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert job.begun(tmp_path, ASKED, "") == folder.path


def test_a_damaged_note_is_none(folder, tmp_path):
    (folder.path / job.FILE).write_text("{", encoding="utf-8")
    assert job.begun(tmp_path, ASKED, "") is None


def test_without_torchrun_there_is_no_job(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    made = RunFolder.create(tmp_path, "digits")
    with made.held():
        job.remember(made, ASKED, "")
        assert not (made.path / job.FILE).exists()
        assert job.begun(tmp_path, ASKED, "") is None
        job.finish(made)
        assert not (made.path / job.FILE).exists()


def test_a_rank_that_does_not_write_leaves_the_folder_alone(tmp_path):
    watched = WatchedFolder(tmp_path)
    with watched.held():
        watched.log("a line")
        watched.write_json("a.json", 1)
        watched.write_metrics([{"epoch": 1}])
        watched.mend()
        watched.publish()
        job.finish(watched)
    assert list(tmp_path.iterdir()) == []


def test_ranks_that_have_another_teacher_are_refused(monkeypatch):
    teacher = SimpleNamespace(sha256="a")
    job.expect_same_teacher(teacher)
    monkeypatch.setattr(ranks, "gathered", lambda value: [value, value, "b"])
    with pytest.raises(DataError, match="rank 2 has another teacher than rank 0; every machine needs the same file"):
        job.expect_same_teacher(teacher)


def test_ranks_that_read_other_data_are_refused(monkeypatch):
    data = Dataset("tiny", "here", tiny.CLASSES, tuple(tiny.samples(6)))
    job.expect_same_data(data)
    fewer = dataclasses.replace(data, samples=data.samples[1:])
    sums = []
    monkeypatch.setattr(ranks, "gathered", lambda value: sums.append(value) or [value])
    job.expect_same_data(fewer)
    monkeypatch.setattr(ranks, "gathered", lambda value: [value, *sums])
    with pytest.raises(DataError, match="rank 1 reads other data from 'here' than rank 0"):
        job.expect_same_data(data)
