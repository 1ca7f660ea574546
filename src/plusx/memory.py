"""The process's memory: how much it may still take, what becomes of a lack of it, and what becomes of what is freed.

Linux promises memory that it does not have, and kills the process that uses it. `bounded` has it promise no more than
there is: then a lack is an error, which training answers by dividing the step.

The C library returns large blocks to the system at once; a step's tensors are large, and the pages of each new one are
first filled with zeros. GNU's library can be told otherwise (man 3 mallopt), and `kept` does so; others are left as
they are.
"""

import ctypes
import platform
import re
import textwrap
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from plusx import launch
from plusx.errors import PlusxError

try:
    import resource
except ImportError:  # Windows
    resource = None

# What torch says of it without a class for it; last what oneDNN says where there is no room for its code.
NO_MEMORY = ("can't allocate memory", "out of memory", "could not create a primitive", "bad_alloc")
SHARE = 0.85  # of what is free; the rest is for other programs, and for files that the kernel holds in memory
LESS = "use a smaller --batch-size, --image-size or --model, fewer processes or --workers, or end other programs"
GROUPS = Path("/sys/fs/cgroup")
DROPPED = ("active_file", "inactive_file", "slab_reclaimable")
"""Of memory.stat: what a group's files take, which the kernel drops before it lets a process lack memory."""
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h."""
MOST_BYTES = (2**30, 2**25)
"""The thresholds within the block: older libraries allow no more than the second for MMAP_THRESHOLD."""
LATER_BYTES = {MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26}
"""Those behind it: once set they no longer adapt themselves, and these are the largest that they come to."""


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(words in str(error).lower() for words in NO_MEMORY)


def shortly(error: BaseException) -> str:
    """Return what an error says of the memory, in one line."""
    said = re.sub(r"\[enforce[^]]*\] err == 0\. ", "", str(error))  # where in torch's own source
    return textwrap.shorten(said, 160, placeholder=" ...") or "the memory is used up"


@contextmanager
def bounded(instead: str = LESS) -> Generator[None]:
    """Let the process take no more memory inside the block than is free now, so that a lack is an error.

    The ranks of a machine share what is free. Nothing is limited elsewhere than on Linux, nor where there is a GPU,
    whose driver is promised much that it never uses.

    Args:
        instead: What the user can do.

    Raises:
        PlusxError: The memory was not enough, and nothing in the block could do with less.
    """
    free = available()
    try:
        with _limited(max(1, int(SHARE * free) // launch.local_ranks()) if free else 0):
            yield
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        own = free and not torch.cuda.is_available()  # else it may be the GPU's that lacks
        found = f"; {free / 1e9:,.1f} GB were free in the beginning" if own else ""
        raise PlusxError(f"the memory is not enough ({shortly(error)}{found}); {instead}") from error


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


def available() -> int:
    """Return how many bytes this machine, and the group that this process is in, can still give; 0 if unknown."""
    found = _numbers(Path("/proc/meminfo"))
    if "MemAvailable" not in found:
        return 0
    return max(1, min([1024 * (found["MemAvailable"] + found.get("SwapFree", 0)), *_left_in_groups()]))


def _left_in_groups() -> Iterator[int]:
    """What the limits of the process's control groups leave; what can be dropped from memory counts as free.

    The numbers of version 1 that include a group's own groups, as its usage does, begin with "total_".
    """
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root, limit, used = (
            (GROUPS / controllers, "memory.limit_in_bytes", "memory.usage_in_bytes")
            if controllers
            else (GROUPS, "memory.max", "memory.current")
        )
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            most, taken = _text(folder / limit).strip(), _text(folder / used).strip()
            if most.isdecimal() and taken.isdecimal():
                held = _numbers(folder / "memory.stat")
                dropped = sum(held.get(f"total_{name}", held.get(name, 0)) for name in DROPPED)
                yield int(most) - max(0, int(taken) - dropped)
            if folder == root:
                break


@contextmanager
def _limited(more: int) -> Generator[None]:
    """Limit the process's data to what it has and so many bytes more."""
    held = _numbers(Path("/proc/self/status")).get("VmData", 0)
    if resource is None or not (more and held) or torch.cuda.is_available():
        yield
        return
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [1024 * held + more, *(one for one in (before, hard) if one != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def _numbers(path: Path) -> dict[str, int]:
    """The lines "name number" and "name: number" of a file of the kernel's."""
    rows = (line.replace(":", " ").split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8")
    return ""
