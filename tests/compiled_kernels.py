"""What the tests of the compiled kernels share: skipping where there are none, and turning them off and on."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from plusx.kernels.library import SWITCH, convolves, describe, forget, library

NEEDED = pytest.mark.skipif(library() is None, reason=f"computed by {describe()}")

CONVOLVING = pytest.mark.skipif(not convolves(), reason=f"computed by {describe()}")


@contextmanager
def turned_off() -> Iterator[None]:
    """Compute with torch's operators inside the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "off")
        forget()
        try:
            yield
        finally:
            patch.undo()
            forget()


def random(shape, dtype=torch.float32) -> Tensor:
    """Return normal numbers, channels last."""
    return torch.randn(shape).to(dtype).to(memory_format=torch.channels_last)


def distance(found: Tensor, expected: Tensor) -> float:
    """Return how far a tensor is from the expected one, as a part of that one's length."""
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))
