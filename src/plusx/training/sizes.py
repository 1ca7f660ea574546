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

    They grow in equal steps, as many epochs each, from `first_size` to `last_size`, which they have when `growing` of
    the epochs are over, and in the last epoch. On their way they are multiples of 4, above 64 of 32, and at least 8.

    Args:
        recipe: Its `first_size`, `last_size` and `growing` say how.
        epoch: From 0.
        height: That of the images that are scored.
        width: Theirs.
    """
    share, last = epoch / (recipe.growing * recipe.epochs), recipe.last_size
    height, width = max(1, round(last * height)), max(1, round(last * width))
    if recipe.first_size >= last or share >= 1 or epoch + 1 >= recipe.epochs:
        return height, width
    grown = int(share * GROWN_IN) / GROWN_IN
    part = (recipe.first_size + (last - recipe.first_size) * grown) / last
    return _rounded(part * height, height), _rounded(part * width, width)


def _rounded(wanted: float, final: int) -> int:
    multiple = FINE if wanted <= FINE_UP_TO else COARSE
    return min(final, max(LEAST, multiple * round(wanted / multiple)))
