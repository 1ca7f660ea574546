"""Initial weights, by paper.

He et al. 2015, "Delving deep into rectifiers", arXiv:1502.01852, section 2.2, which the residual networks use
(arXiv:1512.03385, section 3.4); Goyal et al. 2017, "Accurate, large minibatch SGD", arXiv:1706.02677, section 5.1.
Jordan 2024, "94% on CIFAR-10 in 3.29 seconds", arXiv:2404.00498, section 3.3. What networks without batch norm need
stands with their norms (`norms.py`).
"""

from collections.abc import Callable, Iterable

from torch import nn

from plusx.errors import look_up
from plusx.network import layers
from plusx.network.blocks import Block

LINEAR_DEVIATION = 0.01


def he(part: nn.Module) -> None:
    """Draw the weights of one layer as the papers on residual networks do.

    Convolutions: normal with standard deviation sqrt(2 / (size^2 channels_out)), so that gradients keep their scale on
    their way back (arXiv:1502.01852, equation 14); bias 0. Norms: weight 1, bias 0. Linear layers: normal with standard
    deviation 0.01, bias 0 (arXiv:1706.02677, section 5.1).
    """
    if isinstance(part, layers.Convolution):
        nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        if part.bias is not None:
            nn.init.zeros_(part.bias)
    elif isinstance(part, layers.Norm):
        part.reset_parameters()
    elif isinstance(part, layers.Linear):
        nn.init.normal_(part.weight, std=LINEAR_DEVIATION)
        nn.init.zeros_(part.bias)


def torchs_own(part: nn.Module) -> None:
    """Draw the weights of one layer as torch does of itself, and so a script that says nothing of it.

    Weights and biases: uniform within 1 / sqrt(inputs of one output). Norms: weight 1, bias 0.
    """
    if isinstance(part, layers.Convolution | layers.Norm | layers.Linear):
        part.reset_parameters()


def dirac(part: nn.Module) -> None:
    """Draw the weights of one layer as torch does, but let convolutions begin by handing on the channels that come in.

    The first channels_out are the channels_in, as far as both go, the others what torch draws (arXiv:2404.00498,
    section 3.3).
    """
    torchs_own(part)
    if isinstance(part, layers.Convolution) and part.groups == 1:
        nn.init.dirac_(part.weight.data[: part.in_channels])


INITIAL_WEIGHTS: dict[str, Callable[[nn.Module], None]] = {
    "he": he,
    "torch": torchs_own,
    "dirac": dirac,
}
"""What draws one layer's weights, from torch's global random stream."""


def initialize(module: nn.Module, kind: str = "he") -> None:
    """Draw new weights for all convolutions, norms and linear layers of a module, from torch's global random stream.

    Args:
        module: A backbone, a head, or any part of them; it is changed in place. On torch's meta device, where tensors
            have no numbers, it is left alone.
        kind: A key of INITIAL_WEIGHTS.

    Raises:
        UsageError: There are no such initial weights.
    """
    draw = look_up("kind of initial weights", kind, INITIAL_WEIGHTS)
    for part in module.modules():
        if not any(numbers.is_meta for numbers in part.parameters(recurse=False)):
            draw(part)  # drawing nothing takes torch a long time on the meta device


def zero_residual_branches(blocks: Iterable[Block]) -> None:
    """Make each block start as its shortcut: its last norm's weight becomes 0 (arXiv:1706.02677, section 5.1)."""
    for block in blocks:
        if isinstance(block.last_norm, layers.Norm):
            nn.init.zeros_(block.last_norm.weight)
