from datetime import timedelta
from pathlib import Path

import pytest
import ranked_work
import torch
from ranked import free_port, on_ranks
from torch.distributed import TCPStore

from plusx import launch, meeting, ranks
from plusx.errors import PlusxError
from plusx.events import result_of


def test_alone_everything_is_given_back():
    with ranks.joined():
        assert (ranks.count(), ranks.rank(), ranks.is_first()) == (1, 0, True)
        assert ranks.largest(1, 2.5) == [1, 2.5]
        assert ranks.gathered("a") == ["a"]
        assert ranks.from_first("a") == "a"
        rows = torch.ones(2, 3)
        assert ranks.gathered_rows(rows, [2]) is rows
        ranks.sum_up([rows])
        assert rows.sum() == 6

        def work():
            yield 1
            return 2

        assert result_of(ranks.once_a_machine(work())) == 2
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_ranks_tell_each_other(count):
    found = on_ranks(count, ranked_work.exchange)
    total = sum(range(count))
    for one in found:
        assert one["count"] == count
        assert one["largest"] == [count - 1, 0, 0.5]
        assert one["gathered"] == [{"rank": rank} for rank in range(count)]
        assert one["first"] == "said by 0"
        assert one["once"] == "done by 0"
        assert one["rows"] == [[rank] for rank in range(count) for _ in range(3 - rank)]
        assert one["sums"] == ([total] * 3, [[total + count] * 5] * 2, total)
        assert one["shared"] == {7.0}


def test_an_error_of_one_rank_is_said_by_it_alone():
    silent, says = on_ranks(2, ranked_work.failing, "said")
    assert says == "says mine alone"
    assert silent == "silent 1, of LostRank: rank 1: mine alone"


def test_so_is_an_error_that_nobody_expected():
    silent, says = on_ranks(2, ranked_work.failing, "bug")
    assert says == "says a bug"
    assert silent == "silent 1, of LostRank: rank 1: ValueError: a bug"


def test_that_a_rank_is_gone_without_a_word_is_said():
    said, _ = on_ranks(2, ranked_work.lost)
    assert "another process of this run is gone without a word" in said
    assert "--max-restarts" in said


def test_ranks_that_are_started_again_meet_anew_whatever_their_machines_have_counted():
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # torchrun's own, which stays
    kept = {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    silent, says = on_ranks(2, ranked_work.failing, "said", told=[kept, kept])
    assert (silent, says) == ("silent 1, of LostRank: rank 1: mine alone", "says mine alone")
    counted = [kept | {"TORCHELASTIC_RESTART_COUNT": count} for count in ("1", "0")]
    said, _ = on_ranks(2, ranked_work.lost, told=counted)
    assert "gone without a word" in said  # and not what an earlier rank said
    assert [one["count"] for one in on_ranks(2, ranked_work.exchange, told=counted)] == [2, 2]


def test_a_rank_that_does_not_come_is_named(started):
    started.setenv("RANK", "0")
    started.setenv("MASTER_PORT", str(free_port()))
    started.setattr(meeting, "ARRIVAL", timedelta(seconds=0.1))
    with pytest.raises(PlusxError, match=r"the 2 processes of this run cannot meet at 127.0.0.1:\d+: rank 1 did not"):
        ranks.joined().__enter__()


def test_a_process_group_of_another_script_is_refused():
    assert on_ranks(2, ranked_work.grouped) == [["alone", "refused"]] * 2


def test_a_lack_of_memory_in_an_exchange_is_no_lost_rank():
    def lacking():
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes")

    with pytest.raises(RuntimeError, match="can't allocate memory"):
        ranks._carry(lacking)


def test_many_tensors_are_sent_in_few_buckets(monkeypatch):
    monkeypatch.setattr(ranks, "BUCKET", 10)
    kinds = [torch.zeros(4), torch.zeros(6), torch.zeros(1), torch.zeros(2, dtype=torch.float64), torch.zeros(30)]
    assert [[one.numel() for one in bucket] for bucket in ranks._buckets(kinds)] == [[4, 6], [1], [2], [30]]


@pytest.fixture
def started(monkeypatch):
    """The environment of the second of two ranks."""
    from ranked import environment

    for name, value in environment(1, 2, 1234).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_nothing_is_known_where_torchrun_did_not_start_this(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert launch.place() is None
    assert launch.is_first()
    assert (launch.local_ranks(), launch.threads()) == (1, 0)


def test_the_place_is_read_from_the_environment(started):
    place = launch.place()
    assert (place.rank, place.ranks, place.local_rank, place.local_ranks) == (1, 2, 1, 2)
    assert (place.machine, place.attempt, place.address, place.served) == (0, 0, ("127.0.0.1", 1234), False)
    assert not launch.is_first()


def test_ranks_share_the_cores_of_a_machine(started):
    import os

    started.setattr(os, "sched_getaffinity", lambda _: set(range(7)), raising=False)
    for given, expected in (("1", 3), ("4", 0)):  # torchrun sets 1 where nobody set it
        started.setenv("OMP_NUM_THREADS", given)
        assert launch.threads() == expected
    started.delenv("OMP_NUM_THREADS")
    started.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert launch.threads() == 1


def test_one_process_says_an_error(started):
    waits = []
    started.setattr(launch.time, "sleep", waits.append)
    launch.wait_for_first(ValueError("met alone, before the ranks have met"))
    assert waits == [launch.PATIENCE]
    error = ValueError("met together")
    setattr(error, launch.SPOKEN_HERE, True)
    launch.wait_for_first(error)
    started.setenv("RANK", "0")
    launch.wait_for_first(ValueError("met by the first"))
    assert len(waits) == 1


@pytest.mark.parametrize(
    ("told", "where"),
    [({"RANK": "0", "WORLD_SIZE": "1"}, ""), ({}, "torchrun --nproc-per-node 2 -m "),
     ({"WORLD_SIZE": "4"}, "torchrun ... -m ")],
)  # fmt: skip
def test_a_run_is_resumed_with_as_many_processes(started, told, where):
    for name, value in told.items():
        started.setenv(name, value)
    assert launch.resuming(Path("my runs/a")) == f"{where}plusx resume 'my runs/a'"


def test_the_same_process_started_these():
    assert launch.starter() == launch.starter()
    assert str(__import__("os").getppid()) in launch.starter()
