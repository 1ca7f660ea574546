"""Compiling a network's training with torch.compile.

Compiled code does other roundings than what is computed step by step, so whether a run is compiled is decided once and
kept with it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a network as compiled code, which shares its weights; each new size of a batch is compiled anew."""
    compiled_network: Any = torch.compile(network, dynamic=False)
    return compiled_network
