"""`plusx train`: train a network on a source, score it, and write its report."""

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
    RunOptions,
    TrialOptions,
    given,
    group,
    option,
)

SOURCE = (
    "digits, mnist, fashion-mnist, cifar10 or cifar100; a folder with one folder of images for each class, or with "
    "train/, val/ and test/ that hold these; a .csv, .tsv or .jsonl with the columns path, class and, if you like, "
    "split and group."
)

# Nothing given, in every group. They are constants because a default is made once, whatever it is.
NO_DATA, NO_MODEL, NO_RECIPE, NO_AUGMENTATION = DataOptions(), ModelOptions(), RecipeOptions(), AugmentationOptions()
NO_DEVICE, NO_TRIAL, NO_RUN, NO_OUTPUT = DeviceOptions(), TrialOptions(), RunOptions(), OutputOptions()


def train(
    source: Annotated[str, option(SOURCE)] = "",
    /,
    *,
    config: Annotated[Path | None, option("A config.yaml whose values stand where no option is given.")] = None,
    model: Annotated[ModelOptions, group("Model", 1, "What is not given comes from the model.")] = NO_MODEL,
    data: Annotated[DataOptions, group("Data", 2)] = NO_DATA,
    recipe: Annotated[RecipeOptions, group("Recipe", 3, "What is not given comes from the recipe.")] = NO_RECIPE,
    augmentation: Annotated[
        AugmentationOptions, group("Augmentation", 4, "Of training images only.")
    ] = NO_AUGMENTATION,
    device: Annotated[DeviceOptions, group("Device", 5)] = NO_DEVICE,
    trial: Annotated[TrialOptions, group("Trying out", 6)] = NO_TRIAL,
    run: Annotated[RunOptions, group("Output", 7)] = NO_RUN,
    output: Annotated[OutputOptions, group("Output", 7)] = NO_OUTPUT,
) -> None:
    """Train a network on images, score it once on the test split, and write a report.

    Whatever is not given is chosen from the data and the recipe, printed in the first screen, and kept in the run's
    config.yaml. An option changes that one value and no other.
    """
    screen = Screen(json=output.json, quiet=output.quiet)
    from plusx import experiment, request

    options = given(model, recipe, augmentation, data, device, trial, run)
    asked = request.request(source, config=config, options=options)
    result = screen.follow(experiment.run(asked, out=Path(run.out), name=run.name, dry=trial.dry_run))
    screen.result(result.to_dict())
