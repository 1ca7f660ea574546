"""Parts: what the blocks, stems and transitions of one network are made of, chosen once for all of them."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from plusx.network import layers
from plusx.network.layers import Activation, Axes
from plusx.network.norms import Norms


@dataclass(frozen=True)
class Parts:
    """The layers of a network, by their purpose.

    Args:
        axes: The layers in the network's number of spatial axes.
        norms: An entry of NORMS, made.
        shortcuts: An entry of SHORTCUTS.
        attentions: An entry of ATTENTION.
        attention_reduction: By what squeeze-and-excitation narrows its channels.
        groups: Groups of a grouped convolution.
        inner_widths: How wide a bottleneck's grouped convolution is, for each unit of its stage's width.
        compression: The share of channels that a dense transition keeps.
        dropout: Probability of an element being zero before a block's last convolution.
        stochastic_depth: Probability of the block's branch being left out.
    """

    axes: Axes
    norms: Norms
    shortcuts: "Shortcut"
    attentions: "Attention"
    attention_reduction: int = 16
    groups: int = 1
    inner_widths: float = 1.0
    compression: float = 1.0
    dropout: float = 0.0
    stochastic_depth: float = 0.0

    def with_stochastic_depth(self, probability: float) -> "Parts":
        """Return the same parts for a block that is left out with another probability."""
        return dataclasses.replace(self, stochastic_depth=probability)

    def conv(self, channels_in: int, channels_out: int, size: int, stride: int = 1, *, groups: int = 1) -> nn.Module:
        """Return a convolution that keeps the spatial size at stride 1; see `Axes.conv`."""
        bias = self.norms.conv_bias
        return self.norms.conv(self.axes.conv(channels_in, channels_out, size, stride, groups=groups, bias=bias))

    def norm(self, channels: int) -> nn.Module:
        """Return the network's norm."""
        return self.norms.norm(self.axes, channels)

    def activation(self) -> Activation:
        """Return the network's activation, computed in place."""
        return layers.activation()

    def shortcut(self, channels_in: int, channels_out: int, stride: int) -> nn.Module | None:
        """Return the way around a block's branch; None where there is no sum."""
        return self.shortcuts(channels_in, channels_out, stride, self)

    def attention(self, channels: int) -> nn.Module:
        """Return what reweights a branch's channels before the sum."""
        return self.attentions(channels, self)

    def drop(self) -> nn.Module:
        """Return the dropout within a block."""
        return layers.dropout(self.dropout)

    def branch_end(self) -> nn.Module:
        """Return the last that happens to a branch before the sum: its multiplier, and being left out."""
        steps = self.norms.branch_scale()
        if self.stochastic_depth:
            steps.append(layers.StochasticDepth(self.stochastic_depth))
        return nn.Sequential(*steps) if steps else layers.identity()


Shortcut = Callable[[int, int, int, Parts], nn.Module | None]
Attention = Callable[[int, Parts], nn.Module]
