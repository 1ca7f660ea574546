"""Shortcuts: how a block's input reaches the sum, also where the block changes its shape.

He et al. 2015, arXiv:1512.03385, section 3.2 (equations 1 and 2), section 3.3 (options A and B), section 4.1 and
table 3 (options A, B and C). He et al. 2018, "Bag of tricks", arXiv:1812.01187, figure 2c (option D).

Shape letters: B batch, C channels, * spatial axes.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from plusx.errors import UsageError
from plusx.kernels import subsampling
from plusx.network import layers
from plusx.network.normalized import normalized
from plusx.network.parts import Parts, Shortcut


class ZeroPad(nn.Module):
    """Every `stride`-th pixel, with channels of zeros added: no parameters (arXiv:1512.03385, section 3.3, option A).

    The paper does not say where the zeros go; here one half stands before the channels and one half after them, as in
    the published CIFAR-10 weights that `key_maps` reads.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, parts: Parts) -> None:
        super().__init__()
        added = channels_out - channels_in
        if added < 0:
            raise UsageError(
                f"a zero_pad shortcut (option A) cannot go from {channels_in} to {channels_out} channels; "
                "use projection (option B) where a stage is narrower than the one before it"
            )
        self.stride, self.added = stride, (added // 2, added - added // 2)
        self.subsample = parts.axes.subsample(stride)
        self.padding = (*(0, 0) * parts.axes.dims, *self.added)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, channels_out, */stride)."""
        if self.training and subsampling.fits(x):
            return subsampling.subsample_and_pad(x, self.stride, *self.added)
        return functional.pad(self.subsample(x), self.padding)


class Projection(nn.Module):
    """A 1x1 convolution and its norm (arXiv:1512.03385, equation 2 and section 3.3, option B)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, parts: Parts) -> None:
        super().__init__()
        self.conv = parts.conv(channels_in, channels_out, 1, stride=stride)
        self.norm = parts.norm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, channels_out, */stride)."""
        return normalized(self.norm, x, conv=self.conv)


class BareProjection(nn.Module):
    """A 1x1 convolution without a norm: the way of pre-activation, which norms before it (arXiv:1603.05027)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, parts: Parts) -> None:
        super().__init__()
        self.conv = parts.conv(channels_in, channels_out, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, channels_out, */stride)."""
        return self.conv(x)


class PooledProjection(nn.Module):
    """The mean over stride x stride pixels, then a 1x1 convolution and its norm: no pixel is left unread.

    He et al. 2018, arXiv:1812.01187, figure 2c ("ResNet-D").
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, parts: Parts) -> None:
        super().__init__()
        self.pool = parts.axes.average_pool(stride)
        self.conv = parts.conv(channels_in, channels_out, 1)
        self.norm = parts.norm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, channels_out, */stride)."""
        return normalized(self.norm, self.pool(x), conv=self.conv)


def where_it_changes(
    kind: Callable[[int, int, int, Parts], nn.Module], channels_in: int, channels_out: int, stride: int, parts: Parts
) -> nn.Module:
    """Return the identity, or where the block changes the shape, a module of some kind."""
    same = channels_in == channels_out and stride == 1
    return layers.identity() if same else kind(channels_in, channels_out, stride, parts)


def zero_pad(channels_in: int, channels_out: int, stride: int, parts: Parts) -> nn.Module:
    """Return the identity, padded where the shape changes (option A; arXiv:1512.03385, section 3.3)."""
    return where_it_changes(ZeroPad, channels_in, channels_out, stride, parts)


def projection(channels_in: int, channels_out: int, stride: int, parts: Parts) -> nn.Module:
    """Return the identity, or a projection where the shape changes (option B; arXiv:1512.03385, section 3.3)."""
    return where_it_changes(Projection, channels_in, channels_out, stride, parts)


def projection_always(channels_in: int, channels_out: int, stride: int, parts: Parts) -> nn.Module:
    """Return a projection, whatever the shapes (option C; arXiv:1512.03385, section 4.1)."""
    return Projection(channels_in, channels_out, stride, parts)


def bare_projection(channels_in: int, channels_out: int, stride: int, parts: Parts) -> nn.Module:
    """Return the identity, or a convolution without a norm where the shape changes (arXiv:1603.05027, section 4.1)."""
    return where_it_changes(BareProjection, channels_in, channels_out, stride, parts)


def pooled(channels_in: int, channels_out: int, stride: int, parts: Parts) -> nn.Module:
    """Return the identity, or a mean and a projection if the shape changes (option D; arXiv:1812.01187, figure 2c)."""
    return where_it_changes(PooledProjection, channels_in, channels_out, stride, parts)


def none(channels_in: int, channels_out: int, stride: int, parts: Parts) -> None:
    """Return nothing: the block then has no sum (the plain networks of arXiv:1512.03385, section 3.3)."""


SHORTCUTS: dict[str, Shortcut] = {
    "zero_pad": zero_pad,
    "projection": projection,
    "projection_always": projection_always,
    "pooled": pooled,
    "bare_projection": bare_projection,
    "none": none,
}
"""From (channels_in, channels_out, stride, parts) to a module, or to None where nothing is to be added."""
