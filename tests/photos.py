"""Folders of small pictures whose classes can be learned in seconds: stripes that lie, stand or lean."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("flat", "upright", "斜纹")
SIDE = 24


def stripes(class_index: int, number: int) -> Image.Image:
    """One picture of a class: stripes of its direction, with a place, a color and noise of their own."""
    random = np.random.default_rng((class_index, number))
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    along = (rows, columns, rows + columns)[class_index]
    wave = np.sin((along + random.integers(0, 6)) * 2 * np.pi / 6)
    color = random.uniform(60, 120, 3)
    pixels = 128 + wave[..., None] * color + random.normal(0, 20, (SIDE, SIDE, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def make_photos(root: Path, counts: dict[str, int], *, first: int = 0) -> Path:
    """Write `counts[split]` pictures of each class below `root/split` (or below `root`, where the split is "")."""
    for place, (split, count) in enumerate(counts.items()):
        for index, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                stripes(index, first + 1000 * place + number).save(folder / f"{name}-{number:03}.png")
    return root
