"""Every named network as plain data: what it is made of, and the paper that describes it.

He et al. 2015, "Deep residual learning for image recognition", arXiv:1512.03385: table 1 (ImageNet), section 4.2
(CIFAR-10), figure 3 and section 4.1 (the plain twins, which are the same networks without shortcuts).
"""

from dataclasses import dataclass

from plusx.errors import UsageError, look_up

IMAGENET_TABLE = "He et al. 2015, arXiv:1512.03385, table 1"
IMAGENET_PLAIN = "He et al. 2015, arXiv:1512.03385, section 4.1 and figure 3"
CIFAR_SECTION = "He et al. 2015, arXiv:1512.03385, section 4.2"

IMAGENET_WIDTHS = (64, 128, 256, 512)
CIFAR_WIDTHS = (16, 32, 64)

SMALL_IMAGE = 64
"""Images with a side below this, in pixels, are too small for a stem that divides their size by four."""


@dataclass(frozen=True)
class Architecture:
    """What a network is made of, in strings and numbers: it prints, compares, goes to JSON and comes back.

    Args:
        name: What the command line calls it.
        paper: Where it is described.
        stem: A key of STEMS: "imagenet" (7x7, stride 2, then a 3x3 max-pool) or "small" (3x3).
        block: A key of BLOCKS: "basic" or "bottleneck".
        depths: How many blocks each stage has.
        widths: The width of each stage in channels; a bottleneck's output is four times as wide.
        shortcut: A key of SHORTCUTS: "zero_pad" (the paper's option A), "projection" (B), "projection_always" (C) or
            "none" (a plain network).
        zero_init_residual: Whether each block starts as the identity (Goyal et al. 2017, arXiv:1706.02677, section 5.1).
        channels_in: Channels of the images: 1 for gray, 3 for color, or any other number.
        image_size: The side in pixels of the images that the paper trains it on.

    Raises:
        UsageError: The numbers do not describe a network.
    """

    name: str
    paper: str
    stem: str
    block: str
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    shortcut: str
    zero_init_residual: bool = False
    channels_in: int = 3
    image_size: int = 224

    def __post_init__(self) -> None:
        """Make tuples of the lists that JSON gives, and refuse what cannot be built."""
        object.__setattr__(self, "depths", tuple(self.depths))
        object.__setattr__(self, "widths", tuple(self.widths))
        if not self.depths or len(self.depths) != len(self.widths):
            raise UsageError(
                f"{self.name} has {len(self.depths)} depths {self.depths} and {len(self.widths)} widths {self.widths}; "
                "give one depth and one width a stage, and at least one stage"
            )
        numbers = (*self.depths, *self.widths, self.channels_in, self.image_size)
        if min(numbers) < 1:
            raise UsageError(
                f"{self.name} has depths {self.depths}, widths {self.widths}, channels_in {self.channels_in} and "
                f"image_size {self.image_size}; each of these numbers must be 1 or more"
            )
        if self.zero_init_residual and self.shortcut == "none":
            raise UsageError(
                f"{self.name} has no shortcuts, so zero_init_residual would make every output zero for ever; "
                "turn zero_init_residual off or choose a shortcut"
            )


def imagenet(name: str, block: str, depths: tuple[int, ...], shortcut: str = "projection") -> Architecture:
    """Return a network of the paper's table 1; its best single networks use option B, as here."""
    paper = IMAGENET_PLAIN if shortcut == "none" else IMAGENET_TABLE
    return Architecture(name, paper, "imagenet", block, depths, IMAGENET_WIDTHS, shortcut)


def cifar(name: str, n: int, shortcut: str = "zero_pad") -> Architecture:
    """Return a network of 6n + 2 layers of the paper's section 4.2, which uses option A throughout."""
    return Architecture(name, CIFAR_SECTION, "small", "basic", (n, n, n), CIFAR_WIDTHS, shortcut, image_size=32)


ARCHITECTURES: dict[str, Architecture] = {
    "resnet18": imagenet("resnet18", "basic", (2, 2, 2, 2)),
    "resnet34": imagenet("resnet34", "basic", (3, 4, 6, 3)),
    "resnet50": imagenet("resnet50", "bottleneck", (3, 4, 6, 3)),
    "resnet101": imagenet("resnet101", "bottleneck", (3, 4, 23, 3)),
    "resnet152": imagenet("resnet152", "bottleneck", (3, 8, 36, 3)),
    "plain18": imagenet("plain18", "basic", (2, 2, 2, 2), shortcut="none"),
    "plain34": imagenet("plain34", "basic", (3, 4, 6, 3), shortcut="none"),
    "resnet20": cifar("resnet20", 3),
    "resnet32": cifar("resnet32", 5),
    "resnet44": cifar("resnet44", 7),
    "resnet56": cifar("resnet56", 9),
    "resnet110": cifar("resnet110", 18),
    "resnet1202": cifar("resnet1202", 200),
    "plain20": cifar("plain20", 3, shortcut="none"),
    "plain32": cifar("plain32", 5, shortcut="none"),
    "plain44": cifar("plain44", 7, shortcut="none"),
    "plain56": cifar("plain56", 9, shortcut="none"),
    "plain110": cifar("plain110", 18, shortcut="none"),
}

SHORTCUT_NAMES: dict[str, str] = {
    "A": "zero_pad",
    "B": "projection",
    "C": "projection_always",
    "zero_pad": "zero_pad",
    "projection": "projection",
    "projection_always": "projection_always",
    "none": "none",
}
"""What a user may call a shortcut: the options of the paper's section 4.1, or the keys of SHORTCUTS."""

SMALL_IMAGE_TWINS: dict[str, str] = {
    "resnet18": "resnet20",
    "resnet34": "resnet32",
    "resnet50": "resnet56",
    "resnet101": "resnet110",
    "resnet152": "resnet110",
    "plain18": "plain20",
    "plain34": "plain32",
}
"""For each network made for large images, the one of like depth that is made for small ones."""


def shortcut_named(name: str) -> str:
    """Return the key of SHORTCUTS that `name` means: a letter of the paper, in either case, or the key itself.

    Raises:
        UsageError: No shortcut has that name.
    """
    return look_up("shortcut", name.upper() if len(name) == 1 else name, SHORTCUT_NAMES)


def small_image_twin(architecture: Architecture) -> str:
    """Return the name of the network to use instead on images under 64 pixels: its own where it is made for them."""
    return SMALL_IMAGE_TWINS.get(architecture.name, architecture.name)


def stem_warning(architecture: Architecture, height: int, width: int) -> str | None:
    """Return the sentence that names a better network where the stem is too coarse for the images, else None.

    Args:
        architecture: The network that is about to be trained.
        height: The images' height in pixels.
        width: The images' width in pixels.
    """
    twin = small_image_twin(architecture)
    if min(height, width) >= SMALL_IMAGE or twin == architecture.name:
        return None
    return (
        f"{architecture.name} is made for images of about {architecture.image_size} pixels: its stem alone divides "
        f"{height}x{width} by four; {twin} is the better model for images under {SMALL_IMAGE} pixels"
    )
