"""Processes that read steps ahead of training, each its own part of every step, and that are replaced when they die.

Each process has a pipe of its own and takes its parts in order, so nothing is shared that a killed one could leave
locked, and what it was doing when it died is known: the first part that did not arrive. Pixels do not go through the
pipe but through memory that all share; it is mapped without a name, since containers often have 64 MB of /dev/shm.

Shape letters: B samples of a step, * the shape of one sample.
"""

import atexit
import copy
import math
import mmap
import multiprocessing
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from plusx.data.dataset import listed
from plusx.data.reading import Reading, Unreadable
from plusx.data.steps import Step, share
from plusx.errors import DataError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

AHEAD = 3  # steps that are read before the first of them is given back; memory is held for as many
DEATHS = 3  # of a worker at one step, after which the step is to blame
PATIENCE = 0.5  # seconds in which a worker may end by itself before it is ended

# Elsewhere than on Linux a forked process may not use the system's own libraries.
FORKS = sys.platform == "linux"


@dataclass(frozen=True)
class Failed:
    """What a worker hands back for a fault in the program."""

    error: Exception
    where: str


@dataclass(frozen=True)
class Job:
    """What a worker does: its part of each step.

    Attributes:
        memory: (AHEAD, B, *), shared; None where results go through the pipe.
    """

    reading: Reading
    steps: Sequence[Step]
    worker: int
    workers: int
    memory: NDArray[Any] | None

    def part(self, number: int) -> range:
        """Return which of a step's samples are this worker's."""
        return share(len(self.steps[number].samples), self.worker, self.workers)

    def done(self, number: int) -> object:
        """Read this worker's part of a step; return what the pipe carries."""
        own, step = self.part(number), self.steps[number]
        part = Step(step.samples[own.start : own.stop], step.copies[own.start : own.stop], step.total)
        if self.memory is not None:
            return self.reading.read_into(self.memory[number % AHEAD, own.start : own.stop], part)
        images = np.empty((len(own), *self.reading.shape), self.reading.dtype)
        return self.reading.read_into(images, part) or images


@dataclass
class Member:
    """A worker as the process sees it that trains."""

    job: Job
    process: BaseProcess
    pipe: "Connection[Any, Any]"
    deaths: tuple[int, int] = (-1, 0)  # a step, and how often the worker died at it


class Workers:
    """Some processes for one epoch; `close` ends them, at the latest when the process ends.

    Args:
        reading: How samples are read.
        steps: What is to be read, in order.
        count: How many processes.
        replaced: Called for each worker that died and was replaced.
    """

    def __init__(self, reading: Reading, steps: Sequence[Step], count: int, replaced: Callable[[], None]) -> None:
        self.reading, self.steps, self.replaced = reading, steps, replaced
        self.taken = 0  # steps that were given back to be filled anew
        self.memory = shared_memory(reading, max(len(step.samples) for step in steps))
        self.context = multiprocessing.get_context("fork" if FORKS else "spawn")
        self.members: list[Member] = []
        atexit.register(self.close)  # before multiprocessing waits for them: they do not heed its signal
        for worker in range(count):
            job = Job(reading, steps, worker, count, self.memory)
            self.members.append(Member(job, *self._start(job, 0)))

    def results(self) -> Iterator[NDArray[Any]]:
        """Yield each step's samples, (B, *); they stand until the next is asked for.

        Raises:
            DataError: A sample cannot be read, or kills whatever reads it.
        """
        for number, step in enumerate(self.steps):
            parts = [self._received(member, number) for member in self.members if member.job.part(number)]
            yield np.concatenate(parts) if self.memory is None else self.memory[number % AHEAD, : len(step.samples)]
            self.taken = number + 1
            for member in self.members:
                with suppress(OSError):  # it died: seen when its part is waited for
                    member.pipe.send(self.taken)

    def close(self) -> None:
        """End all workers, at once."""
        atexit.unregister(self.close)
        for member in self.members:
            member.pipe.close()
        for member in self.members:
            member.process.join(PATIENCE)
            if member.process.is_alive():
                member.process.kill()
                member.process.join()

    def _start(self, job: Job, first: int) -> tuple[BaseProcess, "Connection[Any, Any]"]:
        ours, theirs = self.context.Pipe()
        # A forked process inherits the ends that are ours; while it holds one, nobody can tell that we are gone.
        inherited = [ours, *(member.pipe for member in self.members)] if FORKS else []
        arguments = (job, first, self.taken, theirs, inherited)
        process = self.context.Process(target=work, args=arguments, daemon=True, name="plusx reader")  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        return process, ours

    def _received(self, member: Member, number: int) -> Any:  # noqa: ANN401 - pixels, or None where memory has them
        while True:
            try:
                found = member.pipe.recv()
            except (EOFError, OSError):
                self._replace(member, number)
                continue
            if isinstance(found, Unreadable):
                raise DataError(found.sentence)
            if isinstance(found, Failed):
                found.error.add_note(f"in a worker:\n{found.where}")
                raise found.error
            return found

    def _replace(self, member: Member, number: int) -> None:
        member.pipe.close()
        member.process.join()
        at, times = member.deaths
        member.deaths = (number, times + 1 if at == number else 1)
        if member.deaths[1] == DEATHS:
            own = member.job.part(number)
            names = [self.reading.samples[i].name for i in self.steps[number].samples[own.start : own.stop].tolist()]
            raise DataError(
                f"a worker died {DEATHS} times, {ending(member.process.exitcode)}, while it read {listed(names, 10)}; "
                "take those files away if one of them is broken, or use fewer --workers if memory ran out"
            )
        self.replaced()
        member.process, member.pipe = self._start(member.job, number)


def ending(code: int | None) -> str:
    """Say how a process ended."""
    if code is None or code >= 0:
        return f"with exit code {code}"
    with suppress(ValueError):
        return f"by {signal.Signals(-code).name}"
    return f"by signal {-code}"


def shared_memory(reading: Reading, largest: int) -> NDArray[Any] | None:
    """Return zeros (AHEAD, largest, *) that forked processes share, or None where that cannot be had."""
    shape = (AHEAD, largest, *reading.shape)
    size = math.prod(shape) * np.dtype(reading.dtype).itemsize
    if not FORKS or size == 0:
        return None
    try:
        return np.frombuffer(mmap.mmap(-1, size), reading.dtype).reshape(shape)
    except OSError:
        return None


def work(
    job: Job, first: int, taken: int, pipe: "Connection[Any, Any]", inherited: "list[Connection[Any, Any]]"
) -> None:
    """What a worker process does: its part of the steps from `first` on, `AHEAD` of those that were taken."""
    for other in inherited:
        other.close()
    start_worker()
    with suppress(EOFError, OSError):  # nobody waits any more
        for number in range(first, len(job.steps)):
            if not job.part(number):
                continue
            while number >= taken + AHEAD:
                taken = pipe.recv()
            try:
                found = job.done(number)
            except Exception as error:  # noqa: BLE001 - raised again where it is waited for
                found = Failed(portable(error), traceback.format_exc())
            pipe.send(found)
    pipe.close()


def portable(error: Exception) -> Exception:
    """Return an error that can go through a pipe: itself, or one of the same words."""
    try:
        copy.copy(error)  # made anew from what it was made of, as at the other end
        ForkingPickler.dumps(error)
    except Exception:  # noqa: BLE001 - whatever an error's own code raises
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def start_worker() -> None:
    """Leave signals to the process that saves the run, and its processors to it and to the other workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
