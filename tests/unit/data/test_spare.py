import os
from pathlib import Path

import numpy as np
import pytest
import torch

from plusx.data.spare import ADVICE, KEPT, Spare


def test_an_array_is_given_out_again_when_nothing_refers_to_it():
    spare = Spare()
    tensor = torch.from_numpy(spare.array((2, 3)).reshape(6)).view(3, 2).permute(1, 0)
    first = tensor.data_ptr()
    part = tensor[1:]
    del tensor
    other = spare.array((2, 3))
    assert other.ctypes.data != first, "a view of it is still held"
    del part
    assert spare.array((2, 3)).ctypes.data == first
    assert spare.array((3, 3)).shape == (3, 3)
    assert other.dtype == np.float32


def test_a_graph_that_needs_its_input_keeps_it():
    spare = Spare()
    weight = torch.ones(3, requires_grad=True)
    loss = (torch.from_numpy(spare.array((3,))) * weight).sum()
    held = spare.arrays[0].ctypes.data
    assert spare.array((3,)).ctypes.data != held
    del loss
    assert spare.array((3,)).ctypes.data == held


def test_only_a_few_are_kept():
    spare = Spare()
    taken = [spare.array((2,)) for _ in range(9)]
    assert len({one.ctypes.data for one in taken}) == 9
    assert len(spare.arrays) == KEPT


@pytest.mark.skipif(not ADVICE, reason="this system forks all memory")
def test_a_forked_process_does_not_have_them():
    """Else they would be copied, page by page, when they are next filled."""
    spare = Spare()
    place = spare.array((1 << 20,)).ctypes.data

    def is_mapped():
        ranges = [line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines()]
        return any(int(low, 16) <= place < int(high, 16) for low, high in ranges)

    assert is_mapped()
    child = os.fork()
    if child == 0:
        os._exit(int(is_mapped()))
    assert os.waitpid(child, 0)[1] == 0
