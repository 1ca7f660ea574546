"""Architecture: what a network is made of, as plain data."""

from dataclasses import dataclass

from plusx.errors import UsageError, look_up

SHORTCUT_NAMES: dict[str, str] = {
    "A": "zero_pad",
    "B": "projection",
    "C": "projection_always",
    "D": "pooled",
    "zero_pad": "zero_pad",
    "projection": "projection",
    "projection_always": "projection_always",
    "pooled": "pooled",
    "bare_projection": "bare_projection",
    "none": "none",
}
"""What a user may call a shortcut: the options of the papers, or the keys of SHORTCUTS."""


@dataclass(frozen=True)
class Architecture:
    """What a network is made of, in strings and numbers: it prints, compares, goes to JSON and comes back.

    Args:
        name: What the command line calls it.
        paper: Where it is described.
        stem: A key of STEMS: "imagenet" (7x7, stride 2, then a 3x3 max-pool), "small" (3x3), "deep" ...
        block: A key of BLOCKS: "basic", "bottleneck", "preactivation_basic" ...
        depths: How many blocks each stage has.
        widths: The width of each stage in channels; a bottleneck's output is four times as wide, and a dense block's
            width is its growth rate.
        shortcut: A key of SHORTCUTS: "zero_pad" (the paper's option A), "projection" (B), "projection_always" (C),
            "pooled" (D), "bare_projection" (of pre-activation) or "none" (a plain network).
        zero_init_residual: Whether each block starts as its shortcut (Goyal et al. 2017, arXiv:1706.02677, 5.1).
        channels_in: Channels of the images: 1 for gray, 3 for color, or any other number.
        image_size: The side in pixels of the images that the paper trains it on.
        stem_width: Channels of the stem; those of the first stage's width if 0.
        transition: A key of TRANSITIONS, how stages begin: "in_block", "conv_pool", "conv_pool_norm", "pool_conv" or
            "dense".
        attention: A key of ATTENTION: "none", "squeeze_excite" or "eca".
        attention_reduction: By what squeeze-and-excitation narrows its channels.
        groups: Groups of the bottleneck's 3x3 convolution (ResNeXt's cardinality).
        width_per_group: Channels of each group in the first stage, growing as the stage's width does; with 0 all groups
            together are as wide as the stage.
        compression: The share of channels that a dense transition keeps (DenseNet's theta).
        pooling: How a classification head sums up the last feature map: "mean" or "max".
        norm: A key of NORMS: "batch", "none", "fixup" or "skipinit".
        output_scale: What the outputs of a classification head are multiplied by: fast training scales them down, so
            that the rate for all other layers can be high (Page 2018).
        initial_weights: A key of INITIAL_WEIGHTS: "he", as the papers have them, "torch", its own, or "dirac".
        dropout: Probability of an element being zero before a block's last convolution, in training.
        stochastic_depth: Probability of the last block's branch being left out in training; less for those before it.
        dims: Spatial axes of the input: 1 (sound), 2 (images) or 3 (volumes).
        published: The paper's own result, in words; nothing where it has none.

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
    stem_width: int = 0
    transition: str = "in_block"
    attention: str = "none"
    attention_reduction: int = 16
    groups: int = 1
    width_per_group: int = 0
    compression: float = 1.0
    pooling: str = "mean"
    norm: str = "batch"
    output_scale: float = 1.0
    initial_weights: str = "he"
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    dims: int = 2
    published: str = ""

    def __post_init__(self) -> None:
        """Make tuples of the lists that JSON gives, and refuse what cannot be built."""
        object.__setattr__(self, "depths", tuple(self.depths))
        object.__setattr__(self, "widths", tuple(self.widths))
        if not self.depths or len(self.depths) != len(self.widths):
            raise UsageError(
                f"{self.name} has {len(self.depths)} depths {self.depths} and {len(self.widths)} widths {self.widths}; "
                "give one depth and one width a stage, and at least one stage"
            )
        numbers = (*self.widths, self.channels_in, self.image_size, self.groups, self.attention_reduction)
        if min(numbers) < 1 or min(self.depths) < 0 or sum(self.depths) < 1:
            raise UsageError(
                f"{self.name} has depths {self.depths}, widths {self.widths}, channels_in {self.channels_in}, "
                f"image_size {self.image_size}, groups {self.groups} and attention_reduction "
                f"{self.attention_reduction}; each of these must be 1 or more (a depth may be 0, but not all of them)"
            )
        for name in ("stem_width", "width_per_group"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}, but must be 0 (as wide as the first stage) or more")
        for name in ("dropout", "stochastic_depth"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, but must be at least 0 and below 1")
        if not 0 < self.compression <= 1:
            raise UsageError(f"compression is {self.compression}, but must be above 0 and at most 1")
        if not self.output_scale > 0:
            raise UsageError(f"output_scale is {self.output_scale}, but must be above 0")
        if self.dims not in (1, 2, 3):
            raise UsageError(f"dims is {self.dims}, but must be 1, 2 or 3")
        look_up("pooling", self.pooling, {"mean": None, "max": None})
        self._check_residual()

    def _check_residual(self) -> None:
        """Refuse what would make every output zero, and what would do nothing."""
        if self.zero_init_residual and self.shortcut == "none":
            raise UsageError(
                f"{self.name} has no shortcuts, so zero_init_residual would make every output zero for ever; "
                "turn zero_init_residual off or choose a shortcut"
            )
        if self.shortcut == "none" and self.norm in ("fixup", "skipinit"):
            raise UsageError(
                f"{self.name} has no shortcuts, so norm {self.norm!r}, whose branches begin at zero, would make every "
                "output zero; use norm 'batch' or 'none', or choose a shortcut"
            )
        if self.shortcut == "none" and self.stochastic_depth:
            raise UsageError(
                f"{self.name} has no shortcuts, so a block that stochastic_depth leaves out would end the signal; "
                "use 0 or choose a shortcut"
            )


def shortcut_named(name: str) -> str:
    """Return the key of SHORTCUTS that `name` means: a letter of a paper, in either case, or the key itself.

    Raises:
        UsageError: No shortcut has that name.
    """
    return look_up("shortcut", name.upper() if len(name) == 1 else name, SHORTCUT_NAMES)
