"""What all tests share: one thread, known random numbers, and a maker of small image folders."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(autouse=True)
def _known_start() -> None:
    """Give each test one thread and the same random numbers, whichever tests ran before it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - for code that draws from the global stream
    random.seed(0)


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[[Mapping[str, int]], Path]:
    """Return a maker of a folder with `counts[name]` small noisy pictures in each folder `name`."""

    def make(counts: Mapping[str, int], *, side: int = 12, root: str = "pictures") -> Path:
        for place, (name, count) in enumerate(counts.items()):
            folder = tmp_path / root / name
            folder.mkdir(parents=True)
            for number in range(count):
                noise = np.random.default_rng((place, number)).integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(noise).save(folder / f"{number:03}.png")
        return tmp_path / root

    return make
