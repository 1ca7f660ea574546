"""LAMB: Adam's direction, with a length for each tensor that follows the length of its weights.

You et al. 2019, "Large batch optimization for deep learning", arXiv:1904.00962, algorithm 2, with phi(z) = z. As in the
authors' and the field's code, tensors without weight decay (norms and biases) keep Adam's own length, and all gradients
together are clipped to a norm of 1 first.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

LONGEST = 1.0  # norm of all gradients together, above which they are scaled down
EPSILON = 1e-6  # algorithm 2 leaves it open; this is the authors' code's


class Lamb(torch.optim.Optimizer):
    """The optimizer, for parameters in groups with `lr`, `betas` and `weight_decay`."""

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(  # pyright: ignore[reportIncompatibleMethodOverride] - torch overloads it by the closure
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        """Move every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gradients = [one.grad for group in self.param_groups for one in group["params"] if one.grad is not None]
        if not gradients:
            return loss
        scale = (LONGEST / torch.nn.utils.get_total_norm(gradients)).clamp(max=1.0)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad * scale, group)
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        first, second = group["betas"]
        state["step"] += 1
        count = state["step"].item()
        state["exp_avg"].lerp_(gradient, 1 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = (state["exp_avg_sq"] / (1 - second**count)).sqrt_().add_(EPSILON)
        direction = (state["exp_avg"] / (1 - first**count)).div_(root)
        rate: Any = group["lr"]
        if group["weight_decay"]:
            direction.add_(parameter, alpha=group["weight_decay"])
            long, wanted = direction.norm(), parameter.norm()
            trust = torch.where((long > 0) & (wanted > 0), wanted / long, torch.ones_like(long))
            direction.mul_(trust)
        parameter.add_(direction, alpha=-rate)
