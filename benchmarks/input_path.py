"""How fast training images reach the network: plusx against torchvision's transforms and DataLoader(2 workers).

    python benchmarks/input_path.py                          32 px, random pixels
    python benchmarks/input_path.py --photos FOLDER          also photos to 224, made of the photos below FOLDER

Any folder of photographs serves, for instance Imagenette's (github.com/fastai/imagenette). Of these 1,000 JPEGs each of
1024x768 and of 500x375 are made, quality 90, resized and cropped from whatever size they have, in a temporary folder.
Small photos that are enlarged so are smoother, and so smaller files, than a camera's; bytes a file are printed.

32 px: 20,000 images in memory, batches of 128: random crop with 4 pixels of padding, flip, normalize; the rival draws
from PIL images as torchvision's CIFAR10 does. Photos: random resized crop to 224, flip, normalize, batches of 64,
2 workers each, which both start anew for every epoch. Both deliver float32 batches, plusx with the channels last in
memory. "plusx, cache" is an epoch after its cache was filled, which takes the seconds printed beside it and keeps
photos at 1.5 times the final size: of small crops finer detail is lost. The first epoch of each is not counted; in it
plusx arranges small images in memory, once a run.

All take turns in one process, so a change of the machine's speed hits all alike. Printed: images a second (median),
the ratio to the rival (median, range over the turns), and the same for seconds of processors, workers counted in.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder
from turns import store

from plusx.data import Sample
from plusx.data.batches import Batches
from plusx.data.cache import Cache
from plusx.device import choose_device
from plusx.events import result_of
from plusx.inputs import ImageInput
from plusx.reporting import environment

COUNT = 1000  # photos of each size
RESULTS = Path(__file__).parent / "results" / "input_path.json"
WORKERS, CLASSES = 2, 10
MEAN, DEVIATION = (0.5, 0.45, 0.4), (0.25, 0.25, 0.25)
SIZES = ((1024, 768), (500, 375))
RIVAL, OURS, CACHED = "torchvision + DataLoader", "plusx", "plusx, cache"

Epoch = Callable[[int], Iterable[object]]


@dataclass(frozen=True)
class Row:
    """What one contestant needed."""

    work: str
    name: str
    images_a_second: float
    ratio: float
    ratio_low: float
    ratio_high: float
    processor_ratio: float
    turns: int
    filling_seconds: float = 0.0


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Arrays in memory, given as torchvision's CIFAR10 gives them."""

    def __init__(self, arrays: np.ndarray, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.arrays, self.transform = arrays, transform

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), index % CLASSES


def usual(*first: Callable[[Image.Image], Image.Image]) -> transforms.Compose:
    """The transforms of the tutorials."""
    last = (transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(MEAN, DEVIATION))
    return transforms.Compose([*first, *last])


def small(count: int) -> dict[str, Epoch]:
    """32 px in memory."""
    arrays = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    samples = [Sample(str(index), array, index % CLASSES) for index, array in enumerate(arrays)]
    look = ImageInput(32, 32, 3, MEAN, DEVIATION, flip=True, pad_and_crop=4)
    ours = Batches(samples, look, batch_size=128, collate=torch.tensor, training=True)
    theirs = Pictures(arrays, usual(transforms.RandomCrop(32, padding=4)))
    return {RIVAL: lambda _: DataLoader(theirs, 128, shuffle=True, num_workers=WORKERS), OURS: ours.epoch}


def photos(folder: Path) -> tuple[dict[str, Epoch], float]:
    """Photos to 224; also returns the seconds that filling the cache took."""
    paths = sorted(folder.glob("*/*.jpg"))
    samples = [Sample(path.name, path, int(path.parent.name)) for path in paths]
    look = ImageInput(224, 224, 3, MEAN, DEVIATION, flip=True, random_resized_crop=True)
    options = {"batch_size": 64, "collate": torch.tensor, "training": True, "workers": WORKERS}
    cache = Cache(folder.parent / f"cache-{folder.name}", look.reduced, look.reduction)
    ours, cached = Batches(samples, look, **options), Batches(samples, look, cache=cache, **options)
    began = time.perf_counter()
    result_of(cached.load())
    filling = time.perf_counter() - began
    theirs = ImageFolder(str(folder), usual(transforms.RandomResizedCrop(224)))
    rival = lambda _: DataLoader(theirs, 64, shuffle=True, num_workers=WORKERS)  # noqa: E731
    return {RIVAL: rival, OURS: ours.epoch, CACHED: cached.epoch}, filling


def make_photos(source: Path, folder: Path, width: int, height: int, count: int) -> int:
    """Write `count` JPEGs of one size, of the photos below `source`; return the bytes of one, on average."""
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})
    if not found:
        raise SystemExit(
            f"there are no JPEG photos below {str(source)!r}; see the head of this file for where to get some"
        )
    size = 0
    for number in range(count):
        with Image.open(found[number % len(found)]) as image:
            made = ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.BICUBIC)
        if number // len(found) % 2:
            made = ImageOps.mirror(made)
        path = folder / f"{number % CLASSES}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        made.save(path, quality=90)
        size += path.stat().st_size
    return size // count


def processor() -> float:
    """Seconds of processors that this process and its ended workers have used."""
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system


def compare(work: str, contestants: dict[str, Epoch], count: int, turns: int, filling: float = 0.0) -> list[Row]:
    """Run whole epochs in turn, the first of each uncounted."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    used: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(turns + 1):
        for name, epoch in contestants.items():
            began, before = time.perf_counter(), processor()
            for _ in epoch(turn):
                pass
            if turn:
                seconds[name].append(time.perf_counter() - began)
                used[name].append(processor() - before)
    rows: list[Row] = []
    for name, took in seconds.items():
        ratios = sorted(rival / own for rival, own in zip(seconds[RIVAL], took, strict=True))
        processors = median(rival / own for rival, own in zip(used[RIVAL], used[name], strict=True))
        waited = filling if name == CACHED else 0.0
        speed = count / median(took)
        rows.append(Row(work, name, speed, median(ratios), ratios[0], ratios[-1], processors, turns, waited))
        print(
            f"{work:28}  {name:26}  {speed:9,.0f} images/s  x {median(ratios):5.2f} ({ratios[0]:.2f} to "
            f"{ratios[-1]:.2f}), processors x {processors:5.2f}" + (f", filled in {waited:.1f} s" if waited else "")
        )
    return rows


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder with JPEG photos, at any depth")
    parser.add_argument("--count", type=int, default=COUNT, help="photos of each size; another number is a trial")
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    count = 20 * options.count
    rows = compare(f"32 px, {count:,} in memory", small(count), count, options.turns)
    if options.photos:
        with tempfile.TemporaryDirectory() as temporary:
            for width, height in SIZES:
                folder = Path(temporary) / f"{width}"
                size = make_photos(options.photos, folder, width, height, options.count)
                contestants, filling = photos(folder)
                work = f"{width}x{height} ({size / 1000:.0f} kB) to 224"
                rows += compare(work, contestants, options.count, options.turns, filling)
    if options.count != COUNT:
        return
    found = {"rows": [asdict(row) for row in rows], "workers": WORKERS, "environment": environment(choose_device())}
    store(RESULTS, found, counted="turns")


if __name__ == "__main__":
    main()
