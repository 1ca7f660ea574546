"""The norm's kernels are torch's batch norm, sum and ReLU, and no less exact."""

import copy

import pytest
import torch
from compiled_kernels import NEEDED, distance, random, turned_off
from torch import nn

from plusx.kernels.norm import fits, normalize

pytestmark = NEEDED
SHAPES = [(8, 16, 12, 12), (3, 5, 7, 3), (4, 33, 5, 1), (1, 1, 3, 5), (2, 1030, 2, 2), (70, 3, 20, 21), (2, 4096, 1, 1)]
FOLLOWED = [(added, activation) for added in (None, "first", "last") for activation in (False, True)]


def made(channels, **options):
    norm = nn.BatchNorm2d(channels, **options)
    if norm.affine:
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
    return norm


def by_torch(norm, x, added, place, *, activation):
    y = norm(x)
    y = y + added if place == "first" else y
    y = y.relu() if activation else y
    return y + added if place == "last" else y


def by_kernels(norm, x, added, place, *, activation):
    assert fits(norm, x, added)
    return normalize(norm, x, added, activation=activation, add_last=place == "last")


def results(compute, norm, x, added, gradient, place, dtype, *, activation):
    """Everything that a step leaves: the output, all gradients, the running statistics."""
    norm = copy.deepcopy(norm).to(torch.float64 if dtype is torch.float64 else torch.float32)
    x = x.to(dtype, copy=True).requires_grad_()
    added = None if place is None else added.to(dtype, copy=True).requires_grad_()
    y = compute(norm, x, added, place, activation=activation)
    assert y.dtype == dtype
    y.backward(gradient.to(dtype))
    names = {"y": y.detach(), "x": x.grad, "mean": norm.running_mean, "variance": norm.running_var}
    names |= {} if added is None else {"added": added.grad}
    return names | {name: parameter.grad for name, parameter in norm.named_parameters()}, norm


@pytest.mark.parametrize(("place", "activation"), FOLLOWED)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_less_exact_than_torch(shape, dtype, place, activation):
    norm = made(shape[1])
    x, added, gradient = random(shape, dtype) * 2 + 3, random(shape, dtype), random(shape, dtype)
    # What is added keeps away from where the ReLU's gradient jumps: there rounding decides, and no side is right.
    y = copy.deepcopy(norm).double()(x.double()).detach()
    added = torch.where((y + added).abs() < 0.1, (0.4 * y.sign() - y).to(dtype), added)
    given = (norm, x, added, gradient, place)
    exact, _ = results(by_torch, *given, torch.float64, activation=activation)
    theirs, torchs = results(by_torch, *given, dtype, activation=activation)
    ours, own = results(by_kernels, *given, dtype, activation=activation)
    assert own.num_batches_tracked == torchs.num_batches_tracked
    for name, expected in exact.items():
        slack = 1e-6 if shape[0] * shape[2] * shape[3] > 2 else 1e-2  # of two numbers the gradient is all rounding
        assert distance(ours[name], expected) <= 1.1 * distance(theirs[name], expected) + slack, name


def test_a_large_mean_costs_nothing():
    norm, x = made(16), random((8, 16, 9, 9)) + 1000
    exact = copy.deepcopy(norm).double()(x.double())
    theirs, ours = copy.deepcopy(norm)(x), normalize(norm, x)
    assert distance(ours, exact) <= 1.1 * distance(theirs, exact)


@pytest.mark.parametrize("options", [{"affine": False}, {"track_running_stats": False}, {"momentum": None}], ids=str)
def test_the_norm_s_options(options):
    norm, gradient = made(16, **options), random((4, 16, 5, 5))
    theirs = copy.deepcopy(norm)
    for _ in range(3):
        x = random((4, 16, 5, 5)).requires_grad_()
        again = x.detach().clone().requires_grad_()
        ours = normalize(norm, x)
        ours.backward(gradient)
        expected = theirs(again)
        expected.backward(gradient)
        torch.testing.assert_close(ours, expected)
        torch.testing.assert_close(x.grad, again.grad)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value, msg=name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_same_bits_again_and_with_other_threads(dtype):
    shape = (8, 48, 17, 13)
    norm, x, added, gradient = made(48), random(shape, dtype), random(shape, dtype), random(shape, dtype)
    first = None
    for threads in (1, 2, 2, 3):
        torch.set_num_threads(threads)
        found, _ = results(by_kernels, norm, x, added, gradient, "first", dtype, activation=True)
        first = first or found
        assert all(torch.equal(found[name], first[name]) for name in first)


def test_nan_stays():
    x = random((2, 16, 3, 3))
    x[0, 3, 1, 1] = float("nan")
    y = normalize(made(16), x, activation=True)
    assert y[:, 3].isnan().all()
    assert not y[:, :3].isnan().any()


def test_a_gradient_that_is_spread_or_turned_is_taken():
    x = random((2, 16, 4, 4)).requires_grad_()
    again = x.detach().clone().requires_grad_()
    norm = made(16)
    weights = torch.randn(2, 16)
    (normalize(copy.deepcopy(norm), x, activation=True).mean((2, 3)) * weights).sum().backward()
    (norm(again).relu().mean((2, 3)) * weights).sum().backward()
    torch.testing.assert_close(x.grad, again.grad)


def test_added_in_another_layout_is_taken():
    x, added = random((2, 16, 4, 4)), torch.randn(2, 16, 4, 4)
    norm = made(16)
    torch.testing.assert_close(normalize(copy.deepcopy(norm), x, added), norm(x) + added)


def test_a_second_derivative_is_refused():
    x = random((2, 16, 3, 3)).requires_grad_()
    (first,) = torch.autograd.grad((normalize(made(16), x) ** 3).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


UNFIT = {
    "evaluation": lambda: (made(8).eval(), random((2, 8, 3, 3)), None),
    "channels first": lambda: (made(8), torch.randn(2, 8, 3, 3), None),
    "double": lambda: (made(8).double(), random((2, 8, 3, 3), torch.float64), None),
    "another kind": lambda: (nn.SyncBatchNorm(8), random((2, 8, 3, 3)), None),
    "one axis": lambda: (nn.BatchNorm1d(8), torch.randn(2, 8, 3), None),
    "one value a channel": lambda: (made(8), random((1, 8, 1, 1)), None),
    "another precision": lambda: (made(8), random((2, 8, 3, 3)), random((2, 8, 3, 3), torch.bfloat16)),
    "spread": lambda: (made(8), random((2, 8, 3, 3)), random((2, 8, 1, 1))),
    "weights of bfloat16": lambda: (made(8).bfloat16(), random((2, 8, 3, 3), torch.bfloat16), None),
    "elsewhere": lambda: (made(8).to("meta"), random((2, 8, 3, 3)).to("meta"), None),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_the_kernels_leave_to_torch(name):
    assert not fits(*UNFIT[name]())


def test_compiled_and_switched_off_networks_are_torch_s(monkeypatch):
    given = made(8), random((2, 8, 3, 3)), None
    assert fits(*given)
    with turned_off():
        assert not fits(*given)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not fits(*given)


def test_statistics_that_are_no_longer_tracked_stay():
    norm, x = nn.BatchNorm2d(16), random((4, 16, 4, 4))
    norm.track_running_stats = False
    normalize(norm, x)
    assert not norm.running_mean.any()
    assert norm.num_batches_tracked == 0


def test_numbers_that_are_not_plain_are_torch_s():
    x = random((4, 16, 4, 4))
    assert fits(nn.BatchNorm2d(16), x, None)
    norm = nn.BatchNorm2d(16)
    norm.weight = nn.Parameter(torch.ones(32)[::2])
    assert not fits(norm, x, None)
    norm = nn.BatchNorm2d(16)
    norm.running_mean = torch.zeros(16, dtype=torch.float64)
    assert not fits(norm, x, None)
