"""What this process was given: its place among torchrun's ranks, and its cores; and how to start others like it.

Loads no torch, because the command line asks before anything heavy is needed.
"""

import os
import shlex
import socket
import time
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 5.0  # seconds
SPOKEN_HERE = "spoken_here"
"""The attribute of an error that it falls to this process to say, though it is not the first rank."""


@dataclass(frozen=True)
class Place:
    """One process's place among those that torchrun started.

    Attributes:
        rank: Which it is, from 0.
        ranks: How many there are.
        local_rank: Which it is on its machine, from 0.
        local_ranks: How many there are on its machine.
        machine: Which machine it is on, from 0.
        attempt: How often torchrun has started all ranks again after one of this machine's failed.
        address: Host and port at which the ranks meet.
        served: Whether torchrun itself keeps the store there; the first rank does otherwise.
    """

    rank: int
    ranks: int
    local_rank: int
    local_ranks: int
    machine: int
    attempt: int
    address: tuple[str, int]
    served: bool


def place() -> Place | None:
    """Return this process's place, or None where torchrun did not start it."""
    given = os.environ
    if "TORCHELASTIC_RUN_ID" not in given or "RANK" not in given or "WORLD_SIZE" not in given:
        return None
    return Place(
        rank=int(given["RANK"]),
        ranks=int(given["WORLD_SIZE"]),
        local_rank=int(given.get("LOCAL_RANK", "0")),
        local_ranks=int(given.get("LOCAL_WORLD_SIZE", given["WORLD_SIZE"])),
        machine=int(given.get("GROUP_RANK", "0")),
        attempt=int(given.get("TORCHELASTIC_RESTART_COUNT", "0")),
        address=(given.get("MASTER_ADDR", "localhost"), int(given.get("MASTER_PORT", "29500"))),
        served=given.get("TORCHELASTIC_USE_AGENT_STORE") == str(True),
    )


def is_first() -> bool:
    """Whether this process is the one that writes and speaks: the first rank, or the only process."""
    here = place()
    return here is None or here.rank == 0


def wait_for_first(error: BaseException) -> None:
    """Let the first rank say an error before this one does; of several that all meet it, one does.

    Before the ranks have met nobody knows whether the first meets it too. It gets the time to say so; then torchrun
    ends this process, or else it was this one's alone.
    """
    if not (is_first() or getattr(error, SPOKEN_HERE, False)):
        time.sleep(PATIENCE)


def local_ranks() -> int:
    """Return how many processes share this machine."""
    here = place()
    return here.local_ranks if here else 1


def cores() -> int:
    """Return how many of the machine's cores this process may use: under Slurm or in a container often not all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """Return how many CPU threads this process should use, or 0 where torch's own choice is right.

    The ranks of a machine share its cores. torchrun sets OMP_NUM_THREADS to 1 where nobody set it, so 1 counts as not
    set; any other number was meant.
    """
    here = place()
    if here is None or os.environ.get("OMP_NUM_THREADS", "1") != "1":
        return 0
    return max(1, cores() // here.local_ranks)


def resuming(path: Path) -> str:
    """Return the command that resumes a run with as many processes as there are now."""
    here, command = place(), f"plusx resume {shlex.quote(str(path))}"
    if here is None or here.ranks == 1:
        return command
    where = f"--nproc-per-node {here.ranks}" if here.ranks == here.local_ranks else "..."  # on several machines
    return f"torchrun {where} -m {command}"


def starter() -> str:
    """Name the process that started this one, so that no other at any other time has the same name.

    It is torchrun's, which stays when it starts its ranks again: by it a restart is known from another job.
    """
    parent = os.getppid()
    began = _read(Path(f"/proc/{parent}/stat")).rpartition(")")[2].split()
    boot = _read(Path("/proc/sys/kernel/random/boot_id")).strip()
    job = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return f"{job} {socket.gethostname()} {boot} {parent} {began[19] if len(began) > 19 else ''}".strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
