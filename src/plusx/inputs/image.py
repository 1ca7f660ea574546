"""ImageInput: how an image becomes a tensor, in training, evaluation, prediction and everywhere else.

Shape letters: B samples, C channels, H and W the size found, h and w the size that the network wants.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor

from plusx.errors import UsageError, look_up
from plusx.inputs.batch_augment import DRAWS, augment_batch, harmless_reduction
from plusx.inputs.decode import (
    IMAGE_SUFFIXES,
    UnreadableImage,
    copied,
    decode,
    open_image,
    orientation,
    quoted,
    read_bytes,
)
from plusx.inputs.limits import check_fields
from plusx.inputs.pixels import SAFE_MODES, array_pixels, channels_of, image_pixels
from plusx.inputs.resize import Span, crop_spans, resized, resized_as_pillow, stretch_spans

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
        flip: Mirror left and right, half of the time. This and all below: training only.
        pad_and_crop: Pixels of zero padding on each side before a random crop (He et al. 2015, section 4.2: 4).
        random_resized_crop: Cut a random part and resize it, instead of `fit`.
        crop_scale: Least and largest share of the area in such a part.
        cutout: Side of the square set to the mean pixel, 0 for none.
        policy: "none", "randaugment" or "trivialaugment", as torchvision has them.
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
    flip: bool = False
    pad_and_crop: int = 0
    random_resized_crop: bool = False
    crop_scale: tuple[float, float] = (0.08, 1.0)
    cutout: int = 0
    policy: str = "none"

    kind: ClassVar[str] = "image"
    draws: ClassVar[int] = DRAWS

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
        image, content, name, suffix = self.opened(source)
        whole = decode(image, content=content, name=name, suffix=suffix)
        return image_pixels(whole, self.channels, name)

    def read_for_training(self, source: Source) -> Tensor:
        """Read one image as `read` does, a JPEG perhaps smaller; only for `augment`, never to evaluate or predict.

        A JPEG's decoder can give 1/2, 1/4 or 1/8 of the size in a fraction of the time. It gives the smallest that
        training's crop and resize need not enlarge: see `harmless_reduction`. The same file and settings always give
        the same bits, which are not those of `read`.

        Args:
            source: As `read` takes it.

        Returns:
            (C, H, W) uint8.

        Raises:
            UnreadableImage: As `read` does.
            DataError: As `read` does.
        """
        if isinstance(source, np.ndarray):
            return array_pixels(source, self.channels)
        image, content, name, suffix = self.opened(source)
        if isinstance(image, JpegImageFile):
            width, height = image.size
            upright = (width, height) if orientation(image) >= 5 else (height, width)
            factor = harmless_reduction(self, *upright)
            if factor > 1:
                image.draft(image.mode, (max(1, width // factor), max(1, height // factor)))
        whole = decode(image, content=content, name=name, suffix=suffix)
        return image_pixels(whole, self.channels, name)

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
        image, content, name, suffix = self.opened(source)
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

    def opened(self, source: object) -> tuple[Any, bytes, str, str]:
        """Return an image with only its header read, its file's bytes, its name in a sentence, and its suffix.

        Raises:
            UnreadableImage: It is missing, empty, too large, no image, or nothing that can be read as one.
        """
        name = quoted(source)
        if isinstance(source, Image.Image):
            pixels = source.width * source.height
            if not 0 < pixels <= self.max_pixels:
                raise UnreadableImage(f"has {pixels:,} pixels; expected 1 to max_pixels {self.max_pixels:,}", name)
            return copied(source, name), b"", name, ""
        if isinstance(source, str | Path):
            content, suffix = read_bytes(Path(source)), Path(source).suffix
        elif isinstance(source, bytes | bytearray | memoryview):
            content, suffix = bytes(source), ""
        else:
            hint = "; give tensor.permute(1, 2, 0).numpy() for a tensor (C, H, W)" if isinstance(source, Tensor) else ""
            raise UnreadableImage(
                f"is a {type(source).__name__}; expected a path, a file's bytes, a PIL image, or a NumPy array of "
                f"shape (height, width) or (height, width, channels){hint}",
                name,
            )
        return open_image(content, max_pixels=self.max_pixels, name=name, suffix=suffix), content, name, suffix

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


def hash_of(array: NDArray[Any]) -> str:
    """Return the sha256 of an array's shape, type and values."""
    head = f"{array.shape} {array.dtype.str} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()
