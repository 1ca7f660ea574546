"""From a file to a tensor: one input object for training, evaluation, prediction and everything that ships."""

from plusx.inputs.image import ImageInput

INPUTS: dict[str, type[ImageInput]] = {"image": ImageInput}
