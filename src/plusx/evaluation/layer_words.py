"""What layers are called, in a layer table as in table 1 of He et al. 2015, and in a diagram as in its figure 3.

Paper: He et al. 2015, arXiv:1512.03385.
"""

from dataclasses import dataclass

from torch import nn

from plusx.network import layers


@dataclass(frozen=True)
class Style:
    """How layers are written.

    Args:
        conv: What stands behind a convolution's kernel.
        pool: What stands between "max" and "pool".
        stride: What stands before a stride.
    """

    conv: str
    pool: str
    stride: str


TABLE = Style("", "-", ", stride ")
"""Table 1: "7x7, 64, stride 2"."""
FIGURE = Style(" conv", " ", ", /")
"""Figure 3: "7x7 conv, 64, /2"."""


def conv_words(conv: layers.Convolution, style: Style, *, stride: bool = True) -> str:
    """Describe a convolution: "7x7, 64, stride 2", with groups "3x3, 128, 32 groups"."""
    groups = f", {conv.groups} groups" if conv.groups > 1 else ""
    return f"{sides(conv.kernel_size)}{style.conv}, {conv.out_channels}{groups}" + (
        stride_words(conv.stride, style) if stride else ""
    )


def pool_words(pool: layers.Pool, style: Style) -> str:
    """Describe a pool: "3x3 max-pool, stride 2"; an average of single pixels only leaves the others out."""
    axes = layers.dims_of(pool)
    size, stride = every_side(pool.kernel_size, axes), every_side(pool.stride, axes)
    if max(size) == 1:
        return "every 2nd pixel" if max(stride) == 2 else f"every pixel{stride_words(stride, style)}"
    kind = "average" if isinstance(pool, layers.AveragePool) else "max"
    return f"{sides(size)} {kind}{style.pool}pool{stride_words(stride, style)}"


def attention_words(attention: nn.Module | None) -> str:
    """Say what an attention says of itself, or else what its class is called; nothing of the identity."""
    if attention is None or isinstance(attention, nn.Identity):
        return ""
    return str(getattr(attention, "words", "")) or class_words(attention)


def stride_words(stride: tuple[int, ...], style: Style) -> str:
    """Say by what a layer divides the size, if it does: ", stride 2"."""
    return f"{style.stride}{max(stride)}" if max(stride) > 1 else ""


def every_side(size: int | tuple[int, ...], axes: int) -> tuple[int, ...]:
    """Return all sides of a window of which perhaps only one is given."""
    return size if isinstance(size, tuple) else (size,) * axes


def sides(size: tuple[int, ...]) -> str:
    """Write a kernel's sides: "3x3"."""
    return "x".join(str(side) for side in size)


def class_words(layer: nn.Module) -> str:
    """Return what a layer's class is called, in words: "scalar bias" of ScalarBias."""
    name = type(layer).__name__
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
