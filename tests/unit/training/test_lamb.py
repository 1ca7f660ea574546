import pytest
import tiny
import torch
from timm.optim import Lamb as TimmLamb

from plusx.training.lamb import Lamb
from plusx.training.optimization import optimizer_for
from plusx.training.recipe import Recipe


def parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((4, 3, 3, 3), (5, 4), (7,), ())]


def groups(of, decay):
    return [{"params": of[:2], "weight_decay": decay, "lr": 0.03}, {"params": of[2:], "weight_decay": 0.0, "lr": 0.01}]


@pytest.mark.parametrize("decay", [0.02, 0.0])
@pytest.mark.parametrize("size", [0.01, 1.0, 40.0], ids=["small", "usual", "large"])
def test_the_steps_are_timms(size, decay):
    """Gradients on both sides of the norm at which they are clipped; ours is made for float32, so to its precision."""
    own, others = parameters(), parameters()
    ours = Lamb(groups(own, decay), lr=0.1, betas=(0.85, 0.999))
    theirs = TimmLamb(groups(others, decay), lr=0.1, betas=(0.85, 0.999), eps=1e-6, max_grad_norm=1.0)
    generator = torch.Generator().manual_seed(9)
    for _ in range(12):
        for mine, other in zip(own, others, strict=True):
            mine.grad = size * torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        ours.step()
        theirs.step()
    for mine, other, start in zip(own, others, parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=2e-5, atol=2e-6)
        assert not torch.allclose(mine, start, atol=1e-2)


def test_the_first_step_by_hand():
    """Adam's first direction is the gradient's sign; its length is made that of the weights."""
    weight = torch.nn.Parameter(torch.tensor([[3.0, 4.0]]))
    plain = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = Lamb([{"params": [weight], "weight_decay": 0.1}, {"params": [plain], "weight_decay": 0.0}], lr=0.1)
    weight.grad, plain.grad = torch.tensor([[0.3, -0.4]]), torch.tensor([0.5])
    optimizer.step()
    direction = torch.tensor([1.0 + 0.1 * 3, -1.0 + 0.1 * 4])
    torch.testing.assert_close(weight[0].detach(), torch.tensor([3.0, 4.0]) - 0.1 * direction * 5 / direction.norm())
    assert plain.item() == pytest.approx(1.0 - 0.1)


def test_weights_of_zero_move_by_adams_own_length():
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    optimizer = Lamb([{"params": [weight], "weight_decay": 0.1}], lr=0.1)
    weight.grad = torch.full((2, 2), 0.2)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), -0.1), rtol=1e-5, atol=1e-5)


def test_what_has_no_gradient_stays_and_a_closure_gives_its_loss():
    weight, idle = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2, 2))
    optimizer = Lamb([{"params": [weight, idle], "weight_decay": 0.0}], lr=0.1)
    assert optimizer.step() is None

    def closure():
        loss = (weight**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4
    assert torch.equal(idle, torch.ones(2, 2))
    assert not torch.equal(weight, torch.ones(2, 2))
    assert list(optimizer.state) == [weight]


def test_the_recipes_momentum_is_its_first_beta():
    optimizer = optimizer_for(tiny.network(), Recipe(optimizer="lamb", momentum=0.8, learning_rate=0.005))
    assert isinstance(optimizer, Lamb)
    assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.999)}
