"""How others train: whole training loops, each as its users run it, told apart only by what they really do differently.

    python benchmarks/rivals.py NAME SETTINGS        (loops.py and peak_memory.py start it)

- plain: PyTorch as tutorials write it: torchvision's data set and transforms, a DataLoader with two workers,
  torch.optim.SGD, the loss read in every step.
- torchvision: references/classification/train.py of torchvision 0.29 in words of our own: the preset for training
  with bilinear resizing, a RandomSampler, a DataLoader with pinned memory where there is a GPU, SGD 0.1 with momentum
  0.9 and decay 1e-4, and in every step the loss, the top-1 and the top-5 accuracy read and averaged. Left out, being
  off in the script unless asked for: mixup, EMA, gradient clipping, distribution; and its printing.
- timm: train.py of timm 1.0.31: its create_loader with the prefetcher, its ClassificationTask with label smoothing 0.1,
  its create_optimizer_v2 (SGD with Nesterov momentum, decay 2e-5), AverageMeters, the loss read in every step. Left
  out: EMA (off in the script unless asked for), evaluation, saving, logging.
- plusx: plusx.experiment.run, which is what `plusx train` runs, from its first step on.
- fastai: rival_fastai.py, in an environment of its own.

A setting that a rival offers is its own option; that torchvision's script takes autocast from CUDA only and has no
channels_last is mended here in its favor.
"""

import contextlib
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from plain import ResNet20
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from turns import Turn

CIFAR_MEAN, CIFAR_DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE = 224
Done = Callable[[int], None]


@dataclass(frozen=True)
class Settings:
    """What a rival is told.

    Attributes:
        data: "cifar10", or "photos": a folder with one folder of images for each class.
        root: Where the data are.
        model: "resnet20" for CIFAR-10; any of torchvision's for photos.
        batch: Images a step.
        workers: Processes that read images, where they are needed.
        autocast: Whether convolutions and matrix products are computed in bfloat16.
        channels_last: Whether it is told to keep the channels last.
        compiled: A mode of torch.compile; empty for none.
        light: Whether augmentation is no more than a crop and a flip, rather than the rival's usual.
        options: For plusx alone: options by hand.
    """

    data: str
    root: str
    model: str
    batch: int
    workers: int = 2
    autocast: bool = False
    channels_last: bool = False
    compiled: str = ""
    light: bool = False
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def device(self) -> torch.device:
        """The GPU if there is one."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """The context of the forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)


def plain(settings: Settings, done: Done) -> None:
    """Train as tutorials do, for ever."""
    from torchvision import transforms

    small = settings.data == "cifar10"
    crop = transforms.RandomCrop(32, padding=4) if small else transforms.RandomResizedCrop(SIDE)
    look = (CIFAR_MEAN, CIFAR_DEVIATION) if small else (IMAGENET_MEAN, IMAGENET_DEVIATION)
    steps = [crop, transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(*look)]
    data = dataset(settings, transforms.Compose(steps))
    loader = DataLoader(data, batch_size=settings.batch, shuffle=True, num_workers=settings.workers)
    network = placed(new_network(settings), settings)
    answer = as_compiled(network, settings)
    criterion = nn.CrossEntropyLoss()
    fused = True if settings.autocast else None
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, fused=fused)
    while True:
        network.train()
        running = 0.0
        for images, labels in loader:
            inputs, targets = as_placed(images, settings), labels.to(settings.device)
            optimizer.zero_grad()
            with settings.precision():
                loss = criterion(answer(inputs), targets)
            loss.backward()
            optimizer.step()
            running += loss.item()
            done(len(images))


def torchvision(settings: Settings, done: Done) -> None:
    """Train as torchvision's reference script for classification does, for ever."""
    from torchvision import transforms

    side = 32 if settings.data == "cifar10" else SIDE
    preset = [
        transforms.RandomResizedCrop(side, interpolation=transforms.InterpolationMode.BILINEAR),
        transforms.RandomHorizontalFlip(0.5),
        transforms.PILToTensor(),
        transforms.ConvertImageDtype(torch.float),
        transforms.Normalize(mean=IMAGENET_MEAN, std=IMAGENET_DEVIATION),
    ]
    data = dataset(settings, transforms.Compose(preset))
    loader = DataLoader(
        data,
        batch_size=settings.batch,
        sampler=RandomSampler(data),
        num_workers=settings.workers,
        pin_memory=settings.device.type == "cuda",
    )
    network = placed(new_network(settings), settings)
    answer = as_compiled(network, settings)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.0)
    fused = True if settings.autocast else None
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=fused)
    while True:
        network.train()
        meters = {"loss": 0.0, "acc1": 0.0, "acc5": 0.0}
        for images, labels in loader:
            inputs, targets = as_placed(images, settings), labels.to(settings.device)
            with settings.precision():
                output = answer(inputs)
                loss = criterion(output, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            meters["loss"] += loss.item()
            for name, value in zip(("acc1", "acc5"), accuracies(output, targets, (1, 5)), strict=True):
                meters[name] += value.item() * len(images)
            done(len(images))


def accuracies(output: Tensor, targets: Tensor, ranks: tuple[int, ...]) -> list[Tensor]:
    """Return in percent how often the right class is among the first so many."""
    with torch.inference_mode():
        most = min(max(ranks), output.shape[1])
        hits = output.topk(most, 1).indices.t().eq(targets[None])
        return [hits[:rank].flatten().sum(dtype=torch.float32) * (100 / len(targets)) for rank in ranks]


def timm(settings: Settings, done: Done) -> None:
    """Train as timm's train.py does, for ever."""
    from timm.data import create_loader
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.models import create_model
    from timm.optim import create_optimizer_v2
    from timm.task import ClassificationTask
    from timm.utils import AverageMeter

    small, device = settings.data == "cifar10", settings.device
    data = dataset(settings, None)
    loader = create_loader(
        data,
        input_size=(3, 32, 32) if small else (3, SIDE, SIDE),
        batch_size=settings.batch,
        is_training=True,
        color_jitter=0.0 if settings.light else 0.4,
        interpolation="bilinear" if settings.light else "random",
        num_workers=settings.workers,
        device=device,
        use_prefetcher=True,
    )
    network = new_network(settings) if small else create_model(settings.model, num_classes=classes(settings))
    network = placed(network, settings)
    task = ClassificationTask(network, LabelSmoothingCrossEntropy(0.1), device=device, verbose=False)
    fused = {"fused": True} if settings.autocast else {}
    optimizer = create_optimizer_v2(network, opt="sgd", lr=0.05, weight_decay=2e-5, momentum=0.9, **fused)
    if settings.compiled:
        task.compile(backend="inductor", mode=settings.compiled)
    while True:
        task.get_trainable_module().train()
        losses, update_time = AverageMeter(), AverageMeter()
        optimizer.zero_grad()
        for images, targets in loader:
            inputs = images.contiguous(memory_format=torch.channels_last) if settings.channels_last else images
            with settings.precision():
                loss = task(inputs, targets)["loss"]
            loss.backward()
            optimizer.step()
            losses.update(loss.item(), len(images))
            optimizer.zero_grad()
            update_time.update(0.0)
            done(len(images))


def plusx(settings: Settings, done: Done) -> None:
    """Train as `plusx train` does; once, which is longer than any measurement."""
    from plusx.events import Advanced
    from plusx.experiment import run
    from plusx.request import request

    options: dict[str, Any] = {"model": settings.model, "batch_size": settings.batch, "save_minutes": 1e6}
    if settings.data == "cifar10":
        source, own = "cifar10", {"data_root": settings.root, "pad_and_crop": 4}
    else:
        # torchvision's augmentation, and as all others no averaged weights.
        augmentation = {"random_resized_crop": True, "crop_scale": (0.08, 1.0), "flip": True}
        own = {
            "recipe": "photos",
            "image_size": SIDE,
            "average_decay": 0.0,
            "workers": settings.workers,
            **augmentation,
        }
        source = settings.root
    asked = request(source, options={**options, **own, **dict(settings.options)})
    with tempfile.TemporaryDirectory() as out:
        for event in run(asked, out=Path(out)):
            if isinstance(event, Advanced) and event.activity.startswith("epoch "):
                done(settings.batch)


def dataset(settings: Settings, transform: Callable[[Any], Any] | None) -> Dataset[Any]:
    """Return the images as torchvision reads them."""
    from torchvision import datasets

    if settings.data == "cifar10":
        return datasets.CIFAR10(settings.root, train=True, transform=transform)
    return datasets.ImageFolder(settings.root, transform)


def classes(settings: Settings) -> int:
    """Return how many there are."""
    return 10 if settings.data == "cifar10" else sum(one.is_dir() for one in Path(settings.root).iterdir())


def new_network(settings: Settings) -> nn.Module:
    """Return the network that all but plusx train, as plain PyTorch or torchvision has it."""
    if settings.model == "resnet20":
        return ResNet20(classes(settings))
    from torchvision import models

    return models.get_model(settings.model, num_classes=classes(settings))


def placed(network: nn.Module, settings: Settings) -> nn.Module:
    """Move a network to its device, in its memory format."""
    network = network.to(settings.device)
    return network.to(memory_format=torch.channels_last) if settings.channels_last else network


def as_placed(images: Tensor, settings: Settings) -> Tensor:
    """Move images to the device, in the network's memory format."""
    images = images.to(settings.device)
    return images.to(memory_format=torch.channels_last) if settings.channels_last else images


def as_compiled(network: nn.Module, settings: Settings) -> Callable[[Tensor], Tensor]:
    """Return the network as it is called."""
    return torch.compile(network, mode=settings.compiled) if settings.compiled else network


LOOPS: dict[str, Callable[[Settings, Done], None]] = {
    "plain": plain,
    "torchvision": torchvision,
    "timm": timm,
    "plusx": plusx,
}


def linked(photos: Path, folder: Path, least: int) -> Path:
    """Make a folder in which every photo stands so often, as links, that an epoch has at least so many images.

    Otherwise a measurement of a few hundred photos would be one of beginnings of epochs.
    """
    of_class = {
        one: sorted(file for file in one.iterdir() if file.is_file()) for one in photos.iterdir() if one.is_dir()
    }
    total = sum(map(len, of_class.values()))
    if not total:
        raise SystemExit(f"{photos} holds no folders of images, one for each class")
    for one, files in of_class.items():
        (folder / one.name).mkdir(parents=True)
        for turn, file in itertools.product(range(-(-least // total)), files):
            (folder / one.name / f"{turn}-{file.name}").symlink_to(file.absolute())
    return folder


def made_photos(folder: Path, count: int = 64, size: tuple[int, int] = (500, 375)) -> Path:
    """Make smooth color images of two classes, as JPEG, lying and upright: for a measurement without any data."""
    from PIL import Image

    stream = torch.Generator().manual_seed(0)
    for number in range(count):
        small = torch.rand(3, 12, 16, generator=stream)
        height_width = size[::-1] if number % 4 < 2 else size
        large = nn.functional.interpolate(small[None], size=height_width, mode="bicubic")[0].clamp(0, 1)
        noisy = (large + 0.05 * torch.randn(large.shape, generator=stream)).clamp(0, 1)
        place = folder / ("even", "odd")[number % 2] / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * noisy).byte().permute(1, 2, 0).numpy()).save(place, quality=90)
    return folder


@contextlib.contextmanager
def photos_in(given: str, least: int = 4_000) -> Iterator[tuple[Path, str]]:
    """Give a folder of photos to train on, and say of what they are."""
    with tempfile.TemporaryDirectory() as place:
        photos = Path(given) if given else made_photos(Path(place) / "made")
        words = f"photos of {photos.parent.name}/{photos.name}" if given else "made JPEGs of 500x375 and 375x500"
        yield linked(photos, Path(place) / "linked", least), words


def main() -> None:
    """Train as the rival that is named, in turns."""
    name, words = sys.argv[1:]
    values = json.loads(words)
    values["options"] = tuple(map(tuple, values["options"]))
    LOOPS[name](Settings(**values), Turn())


if __name__ == "__main__":
    main()
