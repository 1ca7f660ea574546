"""Weights that are averaged over steps: the exponential average, and lookahead's slow weights.

Lookahead: Zhang, Lucas, Hinton and Ba 2019, arXiv:1907.08610, algorithm 1; Jordan 2024, arXiv:2404.00498, section 3.4,
lets it grow.
"""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average of a network's weights and norm statistics, kept in a second network.

    After step t it is average + (1 - d) (weights - average) with d = min(decay, (1 + t) / (10 + t)), so that the first
    steps, whose weights are worthless, are forgotten (the decay's warm-up of TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards the weights after step `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for average, now in zip(_state(self.network), _state(network), strict=True):
            if average.is_floating_point():
                average.lerp_(now, 1 - decay)
            else:
                average.copy_(now)


class Lookahead:
    """Slow weights: every so many steps they go `share` of the way to the weights, which go on from there.

    Args:
        network: The network in training; what of it gets no gradient is left alone.
        steps: Steps between two looks (k in the paper).
        share: The part of the way (alpha in the paper).
        grows: Whether they go all the way at first, and ever less of it, down to `share` at the end of training.
    """

    def __init__(self, network: nn.Module, steps: int, share: float, *, grows: bool = False) -> None:
        self._fast = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.slow = [parameter.detach().clone() for parameter in self._fast]
        self._steps, self._share, self._grows = steps, share, grows

    @torch.no_grad()
    def update(self, step: int, done: float = 1.0) -> None:
        """Look, if it is time, after step `step`, counted from 1, when `done` (0..1) of the training is done."""
        if step % self._steps:
            return
        share = 1 - (1 - self._share) * (done**3 if self._grows else 1)
        for slow, fast in zip(self.slow, self._fast, strict=True):
            slow.lerp_(fast, share)
            fast.copy_(slow)


def _state(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()
