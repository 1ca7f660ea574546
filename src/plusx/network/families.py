"""Families: what the named networks of one paper have in common, as functions from what tells them apart.

Shape letters: none; all is plain data.
"""

from typing import Any

from plusx.network.architecture import Architecture

HE = "He et al. 2015, arXiv:1512.03385"
IDENTITY = "He et al. 2016, arXiv:1603.05027"
WIDE = "Zagoruyko and Komodakis 2016, arXiv:1605.07146"
DENSENET = "Huang et al. 2016, arXiv:1608.06993"
RESNEXT = "Xie et al. 2016, arXiv:1611.05431"
SENET = "Hu et al. 2017, arXiv:1709.01507"
TRICKS = "He et al. 2018, arXiv:1812.01187"
ECANET = "Wang et al. 2019, arXiv:1910.03151"
RESNET_RS = "Bello et al. 2021, arXiv:2103.07579"
JORDAN = "Jordan 2024, arXiv:2404.00498"
PAGE = "D. Page 2018, How to train your ResNet, part 4; He et al. 2015, arXiv:1512.03385, section 3.1"
TUTORIAL = "A tutorial's network for MNIST; He et al. 2015, arXiv:1512.03385, section 3.1"

IMAGENET_WIDTHS = (64, 128, 256, 512)
CIFAR_WIDTHS = (16, 32, 64)
IMAGENET_DEPTHS = {
    18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3),
}  # fmt: skip
RESNET_RS_DEPTHS = {
    50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3), 270: (4, 29, 53, 4),
    350: (4, 36, 72, 4), 420: (4, 44, 87, 4),
}  # fmt: skip
DENSENET_DEPTHS = {
    121: (6, 12, 24, 16), 161: (6, 12, 36, 24), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32), 264: (6, 12, 64, 48),
}  # fmt: skip


def imagenet(depth: int, paper: str, published: str = "", kind: str = "resnet", **changes: Any) -> Architecture:  # noqa: ANN401
    """Return a network of arXiv:1512.03385, table 1, or a variant that changes single parts of it.

    Args:
        depth: Its layers; below 50 of basic blocks, else of bottlenecks.
        paper: Where it is described.
        published: The paper's own result.
        kind: What stands before the depth in its name; "{}" marks the depth's place where that is not the end.
        changes: Other fields of Architecture.
    """
    fields: dict[str, Any] = {
        "stem": "imagenet",
        "block": "basic" if depth < 50 else "bottleneck",
        "depths": IMAGENET_DEPTHS[depth],
        "widths": IMAGENET_WIDTHS,
        "shortcut": "projection",
        "published": published,
    }
    name = kind.format(depth) if "{}" in kind else f"{kind}{depth}"
    return Architecture(name, paper, **{**fields, **changes})


def cifar(depth: int, paper: str, published: str = "", kind: str = "resnet", **changes: Any) -> Architecture:  # noqa: ANN401
    """Return a network for 32-pixel images of 6n + 2 layers in basic blocks, or 9n + 2 in bottlenecks.

    arXiv:1512.03385, section 4.2, which uses option A throughout; arXiv:1603.05027, table 4.
    """
    fields: dict[str, Any] = {
        "stem": "small",
        "block": "basic",
        "widths": CIFAR_WIDTHS,
        "shortcut": "zero_pad",
        "published": published,
        "image_size": 32,
        **changes,
    }
    layers = 9 if fields["block"].endswith("bottleneck") else 6
    return Architecture(f"{kind}{depth}", paper, depths=((depth - 2) // layers,) * 3, **fields)


def described(place: str, published: str) -> str:
    """Return the paper's place, with "after" before it where the paper has no result of such a network."""
    return place if published else f"after {place}"


def preactivation(depth: int, published: str = "") -> Architecture:
    """Return a pre-activation network for ImageNet (arXiv:1603.05027, section 5 and table 5)."""
    block = "preactivation_basic" if depth < 50 else "preactivation_bottleneck"
    return imagenet(
        depth,
        described(f"{IDENTITY}, table 5", published),
        published,
        "preresnet",
        stem="imagenet_bare",
        block=block,
        shortcut="bare_projection",
    )


def cifar_preactivation(
    depth: int,
    published: str = "",
    place: str = f"{IDENTITY}, table 3",
    kind: str = "preresnet",
    attention: str = "none",
) -> Architecture:
    """Return a pre-activation network for CIFAR (arXiv:1603.05027, table 3), of bottlenecks from 164 on."""
    basic = depth < 164
    return cifar(
        depth,
        described(place, published),
        published,
        kind,
        stem="small_bare",
        block="preactivation_basic" if basic else "preactivation_bottleneck",
        shortcut="zero_pad" if basic else "bare_projection",
        attention=attention,
    )


def resnext(depth: int, groups: int, width: int, published: str = "", kind: str = "resnext") -> Architecture:
    """Return a ResNeXt for ImageNet (arXiv:1611.05431, table 1)."""
    name = f"{kind}{{}}-{groups}x{width}d"
    attention, place = (
        ("squeeze_excite", f"{SENET}, table 2") if kind == "seresnext" else ("none", f"{RESNEXT}, table 1")
    )
    return imagenet(
        depth, described(place, published), published, name, groups=groups, width_per_group=width, attention=attention
    )


def cifar_resnext(groups: int, width: int, published: str) -> Architecture:
    """Return a ResNeXt-29 for CIFAR (arXiv:1611.05431, section 5.3)."""
    return Architecture(
        f"resnext29-{groups}x{width}d",
        f"{RESNEXT}, section 5.3",
        "small",
        "bottleneck",
        (3, 3, 3),
        (64, 128, 256),
        "projection",
        image_size=32,
        groups=groups,
        width_per_group=width,
        published=published,
    )


def wide(depth: int, factor: int, published: str = "") -> Architecture:
    """Return a wide residual network for CIFAR, WRN-depth-factor, of 6n + 4 layers (arXiv:1605.07146, table 1)."""
    return Architecture(
        f"wrn{depth}-{factor}",
        f"{WIDE}, table 1",
        "small_bare",
        "preactivation_basic",
        ((depth - 4) // 6,) * 3,
        (16 * factor, 32 * factor, 64 * factor),
        "bare_projection",
        image_size=32,
        stem_width=16,
        published=published,
    )


def resnet_rs(depth: int, image_size: int, published: str) -> Architecture:
    """Return a ResNet-RS (arXiv:2103.07579, section 6): ResNet-D without max-pool, with squeeze-and-excitation."""
    return Architecture(
        f"resnetrs{depth}",
        f"{RESNET_RS}, section 6",
        "deep_strided",
        "bottleneck",
        RESNET_RS_DEPTHS[depth],
        IMAGENET_WIDTHS,
        "pooled",
        image_size=image_size,
        attention="squeeze_excite",
        attention_reduction=4,
        published=published,
    )


def densenet(depth: int, published: str, growth: int = 32, place: str = f"{DENSENET}, table 1") -> Architecture:
    """Return a DenseNet-BC for ImageNet (arXiv:1608.06993, table 1)."""
    return Architecture(
        f"densenet{depth}",
        place,
        "imagenet",
        "dense_bottleneck",
        DENSENET_DEPTHS[depth],
        (growth,) * 4,
        "none",
        stem_width=2 * growth,
        transition="dense",
        compression=0.5,
        published=published,
    )


def cifar_densenet(depth: int, growth: int, published: str, *, compressed: bool = False) -> Architecture:
    """Return a DenseNet for CIFAR, with `compressed` a DenseNet-BC (arXiv:1608.06993, section 3 and table 2)."""
    layers = (depth - 4) // (6 if compressed else 3)
    return Architecture(
        f"densenet{'bc' if compressed else ''}{depth}-{growth}",
        f"{DENSENET}, table 2",
        "small_bare",
        "dense_bottleneck" if compressed else "dense_basic",
        (layers,) * 3,
        (growth,) * 3,
        "none",
        image_size=32,
        stem_width=2 * growth if compressed else 16,
        transition="dense",
        compression=0.5 if compressed else 1.0,
        published=published,
    )
