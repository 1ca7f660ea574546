"""One training step of a pair of networks, from the same weights on the same images."""

from dataclasses import dataclass

import torch
from network_pairs import IMAGES, Pair, both
from torch import Tensor
from torch.nn import functional

from plusx.network.architectures import ARCHITECTURES
from plusx.network.key_maps import key_map_for


@dataclass(frozen=True)
class Trained:
    """What a step left behind, by our keys."""

    gradients: dict[str, Tensor]
    state: dict[str, Tensor]


def both_trained(pair: Pair) -> tuple[Trained, Trained]:
    """Return what one forward and backward pass in training mode left in ours, and in theirs."""
    theirs, ours = both(pair, classes=10)
    images = torch.randn(4, *IMAGES[1:], generator=torch.Generator().manual_seed(2))
    targets = torch.tensor([0, 3, 9, 3])
    for network in (theirs.train(), ours.train()):
        functional.cross_entropy(network(images), targets).backward()
    to_ours = key_map_for(ARCHITECTURES[pair.ours], pair.framework).to_ours
    return (
        Trained(gradients_of(ours), dict(ours.state_dict())),
        Trained(to_ours(gradients_of(theirs)), to_ours(theirs.state_dict())),
    )


def gradients_of(network: torch.nn.Module) -> dict[str, Tensor]:
    """Return the gradient of every parameter."""
    return {name: parameter.grad for name, parameter in network.named_parameters()}
