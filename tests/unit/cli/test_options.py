"""Options written by hand stay those of the dataclasses that they change, and help needs no torch."""

import dataclasses
import subprocess
import sys
import typing

import pytest

from plusx import plan, request
from plusx.api import TrainOptions
from plusx.cli.options import (
    AugmentationOptions,
    DataOptions,
    DeviceOptions,
    ModelOptions,
    RecipeOptions,
    RunOptions,
    TrialOptions,
    given,
)

OF_PLAN = (ModelOptions, DataOptions, RecipeOptions, AugmentationOptions, DeviceOptions, TrialOptions, RunOptions)
OF_THE_COMMAND = {"dry_run", "out", "name"}


def without_none(hint):
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return kinds[0] if type(None) in typing.get_args(hint) else hint


def options():
    return {
        name: without_none(hint)
        for group in OF_PLAN
        for name, hint in typing.get_type_hints(group).items()
        if name not in OF_THE_COMMAND
    }


def test_names_and_types_are_those_of_the_python_function():
    assert options() == typing.get_type_hints(TrainOptions)


@pytest.mark.parametrize("name", sorted(options()))
def test_each_option_changes_a_field_of_its_type(name):
    kind = plan.Run if name in {f.name for f in dataclasses.fields(plan.Run)} else plan.PARTS[request.part_of(name)]
    if name != "image_size":
        assert typing.get_type_hints(kind)[name] == options()[name]


def test_every_field_of_run_recipe_input_and_task_is_an_option():
    kinds = [plan.Run, *(plan.PARTS[name] for name in ("recipe", "input", "task"))]
    fields = {f.name for kind in kinds for f in dataclasses.fields(kind)} - plan.NOT_OPTIONS - {"source"}
    assert fields <= set(options())


def test_nothing_given_is_nothing_asked():
    assert given(*(group() for group in OF_PLAN)) == {}


def test_given_options_are_asked_and_no_others():
    assert given(RecipeOptions(epochs=3), AugmentationOptions(flip=False), TrialOptions(dry_run=True)) == {
        "epochs": 3,
        "flip": False,
    }


@pytest.mark.parametrize("command", ["", "train", "evaluate", "predict", "show", "resume", "lr-find"])
def test_help_loads_nothing_heavy(command):
    code = (
        "import sys; from plusx.cli import main; code = main(sys.argv[1:]); "
        "heavy = {'torch', 'numpy', 'sklearn', 'torchvision', 'matplotlib', 'PIL', 'yaml'} & set(sys.modules); "
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split(), "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: plusx {command}".rstrip())
