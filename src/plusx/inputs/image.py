"""ImageInput: how an image becomes a tensor, in training, evaluation, prediction and everywhere else.

Shape letters: B samples, C channels, H and W the size found, h and w the size that the network wants.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL import __version__ as pillow_version
from torch import Tensor

from plusx.errors import UsageError, look_up
from plusx.inputs import held, photo
from plusx.inputs.batch_augment import DRAWS, FLIP, augment_batch
from plusx.inputs.decode import (
    IMAGE_SUFFIXES,
    UnreadableImage,
    decode,
    opened,
    orientation,
)
from plusx.inputs.limits import check_fields
from plusx.inputs.pixels import SAFE_MODES, array_pixels, channels_of, hash_of, image_pixels
from plusx.inputs.resize import Span, crop_spans, resized, resized_as_pillow, stretch_spans
from plusx.inputs.views import Answer, averaged

__all__ = ["IMAGE_SUFFIXES", "Facts", "ImageInput", "Source", "UnreadableImage"]

Source = Path | str | bytes | bytearray | memoryview | Image.Image | NDArray[Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a look at one image found: 1 channel for gray and 3 for color (an array's own), its size, its content."""

    channels: int
    height: int
    width: int
    sha256: str


@dataclass(frozen=True)
class ImageInput:
    """The one and only preprocessing of images, as plain data.

    Attributes:
        height: Rows that the network sees.
        width: Columns that the network sees.
        channels: 1 gray, 3 red-green-blue; any other number comes from arrays only.
        mean: Of the training pixels in 0..1, one a channel.
        deviation: Their standard deviation, likewise.
        fit: "crop" resizes the shorter side to size / crop_fraction and takes the center; "stretch" resizes both sides.
        crop_fraction: The crop's share of the resized shorter side: 0.875 resizes to 256 and crops 224.
        interpolation: The filter that resizes, always antialiased: "bilinear" or "bicubic".
        rounded: Whether resized pixels become whole levels after each pass, as in Pillow, and so in torchvision and
            timm: with weights that were trained there the answers are then theirs. Without it pixels are finer.
        max_pixels: A file whose header claims more is refused before it is decoded.
        views: What of an image the network is shown when it answers: "one", "flip" or "shift"; see VIEWS. Mirror
            images are left out where training has none.
        flip: Mirror left and right, half of the time. This and all below: training only.
        alternating_flip: With `flip`: mirror one half in even epochs, the other in odd ones (arXiv:2404.00498, 3.6).
        pad_and_crop: Pixels of padding on each side before a random crop (He et al. 2015, section 4.2: 4 of zeros).
        padding_mode: What they show, a key of PADDINGS: "zeros", or the image reflected, "reflect".
        random_resized_crop: Cut a random part and resize it, instead of `fit`.
        crop_scale: Least and largest share of the area in such a part.
        cutout: Side of the square set to the mean pixel, 0 for none.
        policy: "none", "randaugment" or "trivialaugment", as torchvision has them.
        policy_magnitude: How strong randaugment is: 0 to 30.
        erase: Probability of setting a random rectangle to the mean pixel (Zhong et al. 2017, arXiv:1708.04896).
    """

    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    fit: str = "crop"
    crop_fraction: float = 1.0
    interpolation: str = "bilinear"
    rounded: bool = False
    max_pixels: int = 100_000_000
    views: str = "one"
    flip: bool = False
    alternating_flip: bool = False
    pad_and_crop: int = 0
    padding_mode: str = "zeros"
    random_resized_crop: bool = False
    crop_scale: tuple[float, float] = (0.08, 1.0)
    cutout: int = 0
    policy: str = "none"
    policy_magnitude: int = 9
    erase: float = 0.0

    kind: ClassVar[str] = "image"
    draws: ClassVar[int] = DRAWS

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what the network is given."""
        return self.channels, self.height, self.width

    def __post_init__(self) -> None:
        """Make tuples of lists (JSON and YAML have no tuples) and refuse impossible values.

        Raises:
            UsageError: A field holds what it may not.
        """
        for name in ("mean", "deviation", "crop_scale"):
            value = getattr(self, name)
            if not isinstance(value, list | tuple):
                raise UsageError(f"{name} is {value!r}; expected a list of numbers")
            object.__setattr__(self, name, tuple(value))
        check_fields(self)

    @property
    def alternating(self) -> tuple[int, ...]:
        """Which of a sample's numbers are drawn once and move by a half from epoch to epoch."""
        return (FLIP,) if self.flip and self.alternating_flip else ()

    def read(self, source: Source) -> Tensor:
        """Read one image, upright, in this input's channels.

        Args:
            source: A path, a file's bytes, a PIL image, or an array (H, W) or (H, W, C) of uint8, uint16, bool or
                floats in 0..1. Of an animation the first frame is read.

        Returns:
            (C, H, W) uint8. What transparency, 16 bits and other colors become: see `plusx.inputs.pixels`.

        Raises:
            UnreadableImage: The image is missing, empty, damaged, truncated, too large, or none at all.
            DataError: It is fine, but gives other channels than this input expects.
        """
        if isinstance(source, np.ndarray):
            return array_pixels(source, self.channels)
        image, content, name, suffix = opened(source, self.max_pixels)
        whole = decode(image, content=content, name=name, suffix=suffix)
        return image_pixels(whole, self.channels, name)

    def read_augmented(self, source: Source, numbers: NDArray[np.float64]) -> Tensor:
        """Read one image for training and change it at random: uint8 (C, h, w).

        Of a JPEG little more is decoded than is needed: see `plusx.inputs.photo`. The same file, settings and numbers
        always give the same bits.

        Args:
            source: As `read` takes it.
            numbers: (N,) draws in [0, 1), N = `draws`.

        Raises:
            UnreadableImage: As `read` does.
            DataError: As `read` does.
        """
        return photo.read_augmented(self, source, np.asarray(numbers))

    def reduced(self, source: Source) -> NDArray[np.uint8]:
        """Return what a cache keeps of an image for training: (H, W, C); see `plusx.inputs.photo.reduced`."""
        return photo.reduced(self, source)

    def inspect(self, source: Source) -> Facts:
        """Look at one image without keeping it: header, every byte of the pixels, size, content.

        A JPEG is decoded at an eighth of its size, which still reads all of its bytes.

        Returns:
            Its facts; the size is that of the upright image, and sha256 that of the file's bytes (of an array or a PIL
            image: of its shape, type and pixels).

        Raises:
            UnreadableImage: `read` would raise it too.
        """
        if isinstance(source, np.ndarray):
            channels, height, width = array_pixels(source, source.shape[2] if source.ndim == 3 else 1).shape
            return Facts(channels, height, width, hash_of(source))
        image, content, name, suffix = opened(source, self.max_pixels)
        channels, (width, height) = channels_of(image), image.size
        drafted = image.draft(image.mode, (max(1, width // 8), max(1, height // 8)))
        whole = decode(image, content=content, name=name, suffix=suffix)
        if not drafted:
            width, height = whole.size
        elif orientation(image) >= 5:
            width, height = height, width
        if whole.mode not in SAFE_MODES:
            image_pixels(whole, 3, name)
        sha256 = hashlib.sha256(content).hexdigest() if content else hash_of(np.asarray(whole))
        return Facts(channels, height, width, sha256)

    @property
    def reduction(self) -> dict[str, Any]:
        """What decides the bits of `reduced`, beside the source: plain values."""
        names = ("height", "width", "channels", "fit", "crop_fraction", "interpolation", "random_resized_crop")
        versions = {"pillow": pillow_version, "torch": str(torch.__version__)}
        return {**{name: getattr(self, name) for name in names}, **versions, "kept": photo.KEPT}

    def augment(self, image: Tensor, numbers: NDArray[np.float64]) -> Tensor:
        """Change one training image at random: (C, H, W) uint8 -> (C, h, w) uint8.

        Args:
            image: As `read` returns it.
            numbers: (N,) draws in [0, 1), N = `draws`; the same numbers give the same bits, here and in a batch.
        """
        return self.augment_batch(image[None], np.asarray(numbers)[None])[0]

    def augment_batch(self, images: Tensor, numbers: NDArray[np.float64]) -> Tensor:
        """Change a batch of training images of one size at random: (B, C, H, W) uint8 -> (B, C, h, w) uint8.

        Args:
            images: As `read` returns them, stacked.
            numbers: (B, N) draws in [0, 1), N = `draws`.
        """
        return augment_batch(self, images, np.asarray(numbers))

    def hold(self, images: Tensor, memory_limit: int) -> held.BatchMaker:
        """Arrange images (N, C, H, W) uint8 in memory; return what makes training batches of them, normalized."""
        return held.hold(self, images, memory_limit)

    def finish(self, images: Tensor, into: NDArray[np.float32] | None = None) -> Tensor:
        """Normalize augmented images: (B, h, w, C) uint8 -> float32 (B, C, h, w), channels last in memory."""
        return held.finish(self, images, into)

    def at_size(self, height: int, width: int) -> "ImageInput":
        """Return the input for training images of another size: padding and cutout scale with the shorter side."""
        if (height, width) == (self.height, self.width):
            return self
        scale, least = min(height, width) / min(self.height, self.width), min(height, width)
        padding, cutout = round(self.pad_and_crop * scale), min(least, round(self.cutout * scale))
        return replace(self, height=height, width=width, pad_and_crop=padding, cutout=cutout)

    def fit_to_size(self, image: Tensor) -> Tensor:
        """Resize and crop to the network's size: (*, C, H, W) in 0..255 -> (*, C, h, w) float32 in 0..255.

        Two float32 matrix products with antialiased filter weights, the crop folded into the weights so that only
        what is kept is computed, each rounded if `rounded`. Library resizers differ from one another, products do not:
        an exported network can repeat this exactly. An image that already has the network's size is not touched where
        nothing is cropped.
        """
        spans = self.spans(image.shape[-2], image.shape[-1])
        if spans is None:
            return image.to(torch.float32)
        resize = resized_as_pillow if self.rounded else resized
        return resize(image, *spans, self.interpolation)

    def spans(self, height: int, width: int) -> tuple[Span, Span] | None:
        """Return how rows and columns of an image become the network's, or None if they are already."""
        stretched = self.fit == "stretch"
        if (height, width) == (self.height, self.width) and (stretched or self.crop_fraction == 1):
            return None
        if stretched:
            return stretch_spans(height, width, self.height, self.width)
        return crop_spans(height, width, self.height, self.width, self.crop_fraction)

    def normalize(self, images: Tensor) -> Tensor:
        """Subtract the mean and divide by the deviation: (*, C, h, w) in 0..255 -> float32, contiguous.

        As one affine map: x / (255 deviation) - mean / deviation.
        """
        mean, deviation = (
            torch.tensor(self.mean, dtype=torch.float64),
            torch.tensor(self.deviation, dtype=torch.float64),
        )
        scale = (1 / (255 * deviation)).to(images.device, torch.float32)[:, None, None]
        shift = (-mean / deviation).to(images.device, torch.float32)[:, None, None]
        return (images.contiguous() * scale).add_(shift)

    def prepare(self, image: Tensor) -> Tensor:
        """What evaluation, prediction and exports do: (*, C, H, W) uint8 -> (*, C, h, w) float32, normalized."""
        return self.normalize(self.fit_to_size(image))

    def averaged(self, answer: Answer, images: Tensor) -> Tensor:
        """Return a network's outputs for prepared images, averaged over their views."""
        return averaged(answer, images, self.views, mirrored=self.flip)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "ImageInput":
        """Return the input that `to_dict` described; `kind` may stand beside its values.

        Raises:
            UsageError: It is of another kind, a field is unknown or missing, or holds what it may not.
        """
        if plain.get("kind", cls.kind) != cls.kind:
            raise UsageError(f"the input's kind is {plain['kind']!r}; expected {cls.kind!r}")
        given = {name: value for name, value in plain.items() if name != "kind"}
        known = {field.name: field for field in fields(cls)}
        for name in given:
            look_up("field of an image input", name, known)
        missing = [name for name in ("height", "width", "channels", "mean", "deviation") if name not in given]
        if missing:
            raise UsageError(f"the image input lacks {', '.join(missing)}")
        return cls(**given)
