"""What the ranks of a distributed run do together in a step: they agree, and they add up their gradients.

Each rank's loss is weighted with its part of the step, so that the sum of the gradients is that of the mean over the
whole step, also when parts are unequal.

torch's DistributedDataParallel is not used. It exchanges gradients within the backward pass, where a rank that runs out
of memory leaves the others waiting for good; here all ranks first say whether they have come through, and divide their
batches together. It wants to know beforehand which weights get gradients, which changes here from epoch to epoch. And
it rearranges its buckets after the first step, so that with three ranks a resumed run would add up in another order
and end with other bits. The price is that gradients travel when all of them are known, not while others are computed.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from plusx import ranks
from plusx.network import layers
from plusx.training.synchronized_norm import SynchronizedNorm


def any_rank(yes: object) -> bool:
    """Whether it is so on any rank."""
    return ranks.largest(bool(yes))[0] > 0


def norms_apart(network: nn.Module) -> list[layers.Norm]:
    """Return the norms whose statistics each rank takes from its own part."""
    return [one for one in network.modules() if isinstance(one, layers.Norm) and not isinstance(one, SynchronizedNorm)]


def norms_wait(network: nn.Module) -> bool:
    """Whether norms wait for those of other ranks: a rank that cannot go on must end, and cannot begin anew."""
    return ranks.count() > 1 and any(isinstance(one, SynchronizedNorm) for one in network.modules())


def add_up(
    parameters: Iterable[nn.Parameter], norms: Sequence[layers.Norm], share: float, sums: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Add up gradients over the ranks, in place, and average the running statistics that this step has moved.

    Args:
        parameters: The network's.
        norms: Those with statistics of the rank's own part; of the ones in training the statistics become the mean.
        share: This rank's part of the step's samples.
        sums: Sums over this rank's samples.

    Returns:
        The sums over all samples of the step.
    """
    if ranks.count() == 1:
        return dict(sums)
    gradients = [one.grad for one in parameters if one.grad is not None]
    values = torch.stack(list(sums.values()))
    ranks.sum_up([*gradients, *_weighted(norms, share), values])
    return dict(zip(sums, values.unbind(), strict=True))


def average(norms: Sequence[layers.Norm], share: float) -> None:
    """Give the norms in training the mean of all ranks' running statistics, weighted with their shares."""
    if ranks.count() > 1:
        ranks.sum_up(_weighted(norms, share))


@torch.no_grad()
def _weighted(norms: Sequence[layers.Norm], share: float) -> list[Tensor]:
    found = [(norm.running_mean, norm.running_var) for norm in norms if norm.training]
    statistics = [one for pair in found for one in pair if one is not None]
    for one in statistics:
        one.mul_(share)
    return statistics
