"""`plusx lr-find`: search for the learning rate of a run, with the options of `plusx train`."""

from pathlib import Path
from typing import Annotated

from plusx.cli.console import Screen
from plusx.cli.options import (
    AugmentationOptions,
    DataOptions,
    DeviceOptions,
    ModelOptions,
    OutputOptions,
    RecipeOptions,
    given,
    group,
    option,
)
from plusx.cli.train import NO_AUGMENTATION, NO_DATA, NO_DEVICE, NO_MODEL, NO_OUTPUT, NO_RECIPE, SOURCE


def lr_find(
    source: Annotated[str, option(SOURCE)] = "",
    /,
    *,
    config: Annotated[Path | None, option("A config.yaml whose values stand where no option is given.")] = None,
    lowest: Annotated[float, option("The first learning rate.", "1e-7")] = 1e-7,
    highest: Annotated[float, option("The last one, if the loss does not explode before it.", "10")] = 10.0,
    rates: Annotated[int, option("How many are tried, a step each.", "200")] = 200,
    out: Annotated[Path, option("Folder in which one for the curve is made.", "lr-find")] = Path("lr-find"),
    model: Annotated[ModelOptions, group("Model", 1, "As of plusx train.")] = NO_MODEL,
    data: Annotated[DataOptions, group("Data", 2)] = NO_DATA,
    recipe: Annotated[RecipeOptions, group("Recipe", 3)] = NO_RECIPE,
    augmentation: Annotated[AugmentationOptions, group("Augmentation", 4)] = NO_AUGMENTATION,
    device: Annotated[DeviceOptions, group("Device", 5)] = NO_DEVICE,
    output: Annotated[OutputOptions, group("Output", 7)] = NO_OUTPUT,
) -> None:
    """Try learning rates, each a step with a copy of the network, and show where the loss falls fastest.

    Smith 2015, arXiv:1506.01186, section 3.3. Nothing is trained; the curve is written as CSV, PNG and SVG.
    """
    screen = Screen(json=output.json, quiet=output.quiet)
    from plusx import rate_search, request

    asked = request.request(source, config=config, options=given(model, recipe, augmentation, data, device))
    work = rate_search.search(asked, out=out, lowest=lowest, highest=highest, steps=rates)
    screen.result(screen.follow(work).to_dict())
