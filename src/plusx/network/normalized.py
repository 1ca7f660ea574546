"""A norm with what stands around it: convolution and pool before it, the sum and the activation behind it.

Where plusx has kernels for that (training on a CPU that has the instructions), one of them does it all; elsewhere the
parts are called one after the other. Both are the same function, to rounding: of a bfloat16 sum, the kernels round once
where the parts round after each step.

Shape letters: B batch, C channels, * spatial axes.
"""

from typing import cast

from torch import Tensor, nn

from plusx.kernels import convolution, pooling
from plusx.kernels import norm as normalization
from plusx.network.layers import Activation

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def normalized(
    norm: nn.Module,
    x: Tensor,
    *,
    conv: nn.Module | None = None,
    pool: nn.Module | None = None,
    added: Tensor | None = None,
    activation: nn.Module | None = None,
    add_last: bool = False,
) -> Tensor:
    """Return activation(norm(pool(conv(x))) + added); for the arguments see `normalized_beside`, which does it."""
    return normalized_beside(norm, x, conv=conv, pool=pool, added=added, activation=activation, add_last=add_last)[0]


def normalized_beside(
    norm: nn.Module,
    x: Tensor,
    *,
    conv: nn.Module | None = None,
    pool: nn.Module | None = None,
    added: Tensor | None = None,
    activation: nn.Module | None = None,
    add_last: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return activation(norm(pool(conv(x))) + added), and x for a shortcut: so its two gradients meet in one kernel.

    Args:
        norm: The norm, or what stands for it.
        x: (B, channels_in, *).
        conv: A convolution before the norm.
        pool: A max-pool of 2x2 pixels between the two.
        added: (B, C, *), what is added before the activation.
        activation: What comes last.
        add_last: Whether the sum comes after the activation instead: activation(norm(conv(x))) + added.

    Returns:
        (B, C, *); and (B, channels_in, *).
    """
    known = activation is None or type(activation) is Activation
    kernels = known and not is_watched(norm) and not is_watched(activation)
    relu = activation is not None
    if kernels and not is_watched(conv) and not is_watched(pool) and convolution.fits(conv, norm, x, added, pool):
        batch_norm, half = cast("nn.BatchNorm2d", norm), pool is not None
        return convolution.convolve_and_normalize(
            conv, batch_norm, x, added, activation=relu, add_last=add_last, pooled=half
        )
    y: Tensor = x if conv is None else conv(x)
    y = y if pool is None else pooled(pool, y)
    if kernels and normalization.fits(norm, y, added):
        return normalization.normalize(norm, y, added, activation=relu, add_last=add_last), x
    return in_turn(norm, x, y, added, activation, add_last=add_last), x


def pooled(pool: nn.Module, x: Tensor) -> Tensor:
    """Return pool(x): (B, C, *) -> (B, C, */2) for the maximum over 2x2 pixels, for which there is a kernel."""
    kernel = pool.training and not is_watched(pool) and pooling.is_of_four(pool) and pooling.fits(x)
    return pooling.largest_of_four(x) if kernel else pool(x)


def in_turn(
    norm: nn.Module, x: Tensor, y: Tensor, added: Tensor | None, activation: nn.Module | None, *, add_last: bool
) -> Tensor:
    """Return the same of y, which is x or made of it, each part called as a module."""
    y = norm(y)
    if add_last:
        y = y if activation is None else activation(y)
        return y if added is None else y + added  # not in place: the activation's gradient needs its output
    if added is not None:
        y = y + added if y is x else y.add_(added)  # x is others', too
    return y if activation is None else activation(y)


def is_watched(part: nn.Module | None) -> bool:
    """Whether someone looks at a module, or computes it otherwise: a kernel would hide that."""
    return part is not None and ("forward" in vars(part) or any(vars(part)[name] for name in HOOKS))
