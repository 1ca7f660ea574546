import signal
from types import SimpleNamespace

import pytest
from finished import finished, plan_of

from plusx import sitting
from plusx.errors import Stopped, StorageError
from plusx.events import Noted
from plusx.run_folder import RunFolder
from plusx.sitting import News, train_on


def training_of():
    input_ = SimpleNamespace(shape=(3, 64, 64))
    return SimpleNamespace(replaced=0, in_memory=False, workers=1, cached=False, input=input_)


def news_of(progress):
    return News(SimpleNamespace(training=training_of()), progress)


def test_what_a_cache_takes_of_the_disk_is_not_the_run_s(monkeypatch, tmp_path):
    free, needed, asked = [100], 80, []

    def expect_space(folder, wanted, what, held):
        asked.append((folder, wanted, held))
        if free[0] < wanted - held:
            raise StorageError("no room")

    def take_up():
        free[0] -= 60
        yield Noted("cached")

    monkeypatch.setattr(sitting, "expect_space", expect_space)
    monkeypatch.setattr(sitting, "space_needed", lambda plan, network, samples, test_samples: needed)
    empty = SimpleNamespace(samples=())
    one = SimpleNamespace(plan=None, network=None, data=empty, test=empty)
    one.training = SimpleNamespace(load=take_up)
    with pytest.raises(StorageError, match="no room"):
        list(sitting.load(one, tmp_path))
    free[0] = 100
    assert list(sitting.load(one, tmp_path, held=50)) == [Noted("cached")]
    assert asked == [(tmp_path, 80, 0), (tmp_path, 80, 0), (tmp_path, 80, 50), (tmp_path, 80, 50)]


def test_incidents_before_a_resume_are_not_told_again():
    progress = finished()
    progress.incidents = ["step 3: old"]
    news = news_of(progress)
    progress.incidents.append("step 9: new")
    assert news.since_last(0) == [Noted("step 9: new", "warning")]
    assert news.since_last(0) == []


def test_workers_that_died_are_counted_once():
    news = news_of(finished())
    assert news.since_last(2) == [Noted("2 workers died and were replaced", "warning")]
    assert news.since_last(3) == [Noted("1 worker died and was replaced", "warning")]
    assert news.since_last(3) == []


def test_waiting_is_worth_advice_once_and_in_long_epochs_only():
    progress = finished()
    news = news_of(progress)
    row = progress.history[-1]
    progress.epoch_ended = True
    row |= {"seconds": 4.0, "waiting": 1.0}
    assert news.since_last(0) == []
    row |= {"seconds": 40.0, "waiting": 10.0}
    (note,) = news.since_last(0)
    assert note.text.startswith("25% of the epoch was spent waiting for data; what would help: --workers")
    assert note.level == "info"
    assert news.since_last(0) == []


def test_waiting_and_workers_are_those_of_the_rank_that_met_most(tmp_path, monkeypatch):
    progress = finished()
    progress.epoch_ended, progress.waiting = True, 3.0
    *before, row = progress.history
    for one in before:
        one |= {"seconds": 1.0, "waiting": 0.5}

    def largest(*numbers):  # another rank has waited 2 s longer, and lost a worker
        return [numbers[0], *(number + more for number, more in zip(numbers[1:], (0, 2, 1), strict=False))]

    monkeypatch.setattr(sitting.ranks, "largest", largest)
    monkeypatch.setattr(sitting, "_score_epoch", lambda *_: iter(()))
    monkeypatch.setattr(sitting, "train", lambda *_: (one for one in [progress]))
    for name in ("save", "keep", "keep_again"):
        monkeypatch.setattr(sitting, name, lambda *_: None)
    one = SimpleNamespace(plan=plan_of(), network=None, training=training_of(), device=None, teacher=None)
    told = list(train_on(one, progress, RunFolder.create(tmp_path, "bars")))
    assert told[0] == Noted("1 worker died and was replaced", "warning")
    assert progress.waiting == 5.0
    assert row["waiting"] == 5.0 - 0.5 * len(before)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_last_epoch_is_scored_stops_the_run(sent, tmp_path, monkeypatch):
    progress = finished()
    progress.epoch_ended = True
    for row in progress.history:
        row |= {"seconds": 1.0, "waiting": 0.0}

    def scored(*_):
        signal.raise_signal(sent)
        yield from ()

    saved = []
    monkeypatch.setattr(sitting, "_score_epoch", scored)
    monkeypatch.setattr(sitting, "train", lambda *_: (one for one in [progress]))
    monkeypatch.setattr(sitting, "save", lambda *_: saved.append(progress.step))
    monkeypatch.setattr(sitting, "keep", lambda *_: saved.append("best"))
    monkeypatch.setattr(sitting, "keep_again", lambda *_: None)
    one = SimpleNamespace(plan=plan_of(), network=None, training=training_of(), device=None, teacher=None)
    folder = RunFolder.create(tmp_path, "bars")
    with pytest.raises(Stopped):
        list(train_on(one, progress, folder))
    assert saved == [progress.step, "best"]
