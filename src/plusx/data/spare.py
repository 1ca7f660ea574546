"""Memory of batches that nobody holds any more, used again: to get it anew takes about as long as to fill it."""

import sys

import numpy as np
from numpy.typing import NDArray

KEPT = 3
"""Arrays; a training step holds one while the next batch is made."""
OURS = 3
"""References to an array that nobody else holds: the list's, the loop's and the count's own."""


class Spare:
    """A few arrays, each given out again once nothing refers to it: no tensor made of it, and no view."""

    def __init__(self) -> None:
        self.arrays: list[NDArray[np.float32]] = []

    def array(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return an array of any content that is nobody's."""
        for array in self.arrays:
            if array.shape == shape and sys.getrefcount(array) <= OURS:
                return array
        made = np.empty(shape, np.float32)
        if len(self.arrays) < KEPT:
            self.arrays.append(made)
        return made
