"""Progressive resizing: training images are small at first and grow, so that the first epochs cost little.

Small images early in training: Howard 2018, "Training ImageNet in 3 hours", fast.ai, for DAWNBench; Tan and Le 2021,
arXiv:2104.00298, section 3.2 ("progressive learning"). Networks whose features are averaged over the whole image take
any size.
"""

from plusx.training.recipe import Recipe

GROWN_IN = 4  # sizes before the final one at most: compiled training compiles each of them
FINE, COARSE = 4, 32  # what sides are multiples of: stages divide them by two, again and again
FINE_UP_TO = 64
LEAST = 8


def side(recipe: Recipe, epoch: int, height: int, width: int) -> tuple[int, int]:
    """Return the height and width of training images in an epoch.

    They grow from `first_size` of the final ones in equal steps, as many epochs each, and are final when `growing` of
    the epochs are over. Sides are multiples of 4, above 64 of 32, and at least 8; the final ones are as they are.

    Args:
        recipe: Its `first_size` and `growing` say how.
        epoch: From 0.
        height: The final one.
        width: The final one.
    """
    share = epoch / (recipe.growing * recipe.epochs)
    if recipe.first_size == 1 or share >= 1:
        return height, width
    grown = int(share * GROWN_IN) / GROWN_IN
    part = recipe.first_size + (1 - recipe.first_size) * grown
    return _rounded(part * height, height), _rounded(part * width, width)


def _rounded(wanted: float, final: int) -> int:
    multiple = FINE if wanted <= FINE_UP_TO else COARSE
    return min(final, max(LEAST, multiple * round(wanted / multiple)))
