"""Freed memory stays with the process for a while, and goes back after it."""

import platform
import resource

import pytest
import torch

from plusx.training import memory

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
