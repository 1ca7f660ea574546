"""Stems: the first layers, from an image to what the first stage takes.

He et al. 2015, arXiv:1512.03385, table 1 (ImageNet) and section 4.2 (CIFAR-10); He et al. 2018, "Bag of tricks",
arXiv:1812.01187, figure 2b (the deep stem of ResNet-C and -D); Bello et al. 2021, "Revisiting ResNets",
arXiv:2103.07579, section 4 (its form without a max-pool); Jordan 2024, arXiv:2404.00498, section 3.1 (a stem that
whitens). A bare stem has no norm, because the first block begins with
one (He et al. 2016, arXiv:1603.05027; Huang et al. 2016, arXiv:1608.06993).

Shape letters: B batch, C channels, * spatial axes.
"""

import torch
from torch import Tensor, nn

from plusx.network.normalized import normalized
from plusx.network.parts import Parts


class Stem(nn.Module):
    """What a network begins with.

    Args:
        channels_in: Channels of the image.
        channels: Channels that go out.
        parts: The network's parts.
    """

    stride: int
    """By what it divides the image's sides, rounded up."""
    learned_images = 0
    """How many training images `learn` wants to see."""

    def __init__(self, channels_in: int, channels: int, parts: Parts) -> None:  # noqa: ARG002 - the family's
        super().__init__()

    def learn(self, images: Tensor) -> None:
        """Take from training images (B, channels_in, *), before training, what the stem is to know of them."""


class ImageNetStem(Stem):
    """7x7 convolution of stride 2, then a 3x3 max-pool of stride 2 (arXiv:1512.03385, table 1, conv1 and conv2_x)."""

    stride = 4

    def __init__(self, channels_in: int, channels: int, parts: Parts) -> None:
        super().__init__(channels_in, channels, parts)
        self.conv = parts.conv(channels_in, channels, 7, stride=2)
        self.norm = parts.norm(channels)
        self.activation = parts.activation()
        self.pool = parts.axes.max_pool(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, channels, */4)."""
        return self.pool(normalized(self.norm, x, conv=self.conv, activation=self.activation))


class BareImageNetStem(Stem):
    """7x7 convolution of stride 2, then a 3x3 max-pool of stride 2, and no norm.

    In the networks of arXiv:1603.05027 (section 5) the first norm and activation stand before the max-pool; here the
    first block has them, behind it, as in timm's.
    """

    stride = 4

    def __init__(self, channels_in: int, channels: int, parts: Parts) -> None:
        super().__init__(channels_in, channels, parts)
        self.conv = parts.conv(channels_in, channels, 7, stride=2)
        self.pool = parts.axes.max_pool(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, channels, */4)."""
        return self.pool(self.conv(x))


class ThreeConvolutions(Stem):
    """Three 3x3 convolutions, the first of stride 2 (arXiv:1812.01187, figure 2b): the beginning of both deep stems."""

    stride = 4

    def __init__(self, channels_in: int, channels: int, parts: Parts) -> None:
        super().__init__(channels_in, channels, parts)
        narrow = max(1, channels // 2)
        self.conv1 = parts.conv(channels_in, narrow, 3, stride=2)
        self.norm1 = parts.norm(narrow)
        self.conv2 = parts.conv(narrow, narrow, 3)
        self.norm2 = parts.norm(narrow)
        self.conv3 = parts.conv(narrow, channels, 3)
        self.norm3 = parts.norm(channels)
        self.activation = parts.activation()

    def halved(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, channels, */2)."""
        x = normalized(self.norm1, x, conv=self.conv1, activation=self.activation)
        x = normalized(self.norm2, x, conv=self.conv2, activation=self.activation)
        return normalized(self.norm3, x, conv=self.conv3, activation=self.activation)


class DeepStem(ThreeConvolutions):
    """Three 3x3 convolutions, the first of stride 2, then a 3x3 max-pool of stride 2 (arXiv:1812.01187, figure 2b)."""

    def __init__(self, channels_in: int, channels: int, parts: Parts) -> None:
        super().__init__(channels_in, channels, parts)
        self.pool = parts.axes.max_pool(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, channels, */4)."""
        return self.pool(self.halved(x))


class StridedDeepStem(ThreeConvolutions):
    """The deep stem with a fourth 3x3 convolution, of stride 2, for the max-pool (arXiv:2103.07579, section 4).

    So it is in the authors' code and in timm; the paper's text gives that stride to the bottleneck that follows.
    """

    def __init__(self, channels_in: int, channels: int, parts: Parts) -> None:
        super().__init__(channels_in, channels, parts)
        self.conv4 = parts.conv(channels, channels, 3, stride=2)
        self.norm4 = parts.norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, channels, */4)."""
        return normalized(self.norm4, self.halved(x), conv=self.conv4, activation=self.activation)


class SmallStem(Stem):
    """One 3x3 convolution that keeps the size (arXiv:1512.03385, section 4.2)."""

    stride = 1

    def __init__(self, channels_in: int, channels: int, parts: Parts) -> None:
        super().__init__(channels_in, channels, parts)
        self.conv = parts.conv(channels_in, channels, 3)
        self.norm = parts.norm(channels)
        self.activation = parts.activation()

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, channels, *)."""
        return normalized(self.norm, x, conv=self.conv, activation=self.activation)


class BareSmallStem(Stem):
    """One 3x3 convolution that keeps the size, and no norm (arXiv:1605.07146, table 1)."""

    stride = 1
    size = 3

    def __init__(self, channels_in: int, channels: int, parts: Parts) -> None:
        super().__init__(channels_in, channels, parts)
        self.conv = parts.conv(channels_in, channels, self.size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, channels, *)."""
        return self.conv(x)


class TutorialStem(BareSmallStem):
    """One 5x5 convolution that keeps the size, and nothing after it: the beginning of `mnist_resnet`."""

    size = 5


class WhiteningStem(Stem):
    """A 3x3 convolution that keeps the size and makes the pixels of each patch independent, and an activation.

    Its filters are eigenvectors of the covariance of training images' patches, each with both signs and divided by the
    root of its eigenvalue, those of the largest eigenvalues first; they are not trained, what is added to each channel
    is. Filters beyond twice the numbers of a patch, and all where no images were seen, stay as they were drawn.
    Jordan 2024, arXiv:2404.00498, section 3.1, after D. Page 2019; there the patches are 2x2.
    """

    stride = 1
    learned_images = 1_000
    least = 5e-4
    """Added to the eigenvalues, so that what hardly varies is not blown up (eps in the author's code)."""

    def __init__(self, channels_in: int, channels: int, parts: Parts) -> None:
        super().__init__(channels_in, channels, parts)
        self.conv = parts.axes.conv(channels_in, channels, 3, bias=True)
        self.conv.weight.requires_grad = False
        self.activation = parts.activation()

    @torch.no_grad()
    def learn(self, images: Tensor) -> None:
        """Make the filters of images (B, channels_in, *)."""
        patches = images.double()
        for axis in range(2, images.ndim):
            patches = patches.unfold(axis, 3, 1)
        axes = images.ndim - 2
        patches = patches.movedim(1, images.ndim - 1).flatten(0, axes).flatten(1)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / (values + self.least).sqrt()).T.flip(0)[: self.conv.out_channels // 2]
        both = torch.cat([filters, -filters]).reshape(-1, *self.conv.weight.shape[1:])
        self.conv.weight[: len(both)] = both.to(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, *) -> (B, channels, *)."""
        return self.activation(self.conv(x))


STEMS: dict[str, type[Stem]] = {
    "imagenet": ImageNetStem,
    "imagenet_bare": BareImageNetStem,
    "deep": DeepStem,
    "deep_strided": StridedDeepStem,
    "small": SmallStem,
    "small_bare": BareSmallStem,
    "tutorial": TutorialStem,
    "whitening": WhiteningStem,
}
