"""The compiled kernels, loaded once a process, and the one sentence that says whether they are in use."""

import ctypes
import os
from functools import cache

from plusx.kernels.compilation import Unavailable, compiled

SWITCH = "PLUSX_KERNELS"


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernels; None where torch's operators are to be used."""
    return _loaded()[0]


def describe() -> str:
    """Say in words what computes norms and small convolutions in training on the CPU."""
    loaded, reason = _loaded()
    return "fused kernels" if loaded else f"torch's operators ({reason})"


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
    _loaded.cache_clear()
