"""Memory of batches that nobody holds any more, used again: to get it anew takes about as long as to fill it."""

import math
import mmap
import sys
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

KEPT = 3
"""Arrays; a training step holds one while the next batch is made."""
ADVICE = [getattr(mmap, name) for name in ("MADV_DONTFORK", "MADV_HUGEPAGE") if hasattr(mmap, name)]
"""Memory that forked processes do not get need not be copied when it is written to after a fork, as all other is."""


class Spare:
    """A few arrays, each given out again once nothing refers to it: no tensor made of it, and no view."""

    def __init__(self) -> None:
        self.arrays: list[NDArray[np.float32]] = []

    def array(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return an array of any content that is nobody's."""
        for place, references in enumerate(_references(self.arrays)):
            if self.arrays[place].shape == shape and references <= UNHELD:
                return self.arrays[place]
        made = unforked(shape)
        if len(self.arrays) < KEPT:
            self.arrays.append(made)
        return made


def _references(arrays: list[NDArray[np.float32]]) -> list[int]:
    return [sys.getrefcount(array) for array in arrays]


UNHELD = _references([np.empty(1, np.float32)])[0]
"""How many references Python counts here to an array that nobody else holds: it depends on its version."""


def unforked(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return an array of zeros that a forked process does not have, in large pages, where the system can do that."""
    size = 4 * math.prod(shape)
    if not (ADVICE and size):
        return np.zeros(shape, np.float32)
    try:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"there are no {size:,} bytes for a batch") from error
    for advice in ADVICE:
        with suppress(OSError):  # a system without it
            memory.madvise(advice)
    return np.ndarray(shape, np.float32, buffer=memory)  # views of what `frombuffer` makes would not hold the array
