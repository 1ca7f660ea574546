"""Block: what every block of a stage offers, whatever its paper."""

from torch import Tensor, nn

from plusx.network import layers
from plusx.network.normalized import normalized
from plusx.network.parts import Parts


class Block(nn.Module):
    """One block: made from the channels that come in, its width, its stride and the network's parts.

    Args:
        channels_in: Channels that come in.
        width: The stage's width, of which the block makes its own channels.
        stride: By what it divides the spatial size.
        parts: The network's parts.
    """

    sums = True
    """Whether it sums its branch and its shortcut; if not, it has no use for a shortcut."""
    finish_stride = 1
    """By what `finish` divides the spatial size."""
    channels_out: int
    """Channels that go out."""

    def __init__(self, channels_in: int, width: int, stride: int, parts: Parts) -> None:  # noqa: ARG002 - the family's
        super().__init__()

    @property
    def last_norm(self) -> nn.Module | None:
        """The norm just before the sum, if there is one: with a weight of zero the block is its shortcut."""
        return None

    @classmethod
    def finish(cls, channels: int, parts: Parts) -> nn.Module:  # noqa: ARG003 - for those that have one
        """Return what follows the last block of a network: nothing, unless the family has it."""
        return layers.identity()


class Branched(Block):
    """A block of a branch, which ends with a convolution and its norm, and a shortcut around it."""

    attention: nn.Module
    branch_end: nn.Module
    activation: nn.Module
    shortcut: nn.Module | None

    def summed(self, conv: nn.Module, norm: nn.Module, y: Tensor, x: Tensor) -> Tensor:
        """Return activation(norm(conv(y)) + shortcut(x)); the attention and what ends a branch come before the sum."""
        around = None if self.shortcut is None else self.shortcut(x)
        if layers.is_identity(self.attention) and layers.is_identity(self.branch_end):
            return normalized(norm, y, conv=conv, added=around, activation=self.activation)
        y = self.branch_end(self.attention(normalized(norm, y, conv=conv)))
        if around is not None:
            y += around
        return self.activation(y)
