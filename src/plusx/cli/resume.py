"""`plusx resume`: go on with a run where its state was last saved."""

from pathlib import Path
from typing import Annotated

from plusx.cli.console import Screen
from plusx.cli.options import OutputOptions, group, option, switch

NO_OUTPUT = OutputOptions()


def resume(
    run: Annotated[Path, option("The run's folder: runs/digits-1.")],
    /,
    *,
    anyway: Annotated[
        bool, switch("Go on where versions, device or threads differ and the bits may, too; the report says so.")
    ] = False,
    output: Annotated[OutputOptions, group("Output", 1)] = NO_OUTPUT,
) -> None:
    """Go on with a run that was stopped, as if it never had been."""
    screen = Screen(json=output.json, quiet=output.quiet)
    from plusx import experiment

    result = screen.follow(experiment.resume(run, anyway=anyway))
    screen.result(result.to_dict())
