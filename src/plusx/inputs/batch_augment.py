"""Training's random changes to a whole uint8 batch at once; one image is a batch of one.

Every change is a function of the image and of numbers drawn for its sample, so the answer does not depend on the
batch that it happens to be in. Resizing, shifting, mirroring and cutting are arithmetic of integers, whose result no
number of threads can change; floats, rounded at the end, are what a policy computes (rotation, contrast) and how a long
strip or a result of one pixel is resized. Where no resizing is needed there is no loop over samples.

Papers: flip and pad-and-crop, He et al. 2015, arXiv:1512.03385, section 4.2. Random resized crop, Szegedy et al. 2014,
arXiv:1409.4842, section 6. Cutout, DeVries & Taylor 2017, arXiv:1708.04552, section 3. RandAugment, Cubuk et al. 2019,
arXiv:1909.13719. TrivialAugment, Müller & Hutter 2021, arXiv:2103.10158. Random erasing, Zhong et al. 2017,
arXiv:1708.04896, section 3.

Shape letters: B samples, N numbers a sample, C channels, H and W the size found, h and w the final size.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from plusx.errors import UsageError
from plusx.inputs.resize import Span, resized, stretch_spans

if TYPE_CHECKING:
    from plusx.inputs.image import ImageInput

# What each of a sample's numbers decides.
FLIP, PAD_TOP, PAD_LEFT, CUT_ROW, CUT_COLUMN, POLICY, CROP_TOP, CROP_LEFT, ATTEMPTS = range(9)
CROP_ATTEMPTS = 10  # two numbers each: area and aspect
ERASE = ATTEMPTS + 2 * CROP_ATTEMPTS
DRAWS = ERASE + 1

PADDINGS: dict[str, Literal["constant", "reflect"]] = {"zeros": "constant", "reflect": "reflect"}
"""What padding shows, by NumPy's names: reflected is the image without its last row or column."""
POLICIES = ("none", "randaugment", "trivialaugment")
STRONGEST = 30  # of randaugment's magnitudes
ERASED_AREA = (0.02, 0.33)  # of the image's; and the logarithm of height over width: torchvision's own bounds
ERASED_ASPECT = (math.log(0.3), math.log(3.3))


def augment_batch(settings: "ImageInput", images: Tensor, numbers: NDArray[np.float64]) -> Tensor:
    """Apply the augmentations of `settings` to a batch of equal-sized images.

    The order: random resized crop (or the resize of evaluation), pad and crop, flip, policy, cutout, erase.

    Args:
        settings: Which augmentations are on, and the final size.
        images: (B, C, H, W) uint8.
        numbers: (B, N) draws in [0, 1), N at least `DRAWS`.

    Returns:
        (B, C, h, w) uint8, contiguous.

    Raises:
        UsageError: The images or the numbers have another type or shape.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != settings.channels:
        raise UsageError(
            f"augmentation found {images.dtype} images of shape {tuple(images.shape)}; "
            f"expected uint8 of shape (batch, {settings.channels}, height, width)"
        )
    if numbers.ndim != 2 or numbers.shape[0] != images.shape[0] or numbers.shape[1] < DRAWS:
        raise UsageError(f"augmentation found numbers of shape {numbers.shape}; expected ({len(images)}, {DRAWS})")
    if settings.random_resized_crop:
        images = random_resized_crops(settings, images, numbers)
    else:
        images = fitted(settings, images)
    return changed_at_size(settings, images, numbers)


def changed_at_size(settings: "ImageInput", images: Tensor, numbers: NDArray[np.float64]) -> Tensor:
    """Apply what comes after the final size is reached: (B, C, h, w) uint8 -> (B, C, h, w) uint8, contiguous."""
    pixels = shifted_and_flipped(settings, images.numpy(), numbers)
    if settings.policy != "none":
        pixels = policies_applied(settings, pixels, numbers)
    if settings.cutout:
        pixels = cut_out(settings, pixels, numbers)
    if settings.erase:
        pixels = erased(settings, pixels, numbers)
    return torch.from_numpy(np.ascontiguousarray(pixels))


def fitted(settings: "ImageInput", images: Tensor) -> Tensor:
    """Resize and crop as evaluation does, rounded to uint8.

    torch's integer resizer does it, within one level of evaluation's float32 products: its bits do not depend on
    threads or workers. A long strip, whose unneeded ends would cost more than the picture, goes through the products.
    """
    spans = settings.spans(images.shape[-2], images.shape[-1])
    if spans is None:
        return images
    rows, columns = spans
    if is_strip(rows, columns):
        return resized(images, rows, columns, settings.interpolation).round_().to(torch.uint8)
    whole = resized_bytes(images, rows.resized, columns.resized, settings.interpolation)
    return whole[..., cropped(rows), cropped(columns)].contiguous()


def is_strip(rows: Span, columns: Span) -> bool:
    """Say whether nearly all of a resized image would be cropped away."""
    return rows.resized * columns.resized > 16 * rows.length * columns.length


def cropped(span: Span) -> slice:
    """Return the part of a resized axis that is kept."""
    return slice(span.offset, span.offset + span.length)


def resized_bytes(images: Tensor, height: int, width: int, interpolation: str) -> Tensor:
    """Resize uint8 images with torch's antialiased integer filters: (B, C, H, W) -> (B, C, height, width)."""
    if images.shape[-2:] == (height, width):
        return images
    if height == width == 1:  # torch takes its own output for channels-last here, and stops at an internal assertion
        spans = stretch_spans(images.shape[-2], images.shape[-1], 1, 1)
        return resized(images, *spans, interpolation).round_().to(torch.uint8)
    if not images.is_contiguous(memory_format=torch.channels_last):
        images = images.contiguous()
    elif len(images) == 1:  # torch sees channels last in the batch's stride too, and is faster then
        images = images[0].permute(1, 2, 0)[None].permute(0, 3, 1, 2)
    return interpolate(images, size=(height, width), mode=interpolation, antialias=True)


def random_resized_crops(settings: "ImageInput", images: Tensor, numbers: NDArray[np.float64]) -> Tensor:
    """Cut a random part of each image and resize it to the final size."""
    height, width = images.shape[-2:]
    crops: list[Tensor] = []
    for image, draws in zip(images, numbers, strict=True):
        top, left, tall, wide = crop_box(height, width, settings, draws)
        part = image[None, :, top : top + tall, left : left + wide]
        crops.append(resized_bytes(part, settings.height, settings.width, settings.interpolation))
    return torch.cat(crops)


def crop_box(height: int, width: int, settings: "ImageInput", draws: NDArray[np.float64]) -> tuple[int, int, int, int]:
    """Draw a part of the image: an area in `crop_scale` of its own, an aspect log-uniform in 3/4..4/3.

    Of ten attempts the first that fits is taken; if none does, the largest central part whose aspect is within the
    bounds (torchvision's rule; the paper states none).

    Returns:
        Top, left, height and width of the part.
    """
    low, high = settings.crop_scale
    for attempt in range(CROP_ATTEMPTS):
        area_draw, aspect_draw = draws[ATTEMPTS + 2 * attempt : ATTEMPTS + 2 * attempt + 2]
        area = height * width * (low + (high - low) * area_draw)
        aspect = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * aspect_draw)
        tall, wide = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < tall <= height and 0 < wide <= width:
            top, left = int(draws[CROP_TOP] * (height - tall + 1)), int(draws[CROP_LEFT] * (width - wide + 1))
            return top, left, tall, wide
    tall = min(height, max(1, round(width / (3 / 4))))
    wide = min(width, max(1, round(height * (4 / 3))))
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def harmless_reduction(settings: "ImageInput", height: int, width: int) -> int:
    """Return the most (8, 4, 2 or 1) by which an image's sides may be divided before training crops and resizes it.

    What is left still has all the pixels that are needed: without a random crop, both sides are at least what they are
    resized to; with one, even the smallest crop of the most extreme aspect is at least as large as the result. An image
    that would be enlarged anyway is not reduced at all.

    Args:
        settings: The final size, and how it is reached.
        height: Of the upright image.
        width: Of the upright image.
    """
    spans = settings.spans(height, width)
    for factor in (8, 4, 2):
        tall, wide = math.ceil(height / factor), math.ceil(width / factor)
        if settings.random_resized_crop:
            least = min(tall, wide, math.sqrt(settings.crop_scale[0] * tall * wide * 3 / 4))
            enough = least >= max(settings.height, settings.width)
        else:
            enough = spans is not None and tall >= spans[0].resized and wide >= spans[1].resized
        if enough:
            return factor
    return 1


def shifted_and_flipped(
    settings: "ImageInput", pixels: NDArray[np.uint8], numbers: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Pad, crop at random, and mirror half of the samples: (B, C, h, w) -> (B, C, h, w)."""
    padding, height, width = settings.pad_and_crop, settings.height, settings.width
    flipped = numbers[:, FLIP] < 0.5 if settings.flip else np.zeros(len(pixels), dtype=bool)
    if padding:
        sides = ((0, 0), (0, 0), (padding, padding), (padding, padding))
        padded = np.pad(pixels, sides, PADDINGS[settings.padding_mode])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
        top, left = (numbers[:, [PAD_TOP, PAD_LEFT]] * (2 * padding + 1)).astype(np.int64).T
        pixels = windows[np.arange(len(pixels)), :, top, left]
    elif flipped.any():
        pixels = pixels.copy()
    if flipped.any():
        pixels[flipped] = pixels[flipped][..., ::-1]
    return pixels


def cut_out(settings: "ImageInput", pixels: NDArray[np.uint8], numbers: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Set a square to the mean pixel: its center is anywhere in the image, so part of it may lie outside."""
    side, mean = settings.cutout, np.rint(np.array(settings.mean) * 255).astype(np.uint8)
    inside: list[NDArray[np.bool_]] = []
    for size, draw in ((settings.height, numbers[:, CUT_ROW]), (settings.width, numbers[:, CUT_COLUMN])):
        first = (draw * size).astype(np.int64) - side // 2
        places = np.arange(size)
        inside.append((places >= first[:, None]) & (places < first[:, None] + side))
    square = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return np.where(square, mean[None, :, None, None], pixels)


def erased(settings: "ImageInput", pixels: NDArray[np.uint8], numbers: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Set a rectangle to the mean pixel, in some images: Zhong et al. 2017, algorithm 1, as torchvision has it.

    Of ten attempts to draw area and aspect the first that fits within the image is taken; if none does, none is erased.
    """
    pixels, mean = pixels.copy(), np.rint(np.array(settings.mean) * 255).astype(np.uint8)
    for image, number in zip(pixels, numbers[:, ERASE], strict=True):
        if number >= settings.erase:
            continue
        draws = np.random.Generator(np.random.Philox(key=int(number * 2**53)))
        for _ in range(CROP_ATTEMPTS):
            area = settings.height * settings.width * draws.uniform(*ERASED_AREA)
            aspect = math.exp(draws.uniform(*ERASED_ASPECT))
            tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if tall < settings.height and wide < settings.width:
                top, left = draws.integers(settings.height - tall + 1), draws.integers(settings.width - wide + 1)
                image[:, top : top + tall, left : left + wide] = mean[:, None, None]
                break
    return pixels


def policies_applied(
    settings: "ImageInput", pixels: NDArray[np.uint8], numbers: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Run torchvision's policy on each image, its random stream seeded by one of the sample's numbers."""
    transform = policy_transform(settings.policy, settings.policy_magnitude)
    results: list[Tensor] = []
    with torch.random.fork_rng(devices=[]):
        for image, draws in zip(torch.from_numpy(np.ascontiguousarray(pixels)), numbers, strict=True):
            # The CPU's own generator: torch.manual_seed would also seed those of GPUs, which are not forked here.
            torch.default_generator.manual_seed(int(draws[POLICY] * 2**53))
            results.append(transform(image))
    return torch.stack(results).numpy()


@lru_cache
def policy_transform(name: str, magnitude: int) -> Callable[[Tensor], Tensor]:
    """Return torchvision's transform for a policy, of a magnitude where it has one."""
    from torchvision.transforms import v2

    transforms: dict[str, Any] = {
        "randaugment": lambda: v2.RandAugment(magnitude=magnitude),
        "trivialaugment": v2.TrivialAugmentWide,
    }
    return transforms[name]()
