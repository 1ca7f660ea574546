"""Norms: what keeps the scale of the signal from layer to layer, and where branches begin.

Batch normalization: Ioffe and Szegedy 2015, arXiv:1502.03167. Without any: Zhang et al. 2019, "Fixup initialization",
arXiv:1901.09321; De and Smith 2020, "Batch normalization biases residual blocks towards the identity function in deep
networks" (SkipInit), arXiv:2002.10444. Both make every block the identity at first.
"""

from collections.abc import Sequence

from torch import nn

from plusx.network import layers
from plusx.network.layers import Axes, Convolution


class Norms:
    """What keeps the scale: convolutions as they are, nothing where the papers have a norm, branches as they are."""

    conv_bias = False
    """Whether convolutions add a number a channel."""
    zero_head = False
    """Whether the head's linear layer begins at zero."""

    def conv(self, convolution: Convolution) -> nn.Module:
        """Return a convolution with whatever must come before it."""
        return convolution

    def norm(self, axes: Axes, channels: int) -> nn.Module:  # noqa: ARG002 - the family's
        """Return what stands where the papers have a norm."""
        return layers.identity()

    def branch_scale(self) -> list[nn.Module]:
        """Return what multiplies a branch just before the sum."""
        return []

    def initialize(self, branches: Sequence[Sequence[Convolution]]) -> None:
        """Change the initial weights of all blocks' branches, each given as its convolutions, in place."""


class BatchNorm(Norms):
    """A batch norm after (or, in pre-activation, before) every convolution."""

    def norm(self, axes: Axes, channels: int) -> nn.Module:
        """Return a batch norm."""
        return axes.batch_norm(channels)


class NoNorm(Norms):
    """No norm at all: a bias a channel, which the convolution adds, is all that is left of it."""

    conv_bias = True


class SkipInit(NoNorm):
    """No norm; each branch is multiplied by one learned number that is 0 at first (arXiv:2002.10444, section 4)."""

    def branch_scale(self) -> list[nn.Module]:
        """Return the multiplier, at 0."""
        return [layers.ScalarMultiplier(0.0)]


class Fixup(Norms):
    """No norm; the initial weights do it (arXiv:1901.09321, section 3, rules 1 to 3).

    Each branch's last convolution begins at zero, the others are smaller the deeper the network is; a learned number is
    added before every convolution and activation, and one multiplies every branch. The last addition of a branch stands
    before the multiplier, not behind it; the one before the linear layer is left out, whose own bias does the same.
    """

    zero_head = True

    def conv(self, convolution: Convolution) -> nn.Module:
        """Return the convolution with an addition before it."""
        return nn.Sequential(layers.ScalarBias(), convolution)

    def norm(self, axes: Axes, channels: int) -> nn.Module:  # noqa: ARG002 - the family's signature
        """Return an addition."""
        return layers.ScalarBias()

    def branch_scale(self) -> list[nn.Module]:
        """Return the multiplier, at 1."""
        return [layers.ScalarMultiplier(1.0)]

    def initialize(self, branches: Sequence[Sequence[Convolution]]) -> None:
        """Scale the m convolutions of L branches by L^(-1 / (2m - 2)), the last one by 0 (rule 2)."""
        for *before, last in branches:
            nn.init.zeros_(last.weight)
            for convolution in before:
                convolution.weight.data *= len(branches) ** (-1 / (2 * len(before)))


NORMS: dict[str, type[Norms]] = {
    "batch": BatchNorm,
    "none": NoNorm,
    "fixup": Fixup,
    "skipinit": SkipInit,
}
