"""The compiled kernels, loaded once a process, and the one sentence that says whether they are in use."""

import ctypes
import os
from functools import cache

import torch

from plusx.kernels.compilation import Unavailable, capabilities, compiled, edition

SWITCH = "PLUSX_KERNELS"


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernels; None where torch's operators are to be used."""
    return _loaded()[0]


def is_traced() -> bool:
    """Whether torch is looking at what would be computed, to compile or to export it: kernels are nothing it can see.

    To be asked before anything else, since the compiler cannot see all that is asked of a tensor either.
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def describe() -> str:
    """Say in words what computes norms and convolutions in training on the CPU."""
    loaded, reason = _loaded()
    if not loaded:
        return f"torch's operators ({reason})"
    return "fused norms and convolutions" if convolves() else "fused norms"


@cache
def identity() -> str:
    """Say what decides the kernels' bits: what `describe` says, and which edition of them it is."""
    return f"{describe()}, edition {edition()}" if library() else describe()


@cache
def convolves() -> bool:
    """Whether convolutions are among them: not where the processor multiplies whole tiles, as only torch's do (AMX)."""
    return library() is not None and not capabilities().get("amx_bf16")


@cache
def knows(*sizes: int) -> bool:
    """Whether the kernels know a convolution of these sizes: those that plusx_convolves in convolution.cpp takes."""
    found = library()
    return found is not None and bool(found.plusx_convolves(*map(ctypes.c_long, sizes)))


@cache
def _loaded() -> tuple[ctypes.CDLL | None, str]:
    if os.environ.get(SWITCH, "").lower() in {"off", "0", "no", "false"}:
        return None, f"{SWITCH} is off"
    try:
        return ctypes.CDLL(str(compiled())), ""
    except Unavailable as reason:
        return None, str(reason)
    except OSError as error:
        return None, f"the compiled kernels cannot be loaded: {error}"


def forget() -> None:
    """Look for the kernels anew at their next use: what they depend on has changed."""
    library.cache_clear()
    convolves.cache_clear()
    knows.cache_clear()
    identity.cache_clear()
    _loaded.cache_clear()
