"""A process takes no more memory than there is, says so where it lacks, and keeps for a while what it frees."""

import platform
import resource

import pytest
import torch

from plusx import memory
from plusx.errors import PlusxError
from plusx.memory import lacks_memory

LINUX = pytest.mark.skipif(platform.system() != "Linux", reason="the limit on a process's data is the kernel's")
GNU = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def new_pages() -> int:
    """Make and free 64 MiB, and return how many pages were new."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@GNU
def test_what_is_freed_is_used_again():
    with memory.kept("cpu"):
        assert any(new_pages() < 100 for _ in range(50))
    assert new_pages() > 1000


def test_elsewhere_nothing_is_changed():
    with memory.kept("cuda"):
        assert all(new_pages() > 1000 for _ in range(20))


def test_what_says_that_memory_lacks():
    assert lacks_memory(MemoryError())
    assert lacks_memory(torch.OutOfMemoryError("any words"))
    assert lacks_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."))
    assert lacks_memory(RuntimeError("CUDA error: out of memory"))
    assert lacks_memory(RuntimeError("could not create a primitive"))
    assert not lacks_memory(RuntimeError("expected scalar type"))


@LINUX
def test_more_than_there_is_cannot_be_had_within_bounds(monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_DATA)
    monkeypatch.setattr(memory, "available", lambda: 200 * 2**20)
    with memory.bounded():
        torch.empty(100 * 2**20, dtype=torch.uint8)
    too_much = "tried to allocate 419430400 bytes.*; 0.2 GB were free in the beginning.; use a smaller --batch-size"
    with pytest.raises(PlusxError, match=too_much), memory.bounded():
        torch.empty(400 * 2**20, dtype=torch.uint8)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    torch.empty(400 * 2**20, dtype=torch.uint8)


def test_a_long_error_is_cut_between_words():
    assert memory.shortly(RuntimeError("word " * 99)).endswith("word ...")
    assert memory.shortly(MemoryError()) == "the memory is used up"


@LINUX
def test_the_ranks_of_a_machine_share_what_is_free(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 400 * 2**20)
    monkeypatch.setattr(memory.launch, "local_ranks", lambda: 4)
    with pytest.raises(PlusxError, match="fewer processes"), memory.bounded():
        torch.empty(200 * 2**20, dtype=torch.uint8)


@LINUX
def test_a_group_without_room_is_a_bound_too(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1)
    with pytest.raises(PlusxError, match=r"use less$"), memory.bounded("use less"):
        torch.empty(400 * 2**20, dtype=torch.uint8)


def test_other_errors_pass_and_unknown_memory_is_no_bound(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 0)
    with pytest.raises(RuntimeError, match="shapes"), memory.bounded():
        raise RuntimeError("shapes cannot be multiplied")
    with memory.bounded():
        torch.empty(2**20)


MEMINFO = "MemTotal:  9000 kB\nMemAvailable:  4000 kB\nSwapFree:  1000 kB\n"


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 0),
        ({"/proc/meminfo": MEMINFO}, 5000 * 1024),
        (
            {
                "/proc/meminfo": MEMINFO, "/proc/self/cgroup": "0::/jobs/7\n",
                "/sys/fs/cgroup/jobs/memory.max": "3000000\n", "/sys/fs/cgroup/jobs/memory.current": "2000000\n",
                "/sys/fs/cgroup/jobs/memory.stat": "active_file 200\ninactive_file 300\nanon 9\n",
                "/sys/fs/cgroup/jobs/7/memory.max": "max\n",
            },
            1_000_500,
        ),
        (
            {
                "/proc/meminfo": MEMINFO, "/proc/self/cgroup": "11:cpu,cpuacct:/x\n9:memory:/x\n",
                "/sys/fs/cgroup/memory/x/memory.limit_in_bytes": "70\n",
                "/sys/fs/cgroup/memory/x/memory.usage_in_bytes": "100\n",
            },
            1,
        ),
        (
            {
                "/proc/meminfo": MEMINFO, "/proc/self/cgroup": "9:memory:/\n",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": "100\n",
                "/sys/fs/cgroup/memory/memory.usage_in_bytes": "90\n",
                "/sys/fs/cgroup/memory/memory.stat": "active_file 1\ntotal_active_file 30\ntotal_inactive_file 10\n",
            },
            50,
        ),
    ],
    ids=["unknown", "the machine's", "version 2", "version 1, over its limit", "version 1, with groups inside"],
)  # fmt: skip
def test_what_is_free_is_what_machine_and_groups_can_give(files, free, monkeypatch):
    monkeypatch.setattr(memory, "_text", lambda path: files.get(str(path), ""))
    assert memory.available() == free
