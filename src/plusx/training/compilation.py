"""Compiling a network's training with torch.compile.

Compiled code does other roundings than what is computed step by step, so whether a run is compiled is decided once and
kept with it.
"""

import os
import subprocess
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

INDIFFERENT = ("CACHE", "COMPILE_THREADS")  # parts of the names of settings that decide no bits
LIMITS: dict[str, Any] = {"recompile_limit": 256, "fail_on_recompile_limit_hit": True}


@cache
def identity() -> str:
    """Say what decides the bits of compiled code besides torch: the compilers that it is given to, and its settings."""
    compiler = os.environ.get("CXX", "g++")
    try:
        said = subprocess.check_output([compiler, "--version"], text=True)  # noqa: S603 - the user's own
    except (OSError, subprocess.CalledProcessError):
        said = ""
    try:
        triton = f", triton {version('triton')}" if torch.cuda.is_available() else ""
    except PackageNotFoundError:
        triton = ""
    settings = sorted(
        name
        for name in os.environ
        if name.startswith("TORCHINDUCTOR_") and not any(part in name for part in INDIFFERENT)
    )
    return "".join(
        [
            "by ",
            said.partition("\n")[0] or f"no {compiler}",
            triton,
            *(f", {name}={os.environ[name]}" for name in settings),
        ]
    )


def compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a network as compiled code, which shares its weights; each new size of a batch is compiled anew.

    After eight of them torch would go on without compiling and say so in its log: with other bits, and from another
    step on in a process that resumed the run in the middle. So there are many more, and an error after those.
    """
    from torch._dynamo import config  # takes a second to import

    compiled_network: Any = torch.compile(network, dynamic=False)

    def answer(images: Tensor) -> Tensor:
        with config.patch(LIMITS):
            return compiled_network(images)

    return answer
