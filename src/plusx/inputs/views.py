"""Views: what of an image a network is shown when it answers; its outputs are averaged over them.

Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks", section 4.1,
average the probabilities of ten crops; here, as in Jordan 2024, arXiv:2404.00498, section 3.5, whose views these are,
it is the outputs before the softmax.

Shape letters: B images, C channels, h and w height and width.
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import pad

VIEWS = {
    "one": "the image as it is",
    "flip": "the image and its mirror image",
    "shift": "these two, and both shifted by a pixel up and left, and down and right: six views",
}
Answer = Callable[[Tensor], Tensor]


def averaged(answer: Answer, images: Tensor, views: str, *, mirrored: bool) -> Tensor:
    """Return a network's outputs for images, averaged over their views.

    Of "shift" the views that are not shifted weigh as much as those that are, together. What a shift moves in is
    mirrored at the image's edge.

    Args:
        answer: From prepared images (B, C, h, w) to outputs.
        images: As the input prepares them.
        views: A key of VIEWS.
        mirrored: Whether mirror images are among them: a network that never saw any would be misled.
    """
    if views == "one" or (views == "flip" and not mirrored):
        return answer(images)
    if views == "flip":
        return (answer(images) + answer(images.flip(-1))) / 2
    height, width = images.shape[-2:]
    around = pad(images, (1, 1, 1, 1), mode="reflect")
    corners = (around[..., :height, :width], around[..., 2:, 2:])
    shifted = [averaged(answer, corner, "flip", mirrored=mirrored) for corner in corners]
    return (averaged(answer, images, "flip", mirrored=mirrored) + (shifted[0] + shifted[1]) / 2) / 2
