"""Weights that others published, by name: where they are, what they are, how they were scored, under which license.

Sources: torchvision's weights enums (its figures on ImageNet-1k's validation set, one crop); timm's pretrained_cfgs and
its results/results-imagenet.csv of August 2026 (the row of the same image size); Y. Idelbayev's
akamaster/pytorch_resnet_cifar10. The name of a file of torchvision's or timm's ends in the first eight
digits of its sha256; of those that timm publishes on the Hugging Face hub only, plusx knows no sum.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from plusx.errors import UsageError, near_misses

if TYPE_CHECKING:
    from plusx.inputs.image import ImageInput

TORCHVISION = "https://download.pytorch.org/models/"
TIMM = "https://github.com/huggingface/pytorch-image-models/releases/download/"
GLUON = "https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/"
HUB = "https://huggingface.co/timm/"
IDELBAYEV = "https://raw.githubusercontent.com/akamaster/pytorch_resnet_cifar10/master/pretrained_models/"
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DEFAULT = "default"
TERMS = {
    "imagenet1k": "trained on ImageNet, which was released for non-commercial research: whether that binds these "
    "weights is for you to find out",
    "cifar10": "trained on CIFAR-10, whose authors state no license",
}
DATA = {"imagenet1k": "ImageNet-1k's validation set", "cifar10": "CIFAR-10's test set"}


@dataclass(frozen=True)
class Published:
    """Weights that can be had by name.

    Attributes:
        name: "resnet50:imagenet1k-v2": the architecture's name, and what tells its weights apart.
        source: Who published them.
        url: Where they are.
        sha256: Of the file's bytes: all 64 digits, or the first ones that are published; "" where plusx knows none.
        mebibytes: The file's size as published; None where it is not.
        data: What they were trained on, which says what the outputs mean: "imagenet1k" or "cifar10".
        size: Height and width of the images, in pixels.
        crop_fraction: The crop's share of the resized shorter side.
        mean: Of the pixels in 0..1, one a channel.
        deviation: Their standard deviation, likewise.
        interpolation: How their publisher resizes, and so do we: antialiased.
        top1: The published accuracy in percent, one crop of that size.
        license: What their publisher states, by its SPDX name.
    """

    name: str
    source: str
    url: str
    sha256: str
    mebibytes: float | None
    data: str
    size: int
    crop_fraction: float
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    interpolation: str
    top1: float
    license: str

    @property
    def architecture(self) -> str:
        """The name of the network."""
        return self.name.split(":")[0]

    @property
    def file(self) -> str:
        """The name of the file here and at a mirror; on the hub every file has the same name, so there the model's."""
        folder, _, last = self.url.rpartition("/")
        return last if not self.url.startswith(HUB) else f"{folder.removeprefix(HUB).split('/')[0]}.safetensors"

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names in the order of the outputs."""
        from plusx.weights.imagenet import imagenet_classes

        return CIFAR10 if self.data == "cifar10" else imagenet_classes()

    @property
    def score(self) -> str:
        """What the accuracy was measured on, and who says so."""
        return f"{self.top1:.2f} % top-1 on {DATA[self.data]} at {self.size}x{self.size}, as {self.source} states"

    @property
    def terms(self) -> str:
        """The license and what else may bind."""
        return f"{self.license}, as {self.source} states; {TERMS[self.data]}"

    def image_input(self) -> "ImageInput":
        """Return the preprocessing that belongs to the weights."""
        from plusx.inputs.image import ImageInput

        return ImageInput(
            self.size, self.size, 3, self.mean, self.deviation, crop_fraction=self.crop_fraction,
            interpolation=self.interpolation, rounded=True,
        )  # fmt: skip


def timm_crop(size: int, share: float) -> float:
    """Return the crop_fraction of timm's crop_pct: timm rounds the side before the crop down, plusx to the nearest."""
    return size / math.floor(size / share)


def _torchvision(architecture: str, version: int, file: str, mebibytes: float, top1: float, resized: int) -> Published:
    return Published(
        f"{architecture}:imagenet1k-v{version}", "torchvision", f"{TORCHVISION}{file}.pth", file.rpartition("-")[2],
        mebibytes, "imagenet1k", 224, 224 / resized, IMAGENET_MEAN, IMAGENET_DEVIATION, "bilinear", top1,
        "BSD-3-Clause",
    )  # fmt: skip


def _timm(
    name: str, file: str, top1: float, crop: float, size: int = 224, base: str = TIMM, half: bool = False
) -> Published:  # fmt: skip
    return Published(
        name, "timm", f"{base}{file}.pth", file.rpartition("-")[2], None, "imagenet1k", size, timm_crop(size, crop),
        HALF if half else IMAGENET_MEAN, HALF if half else IMAGENET_DEVIATION, "bicubic", top1, "Apache-2.0",
    )  # fmt: skip


def _hub(name: str, model: str, top1: float, crop: float) -> Published:
    url = f"{HUB}{model}/resolve/main/model.safetensors"
    return Published(
        name, "timm", url, "", None, "imagenet1k", 224, timm_crop(224, crop), HALF, HALF, "bicubic", top1, "Apache-2.0"
    )


def _idelbayev(architecture: str, size: int, top1: float, sha256: str) -> Published:
    return Published(
        f"{architecture}:cifar10", "akamaster/pytorch_resnet_cifar10", f"{IDELBAYEV}{architecture}-{sha256[:8]}.th",
        sha256, size / 2**20, "cifar10", 32, 1.0, IMAGENET_MEAN, IMAGENET_DEVIATION, "bilinear", top1, "BSD-2-Clause",
    )  # fmt: skip


def by_name(entries: Iterable[Published]) -> dict[str, Published]:
    """Return a table of published weights."""
    return {entry.name: entry for entry in entries}


PUBLISHED: dict[str, Published] = by_name(
    # Of each architecture the best that its first publisher has comes first: that is its "default".
    (
        _torchvision("resnet18", 1, "resnet18-f37072fd", 44.661, 69.758, 256),
        _torchvision("resnet34", 1, "resnet34-b627a593", 83.275, 73.314, 256),
        _torchvision("resnet50", 2, "resnet50-11ad3fa6", 97.790, 80.858, 232),
        _torchvision("resnet50", 1, "resnet50-0676ba61", 97.781, 76.130, 256),
        _torchvision("resnet101", 2, "resnet101-cd907fc2", 170.530, 81.886, 232),
        _torchvision("resnet101", 1, "resnet101-63fe2227", 170.511, 77.374, 256),
        _torchvision("resnet152", 2, "resnet152-f82ba261", 230.474, 82.284, 232),
        _torchvision("resnet152", 1, "resnet152-394f9c45", 230.434, 78.312, 256),
        _torchvision("resnext50-32x4d", 2, "resnext50_32x4d-1a0047aa", 95.833, 81.198, 232),
        _torchvision("resnext50-32x4d", 1, "resnext50_32x4d-7cdf4587", 95.789, 77.618, 256),
        _torchvision("resnext101-32x8d", 2, "resnext101_32x8d-110c445d", 339.673, 82.834, 232),
        _torchvision("resnext101-32x8d", 1, "resnext101_32x8d-8ba56ff5", 339.586, 79.312, 256),
        _torchvision("resnext101-64x4d", 1, "resnext101_64x4d-173b62eb", 319.318, 83.246, 232),
        _torchvision("wide50-2", 2, "wide_resnet50_2-9ba9bcbe", 263.124, 81.602, 232),
        _torchvision("wide50-2", 1, "wide_resnet50_2-95faca4d", 131.820, 78.468, 256),
        _torchvision("wide101-2", 2, "wide_resnet101_2-d733dc28", 484.747, 82.510, 232),
        _torchvision("wide101-2", 1, "wide_resnet101_2-32ee1156", 242.896, 78.848, 256),
        _torchvision("densenet121", 1, "densenet121-a639ec97", 30.845, 74.434, 256),
        _torchvision("densenet169", 1, "densenet169-b2777c0a", 54.708, 75.600, 256),
        _torchvision("densenet201", 1, "densenet201-c1103571", 77.373, 76.896, 256),
        _torchvision("densenet161", 1, "densenet161-8d451a50", 110.369, 77.138, 256),
        _timm("resnet18:a1-in1k", "v0.1-rsb-weights/resnet18_a1_0-d63eafa0", 71.504, 0.95),
        _timm("resnet34:a1-in1k", "v0.1-rsb-weights/resnet34_a1_0-46f8f793", 76.420, 0.95),
        _timm("resnet50:a1-in1k", "v0.1-rsb-weights/resnet50_a1_0-14fe96d1", 80.382, 0.95),
        _timm("resnet50:a2-in1k", "v0.1-rsb-weights/resnet50_a2_0-a2746f79", 79.828, 0.95),
        _timm("resnet50:a3-in1k", "v0.1-rsb-weights/resnet50_a3_0-59cae1ef", 75.994, 0.95, 160),
        _timm("resnet101:a1h-in1k", "v0.1-rsb-weights/resnet101_a1h-36d3f2aa", 81.950, 0.95),
        _timm("resnet101:a1-in1k", "v0.1-rsb-weights/resnet101_a1_0-cdcb52a9", 81.494, 0.95),
        _timm("resnet152:a1h-in1k", "v0.1-rsb-weights/resnet152_a1h-dc400468", 82.818, 0.95),
        _timm("resnet152:a1-in1k", "v0.1-rsb-weights/resnet152_a1_0-2eee8a7a", 81.998, 0.95),
        _timm("resnet50c:gluon-in1k", "v0.1/gluon_resnet50_v1c-48092f55", 78.016, 0.875, base=GLUON),
        _timm("resnet101c:gluon-in1k", "v0.1/gluon_resnet101_v1c-1f26822a", 79.542, 0.875, base=GLUON),
        _timm("resnet152c:gluon-in1k", "v0.1/gluon_resnet152_v1c-a3bb0b98", 79.904, 0.875, base=GLUON),
        _timm("resnet18d:ra2-in1k", "v0.1-weights/resnet18d_ra2-48a79e06", 72.296, 0.875),
        _timm("resnet34d:ra2-in1k", "v0.1-weights/resnet34d_ra2-f8dcfcaf", 77.108, 0.875),
        _timm("resnet50d:ra2-in1k", "v0.1-weights/resnet50d_ra2-464e36ba", 80.546, 0.875),
        _timm("resnet101d:ra2-in1k", "v0.1-weights/resnet101d_ra2-2803ffab", 82.254, 0.95, 256),
        _timm("resnet152d:ra2-in1k", "v0.1-weights/resnet152d_ra2-5cac0439", 83.160, 0.95, 256),
        _timm("resnetrs50:tf-in1k", "v0.1-rs-weights/resnetrs50_ema-6b53758b", 77.858, 0.91, 160),
        _timm("resnetrs101:tf-in1k", "v0.1-rs-weights/resnetrs101_i192_ema-1509bbf6", 80.706, 0.94, 192),
        _timm("resnetrs152:tf-in1k", "v0.1-rs-weights/resnetrs152_i256_ema-a9aff7f9", 82.900, 1.0, 256),
        _timm("resnetrs200:tf-in1k", "v0.1-tpu-weights/resnetrs200_c-6b698b88", 83.884, 1.0, 256),
        _timm("resnetrs270:tf-in1k", "v0.1-rs-weights/resnetrs270_ema-b40e674c", 83.596, 1.0, 256),
        _timm("resnetrs350:tf-in1k", "v0.1-rs-weights/resnetrs350_i256_ema-5a1aa8f1", 84.304, 1.0, 288),
        _timm("resnetrs420:tf-in1k", "v0.1-rs-weights/resnetrs420_ema-972dee69", 84.240, 1.0, 320),
        _timm("seresnet50:ra2-in1k", "v0.1-weights/seresnet50_ra_224-8efdb4bb", 80.260, 0.875),
        _timm("seresnet50:a1-in1k", "v0.1-rsb-weights/seresnet50_a1_0-ffa00869", 80.012, 0.95),
        _timm("seresnext50-32x4d:racm-in1k", "v0.1-weights/seresnext50_32x4d_racm-a304a460", 81.268, 0.875),
        _timm("seresnext101-32x4d:gluon-in1k", "v0.1/gluon_seresnext101_32x4d-cf52900d", 80.886, 0.875, base=GLUON),
        _timm("ecaresnet50d:miil-in1k", "v0.1-tresnet/ecaresnet50d-93c81e3b", 80.634, 0.875),
        _timm("resnext50-32x4d:a1h-in1k", "v0.1-rsb-weights/resnext50_32x4d_a1h-0146ab0a", 81.140, 0.95),
        _timm("resnext101-32x4d:gluon-in1k", "v0.1/gluon_resnext101_32x4d-b253c8c4", 80.336, 0.875, base=GLUON),
        _timm("resnext101-64x4d:c1-in1k", "v0.1-tpu-weights/resnext101_64x4d_c-0d0e0cc0", 82.446, 0.95),
        _timm("wide50-2:racm-in1k", "v0.1-weights/wide_resnet50_racm-8234f177", 81.466, 0.875),
        _hub("preresnet18:ra4-in1k", "resnetv2_18.ra4_e3600_r224_in1k", 73.572, 0.9),
        _hub("preresnet34:ra4-in1k", "resnetv2_34.ra4_e3600_r224_in1k", 77.626, 0.9),
        _timm("preresnet50:a1h-in1k", "v0.1-rsb-weights/resnetv2_50_a1h-000cdf49", 80.410, 0.95, half=True),
        _timm("preresnet101:a1h-in1k", "v0.1-rsb-weights/resnetv2_101_a1h-5d01f016", 82.042, 0.95, half=True),
        _timm("densenet121:ra-in1k", "v0.1-weights/densenet121_ra-50efcf5c", 75.574, 0.875),
        _idelbayev("resnet20", 1_099_231, 91.73, "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8"),
        _idelbayev("resnet32", 1_890_043, 92.63, "d509ac1820d7f25398913559d7e81a13229b1e7adc5648e3bfa5e22dc137f850"),
        _idelbayev("resnet44", 2_680_855, 93.10, "014dd6541728a1c700b1642ab640e211dc6eb8ed507d70697458dc8f8a0ae2e4"),
        _idelbayev("resnet56", 3_471_733, 93.39, "4bfd97631478d6b638d2764fd2baff3edb1d7d82252d54439343b6596b9b5367"),
    )
)


def published_for(architecture: str) -> list[Published]:
    """Return what is published for an architecture; the first is its default."""
    return [entry for entry in PUBLISHED.values() if entry.architecture == architecture]


def find_published(name: str) -> Published:
    """Return the published weights of a name; "resnet50:default" are the best of those that are listed first.

    Raises:
        UsageError: No weights are published under that name; the message names those that are meant, or near ones.
    """
    spelled = name.strip().lower().replace("_", "-")
    if spelled in PUBLISHED:
        return PUBLISHED[spelled]
    architecture, _, tag = spelled.partition(":")
    known = published_for(architecture)
    if known and tag == DEFAULT:
        return known[0]
    if known:
        names = " or ".join(repr(entry.name) for entry in known)
        what = f"no published weights are called {name!r}" if tag else f"{name!r} does not say which weights are meant"
        raise UsageError(
            f"{what}; for {architecture!r} there are {names}" if len(known) > 1 else f"{what}; say {names}"
        )
    close = near_misses(spelled, PUBLISHED)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "see plusx weights list"
    raise UsageError(f"no published weights are called {name!r}; {hint}")


def looks_like_a_name(text: str) -> bool:
    """Return whether a text without a file of that name is rather a network's or published weights' than a path."""
    return ":" in text or bool(text and Path(text).name == text and not Path(text).suffix)


def published_by_sha256(sha256: str) -> Published | None:
    """Return the published weights that a file of this sum is, by the digits that are published; None if it is none."""
    return next((one for one in PUBLISHED.values() if one.sha256 and sha256.startswith(one.sha256)), None)
