"""An input of one pixel, read from small files that can kill whoever reads them."""

import os
import signal
from dataclasses import dataclass
from typing import ClassVar

import torch

from plusx.data import Sample


@dataclass(frozen=True)
class Scripted:
    """Reads a file's name; a file "kill" beside it names a sample and how often reading that kills its process."""

    shape: tuple = (1, 1, 1)
    draws: ClassVar[int] = 1
    alternating: ClassVar[tuple] = ()

    def read(self, source):
        script = source.parent / "kill"
        if script.exists():
            sample, times = script.read_text().split()
            if sample == source.stem and int(times) > 0:
                changed = script.with_name(f"kill-{os.getpid()}")
                changed.write_text(f"{sample} {int(times) - 1}")
                changed.replace(script)  # others may read it at this moment
                os.kill(os.getpid(), signal.SIGKILL)
        return torch.full((1, 1, 1), int(source.stem), dtype=torch.uint8)

    def read_augmented(self, source, numbers):
        return self.read(source) ^ int(numbers[0] * 256)

    def finish(self, images, into=None):
        return images.permute(0, 3, 1, 2).float()

    def prepare(self, image):
        return image.float() + 0.5


def samples_of(folder, count):
    """Make files named by numbers, and samples of them."""
    for index in range(count):
        (folder / f"{index}").touch()
    return [Sample(f"{index}", folder / f"{index}", index % 3) for index in range(count)]
