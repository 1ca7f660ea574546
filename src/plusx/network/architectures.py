"""Every named network, one line each, and which of them suits which images."""

from plusx.network.architecture import Architecture
from plusx.network.families import (
    DENSENET,
    ECANET,
    HE,
    IDENTITY,
    JORDAN,
    PAGE,
    SENET,
    TRICKS,
    TUTORIAL,
    WIDE,
    cifar,
    cifar_densenet,
    cifar_preactivation,
    cifar_resnext,
    densenet,
    imagenet,
    preactivation,
    resnet_rs,
    resnext,
    wide,
)

SMALL_IMAGE = 64
"""Images with a side below this, in pixels, are too small for a stem that divides their size by four."""

NAMED: tuple[Architecture, ...] = (
    imagenet(18, f"{HE}, table 1", "27.88 % top-1 error, option A"),
    imagenet(34, f"{HE}, table 1", "24.52 % top-1 error, 10 crops"),
    imagenet(50, f"{HE}, table 1", "22.85 % top-1 error, 10 crops"),
    imagenet(101, f"{HE}, table 1", "21.75 % top-1 error, 10 crops"),
    imagenet(152, f"{HE}, table 1", "21.43 % top-1 error, 10 crops"),
    imagenet(18, f"{HE}, section 4.1 and figure 3", "27.94 % top-1 error, 10 crops", "plain", shortcut="none"),
    imagenet(34, f"{HE}, section 4.1 and figure 3", "28.54 % top-1 error, 10 crops", "plain", shortcut="none"),
    cifar(20, f"{HE}, section 4.2", "8.75 % error, CIFAR-10"),
    cifar(32, f"{HE}, section 4.2", "7.51 % error, CIFAR-10"),
    cifar(44, f"{HE}, section 4.2", "7.17 % error, CIFAR-10"),
    cifar(56, f"{HE}, section 4.2", "6.97 % error, CIFAR-10"),
    cifar(110, f"{HE}, section 4.2", "6.43 % error, CIFAR-10"),
    cifar(1202, f"{HE}, section 4.2", "7.93 % error, CIFAR-10"),
    cifar(20, f"{HE}, section 4.2", kind="plain", shortcut="none"),
    cifar(32, f"{HE}, section 4.2", kind="plain", shortcut="none"),
    cifar(44, f"{HE}, section 4.2", kind="plain", shortcut="none"),
    cifar(56, f"{HE}, section 4.2", kind="plain", shortcut="none"),
    cifar(110, f"{HE}, section 4.2", "above 60 % error, CIFAR-10", "plain", shortcut="none"),
    cifar(164, f"{IDENTITY}, table 3", "5.93 % error, CIFAR-10", block="bottleneck", shortcut="projection"),
    cifar(1001, f"{IDENTITY}, table 3", "7.61 % error, CIFAR-10", block="bottleneck", shortcut="projection"),
    preactivation(18),
    preactivation(34),
    preactivation(50),
    preactivation(101),
    preactivation(152, "21.1 % top-1 error, 320 px"),
    preactivation(200, "20.7 % top-1 error, 320 px"),
    cifar_preactivation(20),
    cifar_preactivation(56),
    cifar_preactivation(110, "6.37 % error, CIFAR-10"),
    cifar_preactivation(164, "5.46 % error, CIFAR-10"),
    cifar_preactivation(1001, "4.92 % error, CIFAR-10"),
    resnext(50, 32, 4, "22.2 % top-1 error"),
    resnext(101, 32, 4, "21.2 % top-1 error"),
    resnext(101, 32, 8),
    resnext(101, 64, 4, "20.4 % top-1 error"),
    cifar_resnext(8, 64, "3.65 % error, CIFAR-10"),
    cifar_resnext(16, 64, "3.58 % error, CIFAR-10"),
    imagenet(50, f"{WIDE}, table 8", "21.9 % top-1 error", "wide{}-2", width_per_group=128),
    imagenet(101, f"after {WIDE}, table 8", "", "wide{}-2", width_per_group=128),
    wide(16, 4, "5.02 % error, CIFAR-10"),
    wide(16, 8, "4.27 % error, CIFAR-10"),
    wide(22, 8, "4.38 % error, CIFAR-10, ZCA"),
    wide(28, 10, "4.00 % error, CIFAR-10"),
    wide(40, 1, "6.85 % error, CIFAR-10, ZCA"),
    wide(40, 2, "5.33 % error, CIFAR-10, ZCA"),
    wide(40, 4, "4.53 % error, CIFAR-10"),
    wide(40, 10, "3.80 % error, with dropout"),
    imagenet(18, f"after {TRICKS}, section 4", "", "resnet{}c", stem="deep"),
    imagenet(34, f"after {TRICKS}, section 4", "", "resnet{}c", stem="deep"),
    imagenet(50, f"{TRICKS}, section 4", "23.13 % top-1 error", "resnet{}c", stem="deep"),
    imagenet(101, f"after {TRICKS}, section 4", "", "resnet{}c", stem="deep"),
    imagenet(152, f"after {TRICKS}, section 4", "", "resnet{}c", stem="deep"),
    imagenet(18, f"after {TRICKS}, section 4", "", "resnet{}d", stem="deep", shortcut="pooled"),
    imagenet(34, f"after {TRICKS}, section 4", "", "resnet{}d", stem="deep", shortcut="pooled"),
    imagenet(50, f"{TRICKS}, section 4", "22.84 % top-1 error", "resnet{}d", stem="deep", shortcut="pooled"),
    imagenet(101, f"after {TRICKS}, section 4", "", "resnet{}d", stem="deep", shortcut="pooled"),
    imagenet(152, f"after {TRICKS}, section 4", "", "resnet{}d", stem="deep", shortcut="pooled"),
    resnet_rs(50, 160, "21.2 % top-1 error"),
    resnet_rs(101, 192, "18.8 % top-1 error"),
    resnet_rs(152, 256, "17.0 % top-1 error"),
    resnet_rs(200, 256, "16.6 % top-1 error"),
    resnet_rs(270, 256, "16.2 % top-1 error"),
    resnet_rs(350, 320, "15.8 % top-1 error"),
    resnet_rs(420, 320, "15.6 % top-1 error"),
    imagenet(18, f"after {SENET}, table 2", "", "seresnet", attention="squeeze_excite"),
    imagenet(34, f"after {SENET}, table 2", "", "seresnet", attention="squeeze_excite"),
    imagenet(50, f"{SENET}, table 2", "23.29 % top-1 error", "seresnet", attention="squeeze_excite"),
    imagenet(101, f"{SENET}, table 2", "22.38 % top-1 error", "seresnet", attention="squeeze_excite"),
    imagenet(152, f"{SENET}, table 2", "21.57 % top-1 error", "seresnet", attention="squeeze_excite"),
    resnext(50, 32, 4, "21.10 % top-1 error", "seresnext"),
    resnext(101, 32, 4, "20.70 % top-1 error", "seresnext"),
    cifar_preactivation(110, "5.21 % error, CIFAR-10", f"{SENET}, table 4", "seresnet", "squeeze_excite"),
    cifar_preactivation(164, "4.39 % error, CIFAR-10", f"{SENET}, table 4", "seresnet", "squeeze_excite"),
    imagenet(18, f"{ECANET}, section 4.2", "29.22 % top-1 error", "ecaresnet", attention="eca"),
    imagenet(34, f"{ECANET}, section 4.2", "25.79 % top-1 error", "ecaresnet", attention="eca"),
    imagenet(50, f"{ECANET}, section 4.2", "22.52 % top-1 error", "ecaresnet", attention="eca"),
    imagenet(101, f"{ECANET}, section 4.2", "21.35 % top-1 error", "ecaresnet", attention="eca"),
    imagenet(152, f"{ECANET}, section 4.2", "21.08 % top-1 error", "ecaresnet", attention="eca"),
    imagenet(50, f"after {ECANET}, section 4.2", "", "ecaresnet{}d", stem="deep", shortcut="pooled", attention="eca"),
    densenet(121, "25.02 % top-1 error"),
    densenet(169, "23.80 % top-1 error"),
    densenet(201, "22.58 % top-1 error"),
    densenet(161, "22.2 % top-1 error", 48, f"after {DENSENET}, table 1, in the authors' code"),
    densenet(264, "22.15 % top-1 error"),
    cifar_densenet(40, 12, "5.24 % error, CIFAR-10"),
    cifar_densenet(100, 12, "4.10 % error, CIFAR-10"),
    cifar_densenet(100, 24, "3.74 % error, CIFAR-10"),
    cifar_densenet(100, 12, "4.51 % error, CIFAR-10", compressed=True),
    cifar_densenet(250, 24, "3.62 % error, CIFAR-10", compressed=True),
    cifar_densenet(190, 40, "3.46 % error, CIFAR-10", compressed=True),
    # Page's own classifier has no bias, and its outputs are divided by eight; ours is as everyone's.
    Architecture(
        "resnet9", PAGE, "small", "fast", (0, 1, 0, 1), (64, 128, 256, 512), "projection", image_size=32,
        transition="conv_pool", pooling="max", published="6 % error, CIFAR-10",
    ),
    # After the author's network of 64 and 256 channels, with a way around the second convolution of each stage, patches
    # of 3x3 instead of 2x2, and relu for gelu; and the same half as wide, for gray images.
    Architecture(
        "resnet8", f"after {JORDAN}, section 3", "whitening", "single", (0, 1, 1, 1), (32, 64, 256, 256), "projection",
        image_size=32, transition="conv_pool_norm", pooling="max",
    ),
    Architecture(
        "resnet8-half", f"after {JORDAN}, section 3", "whitening", "single", (0, 1, 1, 1), (32, 32, 128, 128),
        "projection", channels_in=1, image_size=28, transition="conv_pool_norm", pooling="max",
    ),
    Architecture(
        "mnist_resnet", TUTORIAL, "tutorial", "tutorial", (1, 1, 1, 0), (20, 40, 80, 160), "projection", channels_in=1,
        image_size=28, transition="pool_conv", norm="none", initial_weights="torch",
    ),
)  # fmt: skip

ARCHITECTURES: dict[str, Architecture] = {architecture.name: architecture for architecture in NAMED}

SMALL_IMAGE_TWINS: dict[str, str] = {
    "resnet18": "resnet20",
    "resnet34": "resnet32",
    "resnet50": "resnet56",
    "resnet101": "resnet110",
    "resnet152": "resnet110",
    "plain18": "plain20",
    "plain34": "plain32",
    "preresnet18": "preresnet20",
    "preresnet34": "preresnet56",
    "preresnet50": "preresnet56",
    "preresnet101": "preresnet110",
    "preresnet152": "preresnet164",
    "preresnet200": "preresnet164",
    "resnext50-32x4d": "resnext29-8x64d",
    "resnext101-32x4d": "resnext29-8x64d",
    "resnext101-32x8d": "resnext29-16x64d",
    "resnext101-64x4d": "resnext29-16x64d",
    "wide50-2": "wrn28-10",
    "wide101-2": "wrn40-4",
    "seresnet101": "seresnet110",
    "seresnet152": "seresnet164",
    "densenet121": "densenetbc100-12",
    "densenet169": "densenetbc100-12",
    "densenet201": "densenetbc100-12",
    "densenet161": "densenetbc100-12",
    "densenet264": "densenetbc100-12",
}
"""For networks made for large images, the one of like depth and kind that is made for small ones."""

ANY_SMALL_IMAGE = "resnet56"


def paper_classes(architecture: Architecture) -> int:
    """Return how many classes the papers tell apart: ImageNet's 1,000, or the 10 of CIFAR-10 and MNIST."""
    return 10 if architecture.image_size < SMALL_IMAGE else 1000


def small_image_twin(architecture: Architecture) -> str:
    """Return the name of the network to use instead on images under 64 pixels: its own where it is made for them."""
    if architecture.image_size < SMALL_IMAGE:
        return architecture.name
    return SMALL_IMAGE_TWINS.get(architecture.name, ANY_SMALL_IMAGE)


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
