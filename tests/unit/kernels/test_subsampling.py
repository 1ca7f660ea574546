"""Subsampling with channels of zeros is torch's pool and pad, bit for bit."""

import pytest
import torch
from compiled_kernels import NEEDED, random, turned_off
from torch.nn import functional

from plusx.kernels.subsampling import fits, subsample_and_pad

pytestmark = NEEDED


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    ("shape", "stride", "before", "after"),
    [((3, 5, 7, 9), 2, 1, 2), ((4, 16, 8, 8), 2, 8, 8), ((2, 3, 5, 4), 3, 0, 0), ((2, 4, 4, 4), 1, 2, 3)],
)
def test_it_is_a_pool_and_a_pad(shape, stride, before, after, dtype):
    x = random(shape, dtype).requires_grad_()
    again = x.detach().clone().requires_grad_()
    assert fits(x)
    y = subsample_and_pad(x, stride, before, after)
    expected = functional.pad(functional.avg_pool2d(again, 1, stride), (0, 0, 0, 0, before, after))
    gradient = torch.randn_like(expected)
    y.backward(gradient)
    expected.backward(gradient)
    assert torch.equal(y, expected)
    assert torch.equal(x.grad, again.grad)


def test_what_the_kernels_leave_to_torch():
    assert not fits(torch.randn(2, 3, 4, 4))
    assert not fits(random((2, 3, 4, 4), torch.float64))
    assert not fits(torch.randn(2, 3, 4))
    with turned_off():
        assert not fits(random((2, 3, 4, 4)))
