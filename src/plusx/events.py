"""What a long piece of work tells whoever watches it: plain values, yielded, never printed.

Work that takes time is a generator of these events that returns its result, so a console, a notebook or a test
decides what to show. `result_of` runs such work silently.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Advanced:
    """`done` of `total` pieces of an activity are finished; the console draws a progress bar from it."""

    activity: str
    done: int
    total: int | None
    unit: str = "images"
    detail: str = ""


@dataclass(frozen=True)
class Noted:
    """A sentence that a person should read, and that goes into log.txt."""

    text: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True)
class Section:
    """A titled part of the first or the last screen: rows of a name and what is said of it."""

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class EpochEnded:
    """One epoch of training is over and was scored on the validation split."""

    epoch: int
    epochs: int
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    best: bool = False


Event = Advanced | Noted | Section | EpochEnded


def result_of(work: Generator[Event, None, T]) -> T:
    """Run work to its end without showing anything, and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Any = end.value
            return result
