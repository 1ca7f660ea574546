"""`plusx evaluate`: score a trained network on its own test split or on another source."""

from pathlib import Path
from typing import Annotated

from plusx.cli.console import Screen
from plusx.cli.options import OutputOptions, group, option

FIRST = (
    "A run's folder, whose best weights are meant: runs/digits-1; or a checkpoint; or published weights, by name: "
    "resnet50:imagenet1k-v2; or an architecture's name, with --weights."
)
WEIGHTS = "Weights of the architecture: a file, a folder, or a published name."
NO_OUTPUT = OutputOptions()


def evaluate(
    network: Annotated[str, option(FIRST)],
    source: Annotated[str, option("What to score it on, as for plusx train.", "the run's own data")] = "",
    /,
    *,
    weights: Annotated[str, option(WEIGHTS)] = "",
    split: Annotated[str, option("train, validation or test.", "test")] = "",
    include_training: Annotated[
        bool, option("Score samples that the network was trained on or chosen by, too.", negative=())
    ] = False,
    output: Annotated[
        Path | None, option("Folder for scores and predictions as CSV and JSON.", "inside the run's folder")
    ] = None,
    data_root: Annotated[
        Path | None, option("Folder in which named data sets are looked for first.", "$PLUSX_DATA, the cache")
    ] = None,
    download: Annotated[bool, option("Download a named data set that is nowhere.", negative=())] = False,
    strict: Annotated[bool, option("A file that cannot be read stops the command.", negative=())] = False,
    device: Annotated[str, option("auto, cpu, cuda, cuda:N.", "auto")] = "auto",
    batch_size: Annotated[int, option("Images that are answered together.", "64")] = 64,
    shown: Annotated[OutputOptions, group("Output", 1)] = NO_OUTPUT,
) -> None:
    """Score a trained network, with a 95 % interval on every score.

    Without a source, a run is scored on the test split that it kept aside. Of another source, what the network was
    trained on or chosen by is recognized by its content, left out and counted.
    """
    screen = Screen(json=shown.json, quiet=shown.quiet)
    from plusx import assessment

    work = assessment.evaluate(
        network,
        source,
        weights=weights,
        split=split,
        include_training=include_training,
        output=output,
        data_root=data_root,
        download=download,
        strict=strict,
        device=device,
        batch_size=batch_size,
    )
    screen.result(screen.follow(work).to_dict())
