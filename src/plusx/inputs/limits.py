"""What the fields of an ImageInput may hold, and the sentence for each that may not."""

import math
from typing import TYPE_CHECKING

from plusx.errors import UsageError, look_up
from plusx.inputs.batch_augment import PADDINGS, POLICIES, STRONGEST
from plusx.inputs.resize import FILTERS
from plusx.inputs.views import VIEWS

if TYPE_CHECKING:
    from plusx.inputs.image import ImageInput

FITS = ("crop", "stretch")


def check_fields(settings: "ImageInput") -> None:
    """Refuse impossible settings.

    Raises:
        UsageError: A field holds what it may not; the sentence names the field, what it holds and what it may hold.
    """
    for name in ("height", "width", "channels", "max_pixels"):
        check_integer(name, getattr(settings, name), 1)
    for name in ("pad_and_crop", "cutout"):
        check_integer(name, getattr(settings, name), 0)
    for name in ("flip", "alternating_flip", "random_resized_crop", "rounded"):
        if not isinstance(getattr(settings, name), bool):
            raise UsageError(f"{name} is {getattr(settings, name)!r}; expected true or false")
    look_up("fit", settings.fit, dict.fromkeys(FITS))
    look_up("interpolation", settings.interpolation, FILTERS)
    look_up("padding_mode", settings.padding_mode, PADDINGS)
    look_up("policy", settings.policy, dict.fromkeys(POLICIES))
    look_up("way to view images", settings.views, VIEWS)
    if settings.views == "shift" and min(settings.height, settings.width) < 2:
        raise UsageError(f"views 'shift' needs sides of 2 pixels, not {settings.height}x{settings.width}; use 'one'")
    if settings.policy != "none" and settings.channels not in (1, 3):
        raise UsageError(f"policy {settings.policy!r} works on 1 or 3 channels, not {settings.channels}; use 'none'")
    if not (is_number(settings.crop_fraction) and 0 < settings.crop_fraction <= 1):
        raise UsageError(f"crop_fraction is {settings.crop_fraction!r}; expected a number above 0 and at most 1")
    check_integer("policy_magnitude", settings.policy_magnitude, 0)
    if settings.policy_magnitude > STRONGEST:
        raise UsageError(f"policy_magnitude is {settings.policy_magnitude}; expected at most {STRONGEST}")
    if not (is_number(settings.erase) and 0 <= settings.erase <= 1):
        raise UsageError(f"erase is {settings.erase!r}; expected a probability, 0 to 1")
    if settings.cutout > min(settings.height, settings.width):
        raise UsageError(
            f"cutout is {settings.cutout}, larger than the image of {settings.height} x {settings.width}; "
            f"expected at most {min(settings.height, settings.width)}"
        )
    check_numbers(settings)


def check_numbers(settings: "ImageInput") -> None:
    """Check the fields that hold several numbers.

    Raises:
        UsageError: Their count or one of them is impossible.
    """
    for name in ("mean", "deviation"):
        values = getattr(settings, name)
        if len(values) != settings.channels:
            raise UsageError(f"{name} has {len(values)} numbers; expected {settings.channels}, one a channel")
        if not all(is_number(value) for value in values):
            raise UsageError(f"{name} is {values!r}; expected finite numbers")
    if not all(0 <= value <= 1 for value in settings.mean):
        raise UsageError(f"mean is {settings.mean!r}; expected numbers in 0..1 (divide those of 0..255 by 255)")
    if not all(value > 0 for value in settings.deviation):
        raise UsageError(f"deviation is {settings.deviation!r}; expected numbers above 0")
    scale = settings.crop_scale
    if len(scale) != 2 or not all(is_number(value) for value in scale) or not 0 < scale[0] <= scale[1] <= 1:
        raise UsageError(f"crop_scale is {scale!r}; expected two numbers with 0 < least <= largest <= 1")


def check_integer(name: str, value: object, least: int) -> None:
    """Check one whole number.

    Raises:
        UsageError: It is none, or below `least`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"{name} is {value!r}; expected a whole number, {least} or more")


def is_number(value: object) -> bool:
    """Say whether a value is a finite real number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
