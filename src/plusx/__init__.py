"""plusx: residual networks, y = F(x) + x, from a folder of images to a trained network.

The public names are below; each is imported when it is first used, so `import plusx` loads no torch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plusx.api import evaluate, load, model, resume, train
    from plusx.checkpoint import Checkpoint
    from plusx.errors import CheckpointError, DataError, PlusxError, Stopped, StorageError, UsageError
    from plusx.network.architecture import Architecture
    from plusx.network.architectures import ARCHITECTURES
    from plusx.predict import Answer, Predictor
    from plusx.training.recipe import Recipe
    from plusx.training.recipes import RECIPES

    __version__: str

__all__ = [
    "ARCHITECTURES",
    "RECIPES",
    "Answer",
    "Architecture",
    "Checkpoint",
    "CheckpointError",
    "DataError",
    "PlusxError",
    "Predictor",
    "Recipe",
    "Stopped",
    "StorageError",
    "UsageError",
    "__version__",
    "evaluate",
    "load",
    "model",
    "resume",
    "train",
]

HOMES = {
    "ARCHITECTURES": "plusx.network.architectures",
    "Architecture": "plusx.network.architecture",
    "Answer": "plusx.predict",
    "Checkpoint": "plusx.checkpoint",
    "CheckpointError": "plusx.errors",
    "DataError": "plusx.errors",
    "PlusxError": "plusx.errors",
    "Predictor": "plusx.predict",
    "RECIPES": "plusx.training.recipes",
    "Recipe": "plusx.training.recipe",
    "Stopped": "plusx.errors",
    "StorageError": "plusx.errors",
    "UsageError": "plusx.errors",
    "evaluate": "plusx.api",
    "load": "plusx.api",
    "model": "plusx.api",
    "resume": "plusx.api",
    "train": "plusx.api",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return version("plusx")
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    raise AttributeError(f"module 'plusx' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
