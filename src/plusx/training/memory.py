"""Memory that one step frees is kept for the next, instead of being given back to the system and asked for again.

The C library returns large blocks to the system at once; a step's tensors are large, and the pages of each new one are
first filled with zeros. GNU's library can be told otherwise (man 3 mallopt); others are left as they are.
"""

import ctypes
import platform
from collections.abc import Generator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h."""
MOST_BYTES = (2**30, 2**25)
"""The thresholds within the block: older libraries allow no more than the second for MMAP_THRESHOLD."""
LATER_BYTES = {MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26}
"""Those behind it: once set they no longer adapt themselves, and these are the largest that they come to."""


@contextmanager
def kept(kind: str) -> Generator[None]:
    """Keep what is freed within the block; behind it, give all of it back.

    Args:
        kind: The device's type; only of the "cpu" is this memory.
    """
    library = ctypes.CDLL(None) if kind == "cpu" and platform.libc_ver()[0] == "glibc" else None
    if library is None:
        yield
        return
    for threshold in LATER_BYTES:
        any(library.mallopt(threshold, most) for most in MOST_BYTES)
    try:
        yield
    finally:
        for threshold, later in LATER_BYTES.items():
            library.mallopt(threshold, later)
        library.malloc_trim(0)
