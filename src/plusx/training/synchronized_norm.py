"""Batch normalization over the whole step of a distributed run, not over one rank's part of it.

Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1 and the gradients of section 3; the statistics of the parts are
merged as in Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances",
equation 2.1, which loses nothing where the mean is large. Parts may be of unequal size. torch's own SyncBatchNorm
works on GPUs only; this one on whatever the ranks exchange tensors by.

Shape letters: B a rank's part of the batch, C channels, * spatial axes, R ranks.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from plusx import ranks
from plusx.network import layers


class _Synchronized(torch.autograd.Function):
    """(B, C, *) -> (B, C, *), with statistics over all ranks' parts."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's own
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        epsilon: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        own = x.numel() // x.shape[1]
        variance, mean = torch.var_mean(x.float(), _all_but_channels(x), correction=0)
        found = torch.cat([mean, variance, mean.new_tensor([own])]).double()
        parts = ranks.all_gathered(found)  # (R, 2 C + 1)
        means, variances, counts = parts[:, : len(mean)], parts[:, len(mean) : -1], parts[:, -1:]
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (counts * (variances + (means - mean) ** 2)).sum(0) / total
        mean, variance = mean.float(), variance.float()
        inverse = (variance + epsilon).rsqrt()
        ctx.save_for_backward(x, weight, mean, inverse, total)
        ctx.mark_non_differentiable(mean, variance, total)
        y = torch.nn.functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=epsilon)
        return y, mean, variance, total

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - as torch calls it
        ctx: Any,  # noqa: ANN401 - torch's own
        *gradients: Tensor,
    ) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, total = ctx.saved_tensors
        gradient = gradients[0].float()
        shape, axes = (1, -1, *(1,) * (x.ndim - 2)), _all_but_channels(x)
        normal = (x.float() - mean.view(shape)) * inverse.view(shape)
        of_bias, of_weight = gradient.sum(axes), (gradient * normal).sum(axes)  # of this rank's part: summed up later
        sums = torch.stack([of_bias, of_weight])
        ranks.sum_up([sums])
        sums /= total.float()
        scale = inverse if weight is None else inverse * weight.float()
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = gradient.sub_(sums[0].view(shape)) if gradient is not gradients[0] else (
                gradient - sums[0].view(shape)
            )  # fmt: skip
            x_gradient = x_gradient.sub_(normal.mul_(sums[1].view(shape))).mul_(scale.view(shape)).to(x.dtype)
        return x_gradient, of_weight if weight is not None else None, of_bias if weight is not None else None, None


class SynchronizedNorm(nn.Module):
    """What makes a batch norm's statistics in training those of all ranks' parts together; stands before its class."""

    weight: Any  # as torch's own norms have them
    bias: Any
    eps: float
    momentum: float | None
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any

    @torch.compiler.disable
    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """(B, C, *) -> (B, C, *)."""
        if not self.training or ranks.count() == 1:
            return super().forward(x)
        y, mean, variance, total = _Synchronized.apply(x, self.weight, self.bias, self.eps)  # type: ignore[misc]
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            moves = 1.0 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, moves)
            self.running_var.lerp_(variance * (total / (total - 1)).float(), moves)
        return y


class SynchronizedNorm1d(SynchronizedNorm, nn.BatchNorm1d):
    """The same of (B, C, L)."""


class SynchronizedNorm2d(SynchronizedNorm, nn.BatchNorm2d):
    """The same of (B, C, H, W)."""


class SynchronizedNorm3d(SynchronizedNorm, nn.BatchNorm3d):
    """The same of (B, C, D, H, W)."""


SYNCHRONIZED: dict[type[nn.Module], Callable[..., SynchronizedNorm]] = {
    nn.BatchNorm1d: SynchronizedNorm1d,
    nn.BatchNorm2d: SynchronizedNorm2d,
    nn.BatchNorm3d: SynchronizedNorm3d,
}


def synchronize_norms(network: nn.Module) -> None:
    """Put a synchronized norm in the place of every batch norm, with its weights and statistics."""
    for parent in list(network.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, layers.Norm) and type(norm) in SYNCHRONIZED:
                new = SYNCHRONIZED[type(norm)](norm.num_features, norm.eps, norm.momentum)
                for key, value in (*norm.named_parameters(), *norm.named_buffers()):
                    setattr(new, key, value)
                setattr(parent, name, new.train(norm.training))


def _all_but_channels(x: Tensor) -> list[int]:
    return [0, *range(2, x.ndim)]
