"""The maximum of four pixels is torch's max-pool, bit for bit, and so is its gradient."""

import pytest
import torch
from compiled_kernels import NEEDED, random, turned_off
from torch.nn import functional

from plusx.kernels.pooling import fits, largest_of_four

pytestmark = NEEDED


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(3, 5, 7, 9), (4, 16, 8, 8), (2, 33, 2, 3), (1, 64, 5, 4), (5, 1, 3, 2)])
def test_it_is_a_max_pool(shape, dtype):
    x = (random(shape, dtype) * 2).round().requires_grad_()  # many are equal
    again = x.detach().clone().requires_grad_()
    assert fits(x)
    y, expected = largest_of_four(x), functional.max_pool2d(again, 2, 2)
    gradient = torch.randn_like(expected)
    y.backward(gradient)
    expected.backward(gradient)
    assert torch.equal(y, expected)
    assert torch.equal(x.grad, again.grad)


def test_what_is_not_a_number_stays_so():
    x = random((1, 16, 4, 4))
    for place in ((0, 0), (0, 3), (2, 1), (3, 3)):
        x[0, :, place[0], place[1]] = float("nan")
    assert torch.equal(largest_of_four(x).isnan(), functional.max_pool2d(x, 2, 2).isnan())


def test_what_the_kernels_leave_to_torch():
    assert not fits(random((2, 3, 1, 4)))
    assert not fits(torch.randn(2, 3, 4, 4))
    with turned_off():
        assert not fits(random((2, 3, 4, 4)))
