"""Weights: a trained network's tensors under our names, and what is known of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from plusx.inputs.image import ImageInput
from plusx.network.architecture import Architecture

HEAD_WEIGHT = "head.linear.weight"
HEAD_BIAS = "head.linear.bias"
COUNTER = "num_batches_tracked"
FIRST_CONVOLUTION = re.compile(r"backbone\.stem\.conv1?\.weight")


@dataclass(frozen=True)
class Weights:
    """Trained weights, and what is known of them.

    Attributes:
        origin: The file, folder or published name as the user gave it.
        recognized: What it was seen to be: "a torchvision state dict of a ResNet".
        state: The tensors under our names: backbone.*, and head.linear.* where there is a head.
        architecture: Of what network they are; None where that is not certain.
        classes: The classes' names in the order of the outputs; None where they are not known.
        input: The preprocessing that belongs to them; None where it is not known.
        notes: Sentences for a person.
        candidates: The names of the architectures that they fit.
        file: The file that the tensors were read from; None where they come from no file.
        sha256: Of that file.
    """

    origin: str
    recognized: str
    state: Mapping[str, Tensor]
    architecture: Architecture | None = None
    classes: tuple[str, ...] | None = None
    input: ImageInput | None = None
    notes: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    file: Path | None = None
    sha256: str = ""

    @property
    def outputs(self) -> int:
        """How many outputs the head has; 0 where there is no head."""
        return len(self.state[HEAD_WEIGHT]) if HEAD_WEIGHT in self.state else 0

    @property
    def channels_in(self) -> int:
        """How many channels an image has for them; 3 where there is no first convolution."""
        first = first_convolution(self.state)
        return self.state[first].shape[1] if first else 3


def first_convolution(state: Mapping[str, Tensor]) -> str:
    """Return the key of the weights that see the image, "" if there are none."""
    return next((key for key in state if FIRST_CONVOLUTION.fullmatch(key)), "")
